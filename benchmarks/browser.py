"""The page that needs no server, in headless Chromium: bytes loaded, time for an avatar, the camera's avatars a second.

    npm install onnxruntime-web@1.30.0
    python -m benchmarks.browser [--onnxruntime-web node_modules/onnxruntime-web] [--avatars 20] [--seconds 10]

exports the page, opens it with one WebAssembly thread for each of at most 4 cores, and prints one JSON object. The CPU
times are those of all processes of the browser.
"""

import argparse
import base64
import functools
import http.server
import io
import json
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import skimage.data
from PIL import Image
from playwright import sync_api

from bitmoji_jax.inference.weights import pretrained_weights
from bitmoji_jax.web.export_site import check_runtime, export_site

_WAIT = 600_000  # ms
_LATER = ("/models/avatar", "/models/cycle", "/models/settings")  # loaded when faces can be found
_TRANSLATE = """async (photo) => {
    const { translate } = await import("./backend.js");
    const file = new File([Uint8Array.from(atob(photo), (c) => c.charCodeAt(0))], "photo");
    const started = performance.now();
    await translate({ file }, { all_faces: false, force: false }, new AbortController().signal, () => {});
    return performance.now() - started;
}"""


def main() -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--onnxruntime-web", type=Path, default=Path("node_modules/onnxruntime-web"))
    parser.add_argument("--avatars", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    check_runtime(options.onnxruntime_web)
    with tempfile.TemporaryDirectory() as folder:
        site, video = Path(folder, "site"), Path(folder, "face.mjpeg")
        export_site(pretrained_weights(), site, options.onnxruntime_web, pretrained=True)
        frame = Image.fromarray(skimage.data.astronaut()).resize((640, 640)).crop((0, 0, 640, 480))
        video.write_bytes(_encoded(frame) * 2)
        json.dump(_measure(site, video, options.avatars, options.seconds), sys.stdout, indent=2)
    print()


def _measure(site: Path, video: Path, avatars: int, seconds: float) -> dict[str, object]:
    sizes: list[tuple[str, int]] = []  # paths that were asked for, and the sizes of their files

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            path = Path(self.translate_path(self.path))
            sizes.append((self.path, (path / "index.html" if path.is_dir() else path).stat().st_size))
            super().do_GET()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    media = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    arguments = ["--no-sandbox", *media, f"--use-file-for-fake-video-capture={video}"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        page = browser.new_context(permissions=["camera"]).new_page()
        page.set_default_timeout(_WAIT)
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.wait_for_selector("html[data-loaded=avatar]")
        total, later = (sum(size for path, size in sizes if path.startswith(names)) for names in ("/", _LATER))
        photo = base64.b64encode(_encoded(Image.fromarray(skimage.data.astronaut()))).decode()
        page.evaluate(_TRANSLATE, photo)  # the first one also makes the runtime's memory grow
        cpu = _cpu_seconds()
        times = [page.evaluate(_TRANSLATE, photo) for _ in range(avatars)]
        avatar_cpu = 1000 * (_cpu_seconds() - cpu) / avatars
        page.click("#camera")
        drawn = "Number(document.getElementById('preview').dataset.drawn ?? 0)"
        while page.evaluate(drawn) < 2:
            time.sleep(0.1)
        cpu, before, started = _cpu_seconds(), page.evaluate(drawn), time.perf_counter()
        time.sleep(seconds)
        count, wall = page.evaluate(drawn) - before, time.perf_counter() - started
        camera_cpu = 1000 * (_cpu_seconds() - cpu) / max(count, 1)
        threads = page.evaluate("crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1")
        browser.close()
    server.shutdown()
    return {
        "threads": threads,
        "bytes": {"before_a_face": total - later, "all": total},
        "avatar_ms": {"median": statistics.median(times), "least": min(times), "greatest": max(times)},
        "avatar_cpu_ms": avatar_cpu,
        "camera": {"avatars_per_s": count / wall, "cpu_ms": camera_cpu},
    }


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _cpu_seconds() -> float:
    """CPU time of all processes that this one has started and that still run."""
    return sum(sum(each.cpu_times()[:2]) for each in psutil.Process().children(recursive=True))


if __name__ == "__main__":
    main()
