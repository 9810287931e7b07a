"""The examples in Python: a FastAPI service, a Gradio page, Ray on two actors. They run as people run them."""

import importlib.util
import io
import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bitmoji_jax as bj
from bitmoji_jax.data.images import load_photo
from bitmoji_jax.faces.align import FaceError
from tests.processes import ROOT, STUCK
from tests.web_server import until

FACES = ROOT / "bitmoji_jax" / "web" / "examples"


class FakeTranslator:
    """Takes the middle of a photo for the avatar; of those of 64 pixels it finds no face. Waits for `resume`."""

    def __init__(self) -> None:
        self.resume = threading.Event()
        self.resume.set()

    def photo(self, source: Any) -> Image.Image:
        assert self.resume.wait(60)
        photo = source if isinstance(source, np.ndarray) else load_photo(source)
        if len(photo) == 64:
            raise FaceError("no face", "no face found")
        return Image.fromarray(photo[:32, :32])


@pytest.fixture
def translator(monkeypatch: pytest.MonkeyPatch) -> FakeTranslator:
    fake = FakeTranslator()
    monkeypatch.setattr(bj.Translator, "pretrained", lambda: fake)
    return fake


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def picture(side: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), 200, np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def address(translator: FakeTranslator) -> Iterator[str]:
    """The FastAPI service, run by uvicorn in a thread."""
    pytest.importorskip("fastapi", reason="pip install -e '.[examples]'")
    uvicorn = pytest.importorskip("uvicorn", reason="pip install -e '.[examples]'")
    server = uvicorn.Server(uvicorn.Config(load("fastapi_app").app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        (listener,) = server.servers[0].sockets
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        translator.resume.set()
        thread.join(30)


def ask(url: str, body: bytes | None = None) -> tuple[int, Any, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_fastapi_answers_with_an_avatar_or_says_why_not(address: str) -> None:
    status, headers, body = ask(f"{address}/avatar", picture(100))
    assert (status, headers["content-type"]) == (200, "image/png")
    with Image.open(io.BytesIO(body)) as avatar:
        assert avatar.size == (32, 32)
    for sent, expected, reason in (
        (picture(64), 422, "no face found"),
        (b"text", 422, "not an image"),
        (b"", 422, "not an image"),
        (bytes(21_000_000), 413, "more than 20,000,000 bytes"),
    ):
        status, _, body = ask(f"{address}/avatar", sent)
        assert status == expected
        assert reason in json.loads(body)["detail"]
    assert ask(f"{address}/healthz")[2] == b'{"waiting":0}'


def test_fastapi_lets_no_more_than_16_photos_wait(address: str, translator: FakeTranslator) -> None:
    def waiting() -> int:
        return json.loads(ask(f"{address}/healthz")[2])["waiting"]  # answered while a photo is translated

    translator.resume.clear()
    with ThreadPoolExecutor(16) as clients:
        answers = [clients.submit(ask, f"{address}/avatar", picture(100)) for _ in range(16)]
        until(lambda: waiting() == 16)
        status, headers, _ = ask(f"{address}/avatar", picture(100))
        assert (status, headers["retry-after"]) == (503, "2")
        translator.resume.set()
        assert [answer.result()[0] for answer in answers] == [200] * 16
    assert waiting() == 0


def test_gradio_translates_or_says_why_not(translator: FakeTranslator) -> None:
    gradio = pytest.importorskip("gradio", reason="Gradio wants an older Pillow than requirements/ci.txt has")
    module = load("gradio_app")
    assert module.translator is translator
    assert module.translate(Image.new("RGB", (100, 100))).size == (32, 32)
    for photo in (None, Image.new("RGB", (64, 64))):
        with pytest.raises(gradio.Error):
            module.translate(photo)


@pytest.mark.slow
def test_ray_translates_on_two_actors_and_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="pip install -e '.[ray]'")
    photos, avatars = tmp_path / "photos", tmp_path / "avatars"
    (photos / "a").mkdir(parents=True)
    for name in ("0.jpg", "a/0.jpg", "a/1.jpg"):
        (photos / name).write_bytes((FACES / Path(name).name).read_bytes())
    (photos / "text.jpg").write_text("text")

    def run() -> str:
        command = [sys.executable, ROOT / "examples" / "translate_ray.py", photos, avatars]
        environment = os.environ | {"RAY_ADDRESS": cluster.address_info["address"]}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=STUCK)
        assert done.returncode == 0, done.stderr
        return done.stdout

    (avatars / "a").mkdir(parents=True)
    (avatars / "a" / "1.jpg.png").write_bytes(b"of an earlier run")
    monkeypatch.setenv("RAY_agent_register_timeout_ms", "300000")
    try:
        cluster = ray.init(num_cpus=2, include_dashboard=False, configure_logging=False)
    except Exception as error:  # Ray gives its own processes 15 to 30 s, and ends where a busy machine needs more
        ray.shutdown()
        pytest.skip(f"Ray does not start here: {error}")
    try:
        output, again = run(), run()
    finally:
        ray.shutdown()
    assert "4 files, 1 of them have an avatar" in output
    assert f"skipped {photos}/text.jpg: " in output
    assert f"2 avatars, 1 skipped -> {avatars}" in output
    files = sorted(str(path.relative_to(avatars)) for path in avatars.rglob("*") if path.is_file())
    assert files == ["0.jpg.png", "a/0.jpg.png", "a/1.jpg.png"]
    assert (avatars / "a" / "1.jpg.png").read_bytes() == b"of an earlier run"
    made = [(avatars / name).read_bytes() for name in ("0.jpg.png", "a/0.jpg.png")]
    assert made[0] == made[1]  # two actors, or one twice
    with Image.open(avatars / "0.jpg.png") as avatar:
        assert avatar.size == (256, 256)
    assert "4 files, 3 of them have an avatar" in again
    assert f"0 avatars, 1 skipped -> {avatars}" in again
