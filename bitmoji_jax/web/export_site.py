"""The page that needs no server: a folder of static files in which the browser finds the face and makes the avatar.

The networks are ONNX files, run by onnxruntime-web, whose files are copied from an installed npm package. Needs the
extra `export`.
"""

import gzip
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bitmoji_jax.errors import InputError
from bitmoji_jax.inference.export_onnx import f_to_onnx, to_onnx
from bitmoji_jax.inference.guard import Guard
from bitmoji_jax.inference.onnx_faces import face_network_to_onnx
from bitmoji_jax.inference.weights import Weights
from bitmoji_jax.models.face_networks import SIZES, WEIGHTS
from bitmoji_jax.models.networks import has_glasses, has_mouth, has_reader
from bitmoji_jax.web.page import EXAMPLES, read_file, render_browser_page

RUNTIME = "1.30.0"
"""Version of onnxruntime-web that the page is tested with."""

# Name in the site -> file of onnxruntime-web. The second pair also runs on a graphics card, by WebGPU.
_RUNTIME_FILES = {
    "runtime/ort.wasm.js": "ort.wasm.bundle.min.mjs",
    "runtime/ort.wasm.wasm.gz": "ort-wasm-simd-threaded.wasm",
    "runtime/ort.webgpu.js": "ort.webgpu.bundle.min.mjs",
    "runtime/ort.webgpu.wasm.gz": "ort-wasm-simd-threaded.asyncify.wasm",
}
_SCRIPTS = [
    f"{name}.js"
    for name in ("align", "backend", "finder", "networks", "photo", "resample", "translator", "variants", "worker")
]
_ICONS = {"icon-192.png": 192, "icon-512.png": 512}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "worker-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'"
)
_FACES_NOTICE = WEIGHTS.with_name("NOTICE_FACES")  # the licence of the face networks asks for it
_NOTICE = f"""This site was written by bitmoji-jax (Apache-2.0).

It contains onnxruntime-web {RUNTIME}, https://onnxruntime.ai, copyright Microsoft Corporation, MIT license.

The networks that find and cut out faces:

"""


def check_runtime(folder: Path) -> None:
    """Raises InputError unless `folder` is the npm package onnxruntime-web in the version `RUNTIME`."""
    install = f"install it by npm install onnxruntime-web@{RUNTIME}, or name its folder with --onnxruntime-web"
    try:
        version = json.loads((folder / "package.json").read_text(encoding="utf-8"))["version"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"there is no onnxruntime-web in {folder}: {install}") from None
    if version != RUNTIME:
        raise InputError(f"{folder} has version {version} of onnxruntime-web, not {RUNTIME}: {install}")


def export_site(weights: Weights, out: Path, runtime: Path, *, pretrained: bool) -> int:
    """Writes the site to the new folder `out`, whole or not at all.

    Args:
      weights: of the avatars.
      out: folder to create.
      runtime: folder of the npm package onnxruntime-web, of `check_runtime`.
      pretrained: whether the weights are those of the package, whose terms the page states.

    Returns:
      The size of the files in bytes.
    """
    looks, glasses, mouth = (has(weights.config, weights.networks) for has in (has_reader, has_glasses, has_mouth))
    page = render_browser_page(policy=_POLICY, pretrained=pretrained, looks=looks, glasses=glasses, mouth=mouth)
    files = {
        "": page.encode(),
        "manifest.webmanifest": json.dumps(_manifest(), indent=2).encode(),
        "NOTICE.txt": (_NOTICE + _FACES_NOTICE.read_text(encoding="utf-8")).encode(),
        **{name: read_file(name) for name in ("page.css", "page.js", "words.js", "choice.js", "cut_out.js")},
        **{name: read_file(f"browser/{name}") for name in (*_SCRIPTS, *_ICONS)},
        **{f"examples/{name}.jpg": read_file(f"examples/{name}.jpg") for name in EXAMPLES},
    }
    # What is large comes when it is used. It is compressed here, since not every host does so.
    large = {name: (runtime / "dist" / source).read_bytes() for name, source in _RUNTIME_FILES.items()}
    large |= {f"models/{name}.onnx.gz": face_network_to_onnx(name) for name in SIZES}
    large["models/avatar.onnx.gz"] = to_onnx(weights, look=looks)
    guard = weights.guard if "f" in weights.networks else None
    if guard is not None:
        large["models/cycle.onnx.gz"] = f_to_onnx(weights)
    large["models/settings.json"] = json.dumps(
        {"cutOut": weights.config.data.cut_out, "guard": None if guard is None else _guard_numbers(guard)}
    ).encode()
    for name, content in large.items():
        files[name] = gzip.compress(content, mtime=0) if name.endswith(".gz") else content

    version = hashlib.sha256(b"".join(name.encode() + content for name, content in files.items())).hexdigest()[:16]
    listed = json.dumps({name: name not in large for name in files})
    head = f'const VERSION = "{version}";\nconst FILES = {listed};\n'
    files["service_worker.js"] = head.encode() + read_file("browser/service_worker.js")
    files["index.html"] = files.pop("")
    _write_folder(out, files)
    return sum(map(len, files.values()))


def _write_folder(out: Path, files: Mapping[str, bytes]) -> None:
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        for name, content in files.items():
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_bytes(content)
        partial.chmod(0o755)  # `mkdtemp` makes it private
        os.rename(partial, out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _manifest() -> Mapping[str, Any]:
    icons = [{"src": name, "sizes": f"{size}x{size}", "type": "image/png"} for name, size in _ICONS.items()]
    return {
        "name": "Photo to avatar",
        "short_name": "Avatar",
        "start_url": "./",
        "display": "standalone",
        "background_color": "#fbfaf7",
        "theme_color": "#1f5fbf",
        "icons": [{**icon, "purpose": "any maskable"} for icon in icons],
    }


def _guard_numbers(guard: Guard) -> Mapping[str, list[float]]:
    """The arrays of a guard for JSON, flat, with the digits that float32 has."""
    arrays = {
        "mean": guard.mean,
        "whitening": guard.whitening,
        "cycleErrors": guard.cycle_errors,
        "distances": guard.distances,
    }
    return {name: [float(f"{value:.8g}") for value in np.ravel(array)] for name, array in arrays.items()}
