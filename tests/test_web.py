import asyncio
import base64
import contextlib
import http.client
import io
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import skimage.data
from aiohttp import web
from PIL import Image

from bitmoji_jax import cli
from bitmoji_jax.config import DataConfig, DiscriminatorConfig, ExperimentConfig, GeneratorConfig
from bitmoji_jax.inference.translator import Translator
from bitmoji_jax.inference.weights import Weights
from bitmoji_jax.parallel import make_mesh
from bitmoji_jax.training.train_state import create_train_state
from bitmoji_jax.web import app as web_app
from bitmoji_jax.web import upload
from bitmoji_jax.web.app import make_app
from bitmoji_jax.web.examples import EXAMPLES
from bitmoji_jax.web.problems import MAX_BYTES, MAX_PIXELS
from bitmoji_jax.web.queue import Turns
from bitmoji_jax.web.server import make_runner
from tests.html_tree import Node, Tree

Answer = tuple[int, dict[str, str], bytes]


class Held(Translator):
    """Begins to translate when it is told to."""

    def __init__(self, translator: Translator) -> None:
        self.translator = translator
        self.go_on = threading.Event()
        self.calls = 0

    def portraits(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        assert self.go_on.wait(100)
        return self.translator.portraits(*args, **kwargs)


class Broken(Translator):
    def __init__(self) -> None:
        pass

    def portraits(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("a secret")


@contextlib.contextmanager
def running(app: web.Application) -> Iterator[int]:
    """Serves in a thread, as `serve` would; the port."""
    started: list[int] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    done = asyncio.Event()

    async def run() -> None:
        runner = make_runner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        started.append(runner.addresses[0][1])
        ready.set()
        await done.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield started[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(30)
        assert not thread.is_alive()
        loop.close()


def ask(port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, headers or {}, encode_chunked=not isinstance(body, bytes | None))
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def post(port: int, body: Any, query: str = "", **headers: str) -> tuple[int, dict[str, Any]]:
    status, _, answer = ask(port, "POST", f"/api/avatar{query}", body, headers)
    return status, json.loads(answer)


def form(fields: Sequence[tuple[str, bytes]]) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a form as browsers send it; `photo` with a name."""
    parts = []
    for name, value in fields:
        file = '; filename="private name.jpg"\r\nContent-Type: image/jpeg' if name == "photo" else ""
        parts.append(f'--x\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + value + b"\r\n")
    return b"".join(parts) + b"--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}


def submit(port: int, *fields: tuple[str, bytes]) -> tuple[int, Node]:
    """Status, and the answer's result."""
    status, _, answer = ask(port, "POST", "/", *form(fields))
    (shown,) = [n for n in Tree(answer.decode()).stack[0].all("div") if n.attributes.get("id") == "shown"]
    return status, shown


def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


def decoded(data: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def blank_png(width: int, height: int) -> bytes:
    """Black and white, one bit a pixel, far smaller than what it holds."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([1, 0, 0, 0, 0])
    rows = zlib.compress(bytes((width // 8 + 1) * height), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


ASTRONAUT = skimage.data.astronaut()
NO_FACE = encoded(np.full((90, 80, 3), 90, np.uint8))  # small pictures are looked at in few ways
EXAMPLE = (Path(upload.__file__).parent / "examples" / "0.jpg").read_bytes()


@pytest.fixture(scope="module")
def translator() -> Translator:
    config = ExperimentConfig(
        data=DataConfig(image_size=32),
        generator=GeneratorConfig(features=4, res_blocks=1),
        discriminator=DiscriminatorConfig(features=4),
    )
    state, _ = create_train_state(config, make_mesh())
    # Larger kernels than at the start of training, or every output is the same grey.
    weights = Weights(config, 24, jax.tree.map(lambda a: 20 * np.asarray(a), state.generators))
    translator = Translator.from_weights(weights)
    translator.portraits(ASTRONAUT)  # compiles
    return translator


@pytest.fixture(scope="module")
def port(translator: Translator) -> Iterator[int]:
    with running(make_app(translator, local=True, pretrained=True)) as number:
        yield number


@pytest.fixture
def held(translator: Translator) -> Iterator[Held]:
    held = Held(translator)
    yield held
    held.go_on.set()


def test_a_photo_becomes_what_the_translator_makes_of_it(port: int, translator: Translator) -> None:
    status, answer = post(port, encoded(ASTRONAUT))
    (portrait,) = translator.portraits(ASTRONAUT)
    (face,) = answer["faces"]
    assert status == 200
    np.testing.assert_array_equal(decoded(face["avatar"]), portrait.avatar)
    np.testing.assert_array_equal(decoded(face["crop"]), portrait.crop)
    assert face["confidence"] == pytest.approx(portrait.confidence, abs=1e-3)
    assert face["quality"] == pytest.approx(portrait.quality, abs=1e-3)
    assert face["warnings"] == []


def test_the_form_gives_the_same_with_words_and_a_download(port: int) -> None:
    status, shown = submit(port, ("photo", encoded(ASTRONAUT)))
    (face,) = post(port, encoded(ASTRONAUT))[1]["faces"]
    assert status == 200
    crop, avatar = [img.attributes["src"].removeprefix("data:image/png;base64,") for img in shown.all("img")]
    assert (crop, avatar) == (face["crop"], face["avatar"])
    (link,) = shown.all("a")
    assert link.attributes["href"] == f"data:image/png;base64,{avatar}"
    assert link.attributes["download"] == "avatar.png"
    assert "clear (99% sure)" in shown.text


def test_all_faces_are_an_option_and_each_is_named(port: int) -> None:
    one = Image.fromarray(ASTRONAUT[30:200, 140:310]).resize((95, 95))
    two = encoded(np.concatenate([one, one], axis=1))
    assert len(post(port, two)[1]["faces"]) == 1
    assert len(post(port, two, "?all_faces=1")[1]["faces"]) == 2
    status, shown = submit(port, ("photo", two), ("all_faces", b"on"))
    assert status == 200
    assert [img.attributes["alt"] for img in shown.all("img")][1::2] == ["The avatar 1 of 2", "The avatar 2 of 2"]
    assert [a.attributes["download"] for a in shown.all("a")] == ["avatar-1.png", "avatar-2.png"]


def test_a_picture_without_a_face_says_so_and_can_be_forced(port: int) -> None:
    status, answer = post(port, NO_FACE)
    assert (status, answer["error"]["code"]) == (422, "no_face")
    assert answer["error"]["message"].startswith("No face found: ")
    status, shown = submit(port, ("photo", NO_FACE))
    assert status == 422
    (problem,) = shown.all("p")
    assert problem.attributes["role"] == "alert"
    assert problem.text.startswith(answer["error"]["message"])
    assert "Try even if" in problem.text

    status, answer = post(port, NO_FACE, "?force=1")
    assert status == 200
    assert answer["faces"][0]["confidence"] == 0
    assert "no face" in answer["faces"][0]["warnings"][0]
    status, shown = submit(port, ("photo", NO_FACE), ("force", b"on"))
    assert status == 200
    assert "No face found" in shown.text
    assert "unusual: look twice" in shown.text


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"hello", 415, "not_an_image"),
        (b"<html>no</html>", 415, "not_an_image"),
        (encoded(ASTRONAUT, "JPEG")[:9000], 415, "truncated"),
        (b"\0\0\0\x18ftypheic" + bytes(100), 415, "unreadable"),
        (b"", 400, "bad_request"),
        (blank_png(8000, MAX_PIXELS // 8000 + 1), 413, "too_many_pixels"),
        (blank_png(60_000, 60_000), 413, "too_many_pixels"),
        (encoded(ASTRONAUT[:1, :1]), 422, "no_face"),
    ],
    ids=["text", "html", "truncated", "damaged", "nothing", "large", "bomb", "one pixel"],
)
def test_what_is_no_photo_is_refused_in_words(port: int, body: bytes, status: int, code: str) -> None:
    found, answer = post(port, body)
    assert (found, answer["error"]["code"]) == (status, code)
    message = answer["error"]["message"]
    assert re.fullmatch(r"[A-Z][^\n]{20,150}[.]", message)
    found, shown = submit(port, ("photo", body))
    assert found == status
    assert shown.text.strip().startswith(message)


def test_too_large_a_body_is_refused_before_it_has_come(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        head = f"POST /api/avatar HTTP/1.1\r\nHost: localhost\r\nContent-Length: {10 * MAX_BYTES}\r\n\r\n"
        connection.sendall(head.encode() + b"x" * 1000)
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_a_body_that_does_not_say_how_large_it_is_ends_at_the_limit(port: int) -> None:
    chunks = (bytes(1_000_000) for _ in range(MAX_BYTES // 1_000_000 + 2))
    status, answer = post(port, chunks, **{"Transfer-Encoding": "chunked"})
    assert (status, answer["error"]["code"]) == (413, "too_many_bytes")
    status, shown = submit(port, ("photo", bytes(MAX_BYTES + 1)))
    assert status == 413
    assert "20 MB" in shown.text


def test_a_compressed_body_is_not_inflated(port: int) -> None:
    status, answer = post(port, zlib.compress(bytes(10 * MAX_BYTES)), **{"Content-Encoding": "deflate"})
    assert (status, answer["error"]["code"]) == (415, "not_an_image")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"photo=1", {"Content-Type": "application/x-www-form-urlencoded"}),
        (b"photo", {"Content-Type": "multipart/form-data"}),
        (b"photo", {"Content-Type": "multipart/form-data; boundary=x"}),
        (b"--x\r\n\r\nnameless\r\n--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}),
        (form([("photo", b"1")])[0][:-20], {"Content-Type": "multipart/form-data; boundary=x"}),
        form([(str(i), b"") for i in range(1000)]),
        form([("force", b"on")]),
        form([("example", b"../page")]),
        form([("example", b"\xff" * 50)]),
    ],
    ids=["other", "no boundary", "no part", "no name", "cut", "many", "no photo", "no example", "no text"],
)
def test_a_broken_form_is_refused(port: int, body: bytes, headers: dict[str, str]) -> None:
    assert ask(port, "POST", "/", body, headers)[0] == 400


def test_options_are_0_or_1(port: int) -> None:
    status, answer = post(port, NO_FACE, "?force=yes")
    assert (status, answer["error"]["code"]) == (400, "bad_request")


def test_each_example_has_a_face_and_is_drawn(port: int) -> None:
    for name in EXAMPLES:
        status, headers, picture = ask(port, "GET", f"/examples/{name}.jpg")
        assert (status, headers["content-type"]) == (200, "image/jpeg")
        assert len(post(port, picture)[1]["faces"]) == 1
        status, shown = submit(port, ("example", name.encode()))
        assert (status, len(shown.all("img"))) == (200, 2)


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[Turns]:
    """The queues of the applications that a test makes."""
    made: list[Turns] = []

    def make(workers: int, waiting: int) -> Turns:
        made.append(Turns(workers, waiting))
        return made[-1]

    monkeypatch.setattr(web_app, "Turns", make)
    return made


def test_who_comes_when_the_queue_is_full_is_told_to_come_back(held: Held, turns: list[Turns]) -> None:
    answers: list[int] = []
    with running(make_app(held, local=True, pretrained=True, waiting=2)) as port:
        threads = [threading.Thread(target=lambda: answers.append(post(port, NO_FACE)[0])) for _ in range(3)]
        for thread in threads:
            thread.start()
        until(lambda: turns[0].taken == 3)
        status, headers, body = ask(port, "POST", "/api/avatar", NO_FACE)
        assert status == 503
        assert int(headers["retry-after"]) >= 1
        assert json.loads(body)["error"]["code"] == "busy"
        status, headers, page = ask(port, "POST", "/", *form([("photo", NO_FACE)]))
        assert status == 503
        assert int(headers["retry-after"]) >= 1
        assert b"Many photos are waiting" in page
        assert ask(port, "GET", "/")[0] == 200
        assert answers == []
        until(lambda: held.calls == 1)  # one at a time
        held.go_on.set()
        for thread in threads:
            thread.join(20)
        assert answers == [422] * 3
        assert post(port, NO_FACE)[0] == 422


def test_who_goes_away_makes_room_and_is_not_translated(held: Held, turns: list[Turns]) -> None:
    request = f"POST /api/avatar HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(NO_FACE)}\r\n\r\n".encode()
    request += NO_FACE
    with running(make_app(held, local=True, pretrained=True)) as port, contextlib.ExitStack() as stack:
        first, second, third = (
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60)) for _ in range(3)
        )
        first.sendall(request)
        until(lambda: held.calls == 1)
        for number, connection in ((2, second), (3, third)):
            connection.sendall(request)
            until(lambda number=number: turns[0].taken == number)
        second.close()
        until(lambda: turns[0].taken == 2)
        first.close()  # what is under way can't be stopped: its place is free, its turn is not
        until(lambda: turns[0].taken == 1)
        assert held.calls == 1
        held.go_on.set()
        assert third.recv(12) == b"HTTP/1.1 422"
        assert held.calls == 2


def until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_takes_too_long_is_given_up(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_app, "_SECONDS", 0.2)
    with running(make_app(held, local=True, pretrained=True)) as port:
        status, answer = post(port, NO_FACE)
        assert (status, answer["error"]["code"]) == (504, "timed_out")
        held.go_on.set()


def test_a_body_that_does_not_come_loses_its_place(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"POST /api/avatar HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx")
        assert connection.recv(12) == b"HTTP/1.1 408"


def test_a_defect_is_answered_without_details_and_logged_without_a_name(caplog: pytest.LogCaptureFixture) -> None:
    with running(make_app(Broken(), local=True, pretrained=True)) as port:
        status, answer = post(port, encoded(ASTRONAUT))
        assert (status, answer["error"]["code"]) == (500, "failed")
        assert "secret" not in answer["error"]["message"]
        status, shown = submit(port, ("photo", encoded(ASTRONAUT)))
        assert status == 500
        assert "not your photo's fault" in shown.text
        assert ask(port, "GET", "/")[0] == 200
    assert "a secret" in caplog.text
    assert "private" not in caplog.text


@pytest.mark.parametrize("path", ["/", "/page.css", "/page.js", "/examples/0.jpg", "/nothing", "/api/avatar"])
def test_every_answer_has_the_headers_that_keep_the_page_to_itself(port: int, path: str) -> None:
    for method, body in (("GET", None), ("POST", b"x"), ("HEAD", None)):
        _, headers, _ = ask(port, method, path, body)
        policy = headers["content-security-policy"].split("; ")
        assert policy[0] == "default-src 'none'"
        allowed = {source for line in policy[1:] for source in line.split()[1:]}
        assert allowed <= {"'self'", "'none'", "data:"}
        assert {line.split()[0] for line in policy} >= {"form-action", "base-uri", "frame-ancestors"}
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        assert headers["server"] == "bitmoji-jax"
        assert "set-cookie" not in headers
        assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost:7860", "Host": "localhost:7860"}, 200),
        ({"Origin": "http://127.0.0.1", "Host": "127.0.0.1", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "https://LOCALHOST", "Host": "localhost"}, 200),
        ({"Host": "[::1]:7860"}, 200),
        ({"Origin": "http://localhost:8000", "Host": "localhost:7860"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://evil.example", "Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": "192.168.1.2"}, 421),
        ({"Host": "["}, 421),
        ({"Host": ""}, 421),
    ],
)
def test_other_sites_and_other_names_are_refused(port: int, headers: dict[str, str], status: int) -> None:
    assert ask(port, "POST", "/api/avatar", EXAMPLE, headers)[0] == status
    body, of_form = form([("photo", EXAMPLE)])
    assert ask(port, "POST", "/", body, headers | of_form)[0] == status
    if status == 421:
        assert ask(port, "GET", "/", headers=headers)[0] == status
        assert ask(port, "GET", "/page.js", headers=headers)[0] == status


def test_in_a_network_any_name_will_do_but_not_another_sites_page(translator: Translator) -> None:
    with running(make_app(translator, local=False, pretrained=False)) as port:
        status, _, page = ask(port, "GET", "/", headers={"Host": "family.lan"})
        assert status == 200
        assert b"the program on this computer" not in page
        assert b"research" not in page
        assert (
            ask(port, "POST", "/api/avatar", EXAMPLE, {"Host": "family.lan", "Origin": "http://family.lan"})[0] == 200
        )
        assert (
            ask(port, "POST", "/api/avatar", EXAMPLE, {"Host": "family.lan", "Origin": "http://evil.example"})[0] == 403
        )


_written: list[str] = []
_watching = threading.Event()


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching.is_set():
        return
    if event == "open":
        path, mode, flags = arguments
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or set(str(mode or "")) & set("wax+"):
            _written.append(str(path))
    elif event in ("os.mkdir", "os.rename", "tempfile.mkstemp", "tempfile.mkdtemp", "subprocess.Popen"):
        _written.append(f"{event} {arguments}")


def test_nothing_is_written_and_nothing_is_logged(
    port: int, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    large = np.array(Image.fromarray(ASTRONAUT).resize((1500, 1500)))
    large[1000:] = np.random.default_rng(0).integers(0, 256, large[1000:].shape)
    large = encoded(large)
    assert len(large) > 3_000_000  # more than any library would keep in memory by default
    requests = [("photo", large), ("photo", encoded(ASTRONAUT, "TIFF")), ("photo", b"text"), ("example", b"0")]
    for request in requests:
        submit(port, request)  # compiles what isn't yet, which is kept
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    capfd.readouterr()
    sys.addaudithook(_watch)
    _watching.set()
    try:
        for request in requests:
            assert submit(port, request)[0] in (200, 415, 422)
        post(port, large)
        ask(port, "POST", "/nothing", b"x")
    finally:
        _watching.clear()
    assert _written == []
    assert [record.getMessage() for record in caplog.records if not record.name.startswith("PIL")] == []
    assert capfd.readouterr() == ("", "")


def test_the_page_is_well_formed_labelled_and_asks_nobody_else(port: int) -> None:
    pages = [ask(port, "GET", "/")[2], ask(port, "POST", "/", *form([("photo", EXAMPLE)]))[2]]
    for page in pages:
        root = Tree(page.decode()).stack[0]
        nodes = root.all()
        ids = [node.attributes["id"] for node in nodes if "id" in node.attributes]
        assert len(ids) == len(set(ids))
        for node in nodes:
            for name, value in node.attributes.items():
                assert not name.startswith("on")
                assert name != "style"  # the policy forbids it
                if name in ("src", "href", "action"):
                    assert re.match(r"data:image/|page[.]|examples/|[.]/#result$", value), value[:80]
                if name in ("aria-labelledby", "aria-describedby", "for"):
                    assert set(value.split()) <= set(ids)
        assert root.all("html")[0].attributes["lang"] == "en"
        assert all(img.attributes["alt"] for img in root.all("img"))
        assert root.all("h1", "h2", "h3")[0].tag == "h1"
        labelled = {label.attributes.get("for") for label in root.all("label")}
        for control in root.all("input"):
            inside = any(control in label.all("input") for label in root.all("label"))
            assert inside or control.attributes["id"] in labelled
        assert all(button.text.strip() or button.all("img")[0].attributes["alt"] for button in root.all("button"))
        assert "research only" in root.text
        for style in (ask(port, "GET", "/page.css")[2], ask(port, "GET", "/page.js")[2]):
            assert not re.search(rb"https?:|@import|url\(", style)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "70000"], "--port 70000: want 0 to 65535"),
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid: there is no such address"),
        (["--host", "192.0.2.1"], "can't listen at 192.0.2.1 port 7860: "),
        (["--checkpoint", "best"], "--checkpoint is one of a run's: name the run's folder with --run"),
        (["--run", "nowhere"], "nowhere holds no run"),
    ],
)
def test_what_can_not_be_served_is_said_in_a_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["serve", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {said}")
    assert err.count("\n") == 1


def test_a_port_in_use_is_said_before_anything_is_compiled(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        assert cli.main(["serve", "--port", str(number)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"error: can't listen at 127.0.0.1 port {number}: Address already in use. Try another --port\n"


def test_without_the_extra_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("bitmoji_jax.web")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    assert cli.main(["serve"]) == 2
    assert "pip install 'bitmoji-jax[web]'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_the_command_serves_until_it_is_stopped_and_answers_what_it_began(number: int, code: int) -> None:
    command = [sys.executable, "-m", "bitmoji_jax", "serve", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        address = re.match(r"http://127[.]0[.]0[.]1:(\d+) ", lines[2])
        assert address, lines
        photo = encoded(np.array(Image.fromarray(ASTRONAUT).resize((1500, 1500))), "JPEG")
        head = f"POST /api/avatar HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {len(photo)}"
        with socket.create_connection(("127.0.0.1", int(address[1])), timeout=60) as client:
            client.sendall(f"{head}\r\n\r\n".encode())
            assert client.recv(100).startswith(b"HTTP/1.1 100")  # it has begun
            client.sendall(photo)
            assert ask(int(address[1]), "GET", "/")[0] == 200  # so it has read what came before
            process.send_signal(number)
            assert client.recv(12) == b"HTTP/1.1 200"
            while client.recv(100_000):  # until the server closes it
                pass
        assert process.wait(60) == code
        assert process.communicate()[1] == ("interrupted\n" if code == 130 else "")
    finally:
        process.kill()
        process.communicate()
