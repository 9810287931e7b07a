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
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image

from bitmoji_jax import cli
from bitmoji_jax.inference.picture import transparent
from bitmoji_jax.inference.translator import Portrait, Translator
from bitmoji_jax.web import app as web_app
from bitmoji_jax.web import server, upload
from bitmoji_jax.web.app import make_app
from bitmoji_jax.web.errors import MAX_BYTES, MAX_PIXELS, RequestError
from bitmoji_jax.web.origin import parse_public_url
from bitmoji_jax.web.page import EXAMPLES, load_page, read_file
from bitmoji_jax.web.queue import RequestQueue
from tests.html_tree import Node, Tree
from tests.web_server import PausedTranslator, make_guided_translator, make_translator, running, until

Answer = tuple[int, dict[str, str], bytes]


def ask(port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, headers or {}, encode_chunked=not isinstance(body, bytes | None))
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def post(port: int, body: Any, query: str = "", **headers: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON of the API."""
    status, _, answer = ask(port, "POST", f"/api/avatar{query}", body, headers)
    return status, json.loads(answer)


def error_of(port: int, body: Any, query: str = "", **headers: str) -> tuple[int, str]:
    """Status and error code of the API."""
    status, answer = post(port, body, query, **headers)
    return status, answer["error"]["code"]


def form(fields: Sequence[tuple[str, bytes]]) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a form as browsers send it; `photo` with a file name."""
    parts = []
    for name, value in fields:
        file = '; filename="private name.jpg"\r\nContent-Type: image/jpeg' if name == "photo" else ""
        parts.append(f'--x\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + value + b"\r\n")
    return b"".join(parts) + b"--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}


def submit(port: int, *fields: tuple[str, bytes]) -> tuple[int, Node]:
    """Status and output of the page after a form was sent."""
    status, _, answer = ask(port, "POST", "/", *form(fields))
    (output,) = [n for n in Tree(answer.decode()).stack[0].all("div") if n.attributes.get("id") == "output"]
    return status, output


def request_head(length: int, *headers: str) -> bytes:
    lines = ["POST /api/avatar HTTP/1.1", "Host: localhost", f"Content-Length: {length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


@contextlib.contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        yield connection


def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


def decoded(data: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def blank_png(width: int, height: int) -> bytes:
    """A file of one bit a pixel, far smaller than the image in it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([1, 0, 0, 0, 0])
    rows = zlib.compress(bytes((width // 8 + 1) * height), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


ASTRONAUT = skimage.data.astronaut()
PHOTO = encoded(ASTRONAUT)
NO_FACE = encoded(np.full((90, 80, 3), 90, np.uint8))  # in small pictures fewer sizes of faces are searched
LARGE = np.array(Image.fromarray(ASTRONAUT).resize((1500, 1500)))


@pytest.fixture(scope="module")
def translator() -> Translator:
    return make_translator()


@pytest.fixture(scope="module")
def port(translator: Translator) -> Iterator[int]:
    with running(make_app(translator, local=True, pretrained=True)) as number:
        yield number


@pytest.fixture(scope="module")
def public_port(translator: Translator) -> Iterator[int]:
    with running(make_app(translator, local=True, pretrained=True, public=PUBLIC)) as number:
        yield number


@pytest.fixture(scope="module")
def guided_port() -> Iterator[int]:
    with running(make_app(make_guided_translator(), local=True, pretrained=True)) as number:
        yield number


@pytest.fixture
def paused() -> Iterator[PausedTranslator]:
    paused = PausedTranslator()
    yield paused
    paused.resume.set()


def test_the_api_and_the_form_return_what_the_translator_makes_of_a_photo(port: int, translator: Translator) -> None:
    (portrait,) = translator.portraits(ASTRONAUT)
    status, answer = post(port, PHOTO)
    (face,) = answer["faces"]
    assert status == 200
    np.testing.assert_array_equal(decoded(face["avatar"]), portrait.avatar)
    np.testing.assert_array_equal(decoded(face["crop"]), portrait.crop)
    assert face["confidence"] == pytest.approx(portrait.confidence, abs=1e-3)
    assert face["quality"] == pytest.approx(portrait.quality, abs=1e-3)
    assert face["warnings"] == []

    status, output = submit(port, ("photo", PHOTO))
    assert status == 200
    sources = [image.attributes["src"] for image in output.all("img")]
    assert sources == [f"data:image/png;base64,{face[name]}" for name in ("crop", "avatar")]
    cut_out = transparent(portrait.avatar)
    downloads = {link.attributes["download"]: link.attributes["href"] for link in output.all("a")}
    assert downloads.keys() == {"avatar.png", "avatar-transparent.png"}
    assert downloads["avatar.png"] == sources[1]
    np.testing.assert_array_equal(decoded(downloads["avatar-transparent.png"].partition(",")[2]), cut_out)
    (face,) = post(port, PHOTO, "?transparent=1")[1]["faces"]
    np.testing.assert_array_equal(decoded(face["avatar"]), cut_out)
    assert "clear (99% sure)" in output.text


def test_all_faces_are_an_option_and_each_is_named(port: int) -> None:
    one = Image.fromarray(ASTRONAUT[30:200, 140:310]).resize((95, 95))
    two = encoded(np.concatenate([one, one], axis=1))
    assert len(post(port, two)[1]["faces"]) == 1
    assert len(post(port, two, "?all_faces=1")[1]["faces"]) == 2
    status, output = submit(port, ("photo", two), ("all_faces", b"on"))
    assert status == 200
    assert [img.attributes["alt"] for img in output.all("img")][1::2] == ["The avatar 1 of 2", "The avatar 2 of 2"]
    assert [a.attributes["download"] for a in output.all("a")][::2] == ["avatar-1.png", "avatar-2.png"]


def test_a_picture_without_a_face_is_an_error_unless_forced(port: int) -> None:
    status, answer = post(port, NO_FACE)
    assert (status, answer["error"]["code"]) == (422, "no_face")
    assert answer["error"]["message"].startswith("No face found: ")
    status, output = submit(port, ("photo", NO_FACE))
    assert status == 422
    (error,) = output.all("p")
    assert error.attributes["role"] == "alert"
    assert error.text.startswith(answer["error"]["message"])
    assert "Try even if" in error.text

    status, answer = post(port, NO_FACE, "?force=1")
    assert status == 200
    assert answer["faces"][0]["confidence"] == 0
    assert "no face" in answer["faces"][0]["warnings"][0]
    status, output = submit(port, ("photo", NO_FACE), ("force", b"on"))
    assert status == 200
    assert "No face found" in output.text
    assert "unusual: look twice" in output.text


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
    ids=["text", "html", "truncated", "damaged", "empty", "large", "bomb", "one pixel"],
)
def test_an_unusable_photo_is_refused_with_a_sentence(port: int, body: bytes, status: int, code: str) -> None:
    found, answer = post(port, body)
    assert (found, answer["error"]["code"]) == (status, code)
    message = answer["error"]["message"]
    assert re.fullmatch(r"[A-Z][^\n]{20,150}[.]", message)
    found, output = submit(port, ("photo", body))
    assert found == status
    assert output.text.strip().startswith(message)
    assert ("Try even if" in output.text) == (status == 422)


def test_too_large_a_body_is_refused_before_it_is_read_at_the_limit_or_compressed(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(request_head(10 * MAX_BYTES) + b"x" * 1000)
        assert connection.recv(12) == b"HTTP/1.1 413"
    chunks = (bytes(1_000_000) for _ in range(MAX_BYTES // 1_000_000 + 2))  # without Content-Length
    assert error_of(port, chunks, **{"Transfer-Encoding": "chunked"}) == (413, "too_many_bytes")
    status, output = submit(port, ("photo", bytes(MAX_BYTES + 1)))
    assert status == 413
    assert "20 MB" in output.text
    compressed = zlib.compress(bytes(10 * MAX_BYTES))  # is not inflated
    assert error_of(port, compressed, **{"Content-Encoding": "deflate"}) == (415, "not_an_image")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"photo=1", {"Content-Type": "application/x-www-form-urlencoded"}),
        (b"photo", {"Content-Type": "multipart/form-data"}),
        (b"photo", {"Content-Type": "multipart/form-data; boundary=x"}),
        (b"--x\r\n\r\nnameless\r\n--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}),
        (form([("photo", b"1")])[0][:-20], {"Content-Type": "multipart/form-data; boundary=x"}),
        form([("\x15", b"")]),
        form([(str(i), b"") for i in range(1000)]),
        form([("force", b"on")]),
        form([("example", b"../page")]),
        form([("example", b"\xff" * 50)]),
    ],
    ids=[
        "other",
        "no boundary",
        "no part",
        "no name",
        "cut",
        "control character",
        "many",
        "no photo",
        "no example",
        "no text",
    ],
)
def test_a_broken_form_is_refused(port: int, body: bytes, headers: dict[str, str]) -> None:
    assert ask(port, "POST", "/", body, headers)[0] == 400


def test_options_are_0_or_1(port: int) -> None:
    for option in ("force", "sticker"):
        assert error_of(port, NO_FACE, f"?{option}=yes") == (400, "bad_request")


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_example_is_a_picture_that_gets_an_avatar(port: int, name: str) -> None:
    status, headers, picture = ask(port, "GET", f"/examples/{name}.jpg")
    assert (status, headers["content-type"], picture) == (200, "image/jpeg", read_file(f"examples/{name}.jpg"))
    status, output = submit(port, ("example", name.encode()))
    assert (status, len(output.all("img"))) == (200, 2)
    assert "clear" in output.text


def test_a_request_is_refused_with_retry_after_when_the_queue_is_full(paused: PausedTranslator) -> None:
    answers: list[int] = []
    queue = RequestQueue(waiting=2)
    with running(make_app(paused, local=True, pretrained=True, queue=queue)) as port:
        threads = [threading.Thread(target=lambda: answers.append(post(port, NO_FACE)[0])) for _ in range(3)]
        for thread in threads:
            thread.start()
        until(lambda: queue.length == 3)
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
        until(lambda: paused.calls == 1)  # one at a time
        paused.resume.set()
        for thread in threads:
            thread.join(20)
        assert answers == [422] * 3
        assert post(port, NO_FACE)[0] == 422


def test_a_client_that_disconnects_frees_its_slot_and_is_not_translated(paused: PausedTranslator) -> None:
    request = request_head(len(NO_FACE)) + NO_FACE
    queue = RequestQueue(waiting=2)
    app = make_app(paused, local=True, pretrained=True, queue=queue)
    with running(app) as port, connected(port) as first, connected(port) as second, connected(port) as third:
        first.sendall(request)
        until(lambda: paused.calls == 1)
        for length, connection in ((2, second), (3, third)):
            connection.sendall(request)
            until(lambda length=length: queue.length == length)
        second.close()
        until(lambda: queue.length == 2)
        first.close()  # its slot is free, but the call in the thread cannot be stopped
        until(lambda: queue.length == 1)
        assert paused.calls == 1
        paused.resume.set()
        assert third.recv(12) == b"HTTP/1.1 422"
        assert paused.calls == 2


def test_a_translation_and_an_upload_that_take_too_long_are_ended(
    paused: PausedTranslator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(make_app(paused, local=True, pretrained=True)) as port:
        with monkeypatch.context() as patch:
            patch.setattr(web_app, "_SECONDS", 0.2)
            assert error_of(port, NO_FACE) == (504, "timed_out")
        monkeypatch.setattr(upload, "_SECONDS", 0.2)
        with connected(port) as connection:
            connection.sendall(request_head(1000) + b"x")
            assert connection.recv(12) == b"HTTP/1.1 408"
        paused.resume.set()


def test_a_defect_is_answered_without_details_and_logged_without_the_file_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: np.ndarray) -> np.ndarray:
        raise RuntimeError("a secret")

    broken = Translator({"x2y": fail}, size=32, cut_out=True)
    with running(make_app(broken, local=True, pretrained=True)) as port:
        status, answer = post(port, PHOTO)
        assert (status, answer["error"]["code"]) == (500, "failed")
        assert "secret" not in answer["error"]["message"]
        status, output = submit(port, ("photo", PHOTO))
        assert status == 500
        assert "not your photo's fault" in output.text
        assert ask(port, "GET", "/")[0] == 200
    assert "a secret" in caplog.text
    assert "private" not in caplog.text


@pytest.mark.parametrize("path", ["/", "/page.css", "/page.js", "/examples/0.jpg", "/nothing", "/api/avatar"])
def test_every_answer_has_the_security_headers(port: int, path: str) -> None:
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


ACCEPTED = 415  # of a body that is no photo, once origin and host have been checked


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, ACCEPTED),
        ({"Origin": "http://localhost:7860", "Host": "localhost:7860"}, ACCEPTED),
        ({"Origin": "http://127.0.0.1", "Host": "127.0.0.1", "Sec-Fetch-Site": "same-origin"}, ACCEPTED),
        ({"Origin": "https://LOCALHOST", "Host": "localhost"}, ACCEPTED),
        ({"Host": "[::1]:7860"}, ACCEPTED),
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
def test_other_sites_and_other_hosts_are_refused(port: int, headers: dict[str, str], status: int) -> None:
    assert ask(port, "POST", "/api/avatar", b"text", headers)[0] == status
    body, form_headers = form([("photo", b"text")])
    assert ask(port, "POST", "/", body, headers | form_headers)[0] == status
    if status == 421:
        assert ask(port, "GET", "/", headers=headers)[0] == status
        assert ask(port, "GET", "/page.js", headers=headers)[0] == status


PUBLIC = [parse_public_url("https://Avatars.example"), parse_public_url("https://example.org:8443/some/faces/")]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "avatars.example", "Origin": "https://avatars.example"}, ACCEPTED),  # proxy_set_header Host $host
        ({"Host": "127.0.0.1:7860", "Origin": "https://avatars.example"}, ACCEPTED),  # as any nginx sends it
        ({"Host": "AVATARS.example", "Origin": "https://avatars.example:443"}, ACCEPTED),
        ({"Host": "example.org", "Origin": "https://example.org:8443", "Sec-Fetch-Site": "same-origin"}, ACCEPTED),
        ({"Origin": "http://localhost:7860", "Host": "localhost:7860"}, ACCEPTED),
        ({"Host": "avatars.example"}, ACCEPTED),
        ({"Host": "127.0.0.1", "Origin": "http://avatars.example"}, 403),  # not encrypted: anyone between may be it
        ({"Host": "127.0.0.1", "Origin": "https://example.org"}, 403),
        ({"Host": "127.0.0.1", "Origin": "https://evil.example"}, 403),
        ({"Host": "127.0.0.1", "Origin": "https://[evil"}, 403),
        ({"Host": "avatars.example", "Origin": "https://avatars.example", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "evil.example", "Origin": "https://evil.example"}, 421),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/some/faces"])
def test_behind_a_proxy_the_page_answers_at_its_public_addresses(
    public_port: int, prefix: str, headers: dict[str, str], status: int
) -> None:
    found, _, answer = ask(public_port, "POST", f"{prefix}/api/avatar", b"text", headers)
    assert found == status
    if status != ACCEPTED:
        assert "--public-url" in json.loads(answer)["error"]["message"]
    body, form_headers = form([("photo", b"text")])
    assert ask(public_port, "POST", f"{prefix}/", body, headers | form_headers)[0] == status
    for path in ("/", "/page.js", "/examples/0.jpg"):
        assert ask(public_port, "GET", prefix + path, headers=headers)[0] == (421 if status == 421 else 200)


def test_a_public_page_does_not_say_that_photos_stay_on_this_computer(public_port: int) -> None:
    assert b"the program on this computer" not in ask(public_port, "GET", "/")[2]


@pytest.mark.parametrize("field", ["file", "photo", "me"])
def test_a_form_with_a_file_gets_an_avatar_from_the_api_and_the_page(port: int, field: str) -> None:
    def curl(path: str, *options: tuple[str, bytes]) -> tuple[int, bytes]:
        body, headers = form([("photo", PHOTO), *options])
        status, _, answer = ask(port, "POST", path, body.replace(b'name="photo"', f'name="{field}"'.encode()), headers)
        return status, answer

    status, answer = curl("/api/avatar")
    assert (status, json.loads(answer)) == post(port, PHOTO)
    status, answer = curl("/")
    assert status == 200
    assert b"Download the avatar" in answer
    body, headers = form([("photo", NO_FACE), ("force", b"0")])
    assert ask(port, "POST", "/api/avatar", body, headers)[0] == 422
    assert ask(port, "POST", "/api/avatar?force=1", body, headers)[0] == 200
    body, headers = form([("photo", NO_FACE), ("force", b"1")])
    assert ask(port, "POST", "/api/avatar", body, headers)[0] == 200


def test_in_a_network_any_host_name_is_accepted_but_not_other_sites(translator: Translator) -> None:
    with running(make_app(translator, local=False, pretrained=False)) as port:
        status, _, page = ask(port, "GET", "/", headers={"Host": "family.lan"})
        assert status == 200
        assert b"the program on this computer" not in page
        assert b"research" not in page
        for origin, expected in (("http://family.lan", ACCEPTED), ("http://evil.example", 403)):
            headers = {"Host": "family.lan", "Origin": origin}
            assert ask(port, "POST", "/api/avatar", b"text", headers)[0] == expected


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
    noisy = LARGE.copy()
    noisy[1000:] = np.random.default_rng(0).integers(0, 256, noisy[1000:].shape)
    large = encoded(noisy)
    assert len(large) > 3_000_000  # more than any library would keep in memory by default
    requests = [("photo", large), ("photo", encoded(ASTRONAUT, "TIFF")), ("photo", b"text"), ("example", b"0")]
    for request in requests:
        submit(port, request)  # compiles, which writes to the cache
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


@pytest.mark.parametrize("fields", [[], [("example", b"0")], [("photo", b"text")]], ids=["empty", "avatar", "error"])
def test_the_page_is_well_formed_and_labelled_and_loads_nothing_from_elsewhere(
    port: int, fields: list[tuple[str, bytes]]
) -> None:
    page = ask(port, "POST", "/", *form(fields))[2] if fields else ask(port, "GET", "/")[2]
    root = Tree(page.decode()).stack[0]
    nodes = root.all()
    ids = [node.attributes["id"] for node in nodes if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    for node in nodes:
        for name, value in node.attributes.items():
            assert not name.startswith("on")
            assert name != "style"  # the policy forbids it
            if name in ("src", "href", "action"):
                assert re.match(r"data:image/|page[.]|examples/|[.]/#result$|[$]\w+$", value), value[:80]
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
    assert "the program on this computer" in root.text
    assert "research only" in root.text
    for name in ("page.css", "page.js", "words.js", "choice.js", "backend.js"):
        assert not re.search(rb"https?:|@import|url\(", ask(port, "GET", f"/{name}")[2])


def test_text_from_outside_the_page_is_escaped() -> None:
    text = "<b>&\"'"
    image = np.zeros((32, 32, 3), np.uint8)
    page = load_page(local=True, pretrained=True, looks=False, glasses=False, mouth=False)
    for values in (
        {"error": RequestError(400, "bad_request", text)},
        {"portraits": [Portrait(image, image, confidence=0.0, quality=0.0, warnings=(text,))]},
    ):
        root = Tree(page.render(values)).stack[0]
        assert root.all("b") == []
        assert text in root.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "70000"], "--port 70000: want 0 to 65535"),
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid: there is no such address"),
        (["--host", "192.0.2.1"], "cannot listen at 192.0.2.1 port 7860: "),
        (["--public-url", "avatars.example"], "--public-url avatars.example: want an address as browsers show it"),
        (["--public-url", "https://a:b"], "--public-url https://a:b: want an address"),
        (
            ["--public-url", "https://a.example", "--public-url", "https://b.example/?c"],
            "--public-url https://b.example/?c",
        ),
        (["--checkpoint", "best"], "--checkpoint is one of a run's: name the run's folder with --run"),
        (["--run", "nowhere"], "nowhere holds no run"),
        (["--weights", "rse5"], "the package has no weights 'rse5'; the nearest name is 'res5'"),
        (["--run", "nowhere", "--weights", "res5"], "--run and --weights each name the weights to use"),
    ],
)
def test_what_cannot_be_served_is_an_error_of_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["serve", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


def test_a_port_in_use_is_reported_before_anything_is_compiled(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        assert cli.main(["serve", "--port", str(number)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"error: cannot listen at 127.0.0.1 port {number}: Address already in use. Try another --port\n"


def test_without_the_extra_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("bitmoji_jax.web")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    assert cli.main(["serve"]) == 2
    assert "pip install 'bitmoji-jax[web]'" in capsys.readouterr().err


def stop_during_a_request(port: int, stop: Callable[[], None]) -> None:
    """Calls `stop` while a photo is on its way; checks that it is answered before the server closes the connection."""
    photo = encoded(LARGE, "JPEG")
    with connected(port) as client:
        client.sendall(request_head(len(photo), "Expect: 100-continue"))
        assert client.recv(100).startswith(b"HTTP/1.1 100")  # the request has begun
        client.sendall(photo)
        assert ask(port, "GET", "/")[0] == 200  # so the server has read what came before
        stop()
        assert client.recv(12) == b"HTTP/1.1 200"
        while client.recv(100_000):
            pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serving_ends_on_a_signal_after_the_requests_in_progress(
    number: signal.Signals, translator: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "warm_up", lambda _: None)
    monkeypatch.setattr(server, "_GRACE", 600)
    monkeypatch.setattr(server, "_LAST", 600)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def listening() -> bool:
        with contextlib.suppress(ConnectionRefusedError), connected(port):
            return True
        return False

    stopped, finished = threading.Event(), threading.Event()

    def stop() -> None:
        if not stopped.is_set():
            stopped.set()
            os.kill(os.getpid(), number)

    def client() -> None:
        try:
            until(listening)
            stop_during_a_request(port, stop)
            finished.set()
        finally:
            stop()  # or `serve` would never return

    thread = threading.Thread(target=client)
    thread.start()
    interrupted = pytest.raises(KeyboardInterrupt) if number == signal.SIGINT else contextlib.nullcontext()
    with interrupted:
        server.serve(translator, host="127.0.0.1", port=port, pretrained=True)
    thread.join(60)
    assert finished.is_set()


@pytest.mark.slow
def test_the_command_serves_the_weights_of_the_package_until_it_is_interrupted() -> None:
    command = [sys.executable, "-m", "bitmoji_jax", "serve", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        address = re.match(r"http://127[.]0[.]0[.]1:(\d+) ", lines[2])
        assert address, lines
        assert ask(int(address[1]), "GET", "/")[0] == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.communicate()[1] == "interrupted\n"
    finally:
        process.kill()
        process.communicate()


READ = {"gender": "female", "skin": "#c89678", "hair": "#281e14", "glasses": False, "mouth": "closed", "hat": False}


def test_looks_are_told_and_can_be_chosen(guided_port: int) -> None:
    status, answer = post(guided_port, PHOTO)
    assert (status, answer["faces"][0]["look"]) == (200, READ)
    body, headers = form([("photo", PHOTO), ("gender", b"male"), ("hair", b"#ff0040")])
    for status, answer in (
        post(guided_port, PHOTO, "?gender=male&hair=%23ff0040&skin="),
        post(guided_port, body, **headers),
        post(guided_port, body, "?hair=000000&gender=", **headers),  # the form's counts
    ):
        (face,) = answer["faces"]
        assert (status, face["look"]) == (200, READ | {"gender": "male", "hair": "#ff0040"})
        avatar = decoded(face["avatar"])
        assert [tuple(avatar[row, 0]) for row in (0, -1)] == [(255, 0, 64), (200, 150, 120)]
    for query in ("?gender=none", "?skin=brown", "?hair=%23ff004", "?glasses=yes", "?mouth=1", "?hat=2"):
        assert error_of(guided_port, PHOTO, query) == (400, "bad_request")


@pytest.mark.parametrize(
    ("name", "wanted", "other", "drawn", "row", "level"),
    [
        ("glasses", "1", "0", True, 16, 0),
        ("mouth", "open", "closed", "open", 26, 255),
        ("hat", "1", "0", True, 6, 128),
    ],
)
def test_glasses_the_mouth_and_a_hat_can_be_chosen(
    guided_port: int, name: str, wanted: str, other: str, drawn: object, row: int, level: int
) -> None:
    body, headers = form([("photo", PHOTO), (name, wanted.encode())])
    for status, answer in (
        post(guided_port, PHOTO, f"?{name}={wanted}"),
        post(guided_port, body, f"?{name}={other}", **headers),  # the form's counts
    ):
        (face,) = answer["faces"]
        assert (status, face["look"]) == (200, READ | {name: drawn})
        assert np.all(decoded(face["avatar"])[row] == level)
    (face,) = post(guided_port, PHOTO, f"?{name}={other}")[1]["faces"]
    assert face["look"] == READ
    assert np.all(decoded(face["avatar"])[row] != level)


def test_variants_are_those_of_the_translator_next_to_each_other(port: int, translator: Translator) -> None:
    one = Image.fromarray(ASTRONAUT[30:200, 140:310]).resize((95, 95))
    photo = np.concatenate([one, one.transpose(Image.Transpose.FLIP_LEFT_RIGHT)], axis=1)
    portraits = translator.portraits(photo, all_faces=True, variants=(3, 2))
    assert len(portraits) == 4
    body, headers = form([("photo", encoded(photo)), ("variants", b"3,2")])
    for status, answer in (
        post(port, encoded(photo), "?all_faces=1&variants=3,2,3"),
        post(port, body, "?all_faces=1&variants=1", **headers),  # the form's counts
    ):
        assert status == 200
        assert [face["variant"] for face in answer["faces"]] == [3, 2, 3, 2]
        for face, portrait in zip(answer["faces"], portraits, strict=True):
            np.testing.assert_array_equal(decoded(face["avatar"]), portrait.avatar)
            np.testing.assert_array_equal(decoded(face["crop"]), portrait.crop)
    assert [face["variant"] for face in post(port, PHOTO, "?variants=")[1]["faces"]] == [1]
    for query in ("?variants=4", "?variants=1,1,1,1", "?variants=1,", "?variants=all"):
        assert error_of(port, PHOTO, query) == (400, "bad_request")


def test_stickers_come_on_request(port: int, translator: Translator) -> None:
    body, headers = form([("photo", PHOTO), ("sticker", b"1"), ("variants", b"2")])
    (portrait,) = translator.portraits(ASTRONAUT, variants=(2,))
    for status, answer in (
        post(port, PHOTO, "?sticker=1&variants=2"),
        post(port, body, "?sticker=0", **headers),  # the form's counts
    ):
        (face,) = answer["faces"]
        assert (status, base64.b64decode(face["sticker"], validate=True)) == (200, portrait.sticker())
        np.testing.assert_array_equal(decoded(face["avatar"]), portrait.avatar)
    assert post(port, PHOTO, "?sticker=0")[1]["faces"][0]["sticker"] is None


def test_what_the_weights_do_not_know_cannot_be_chosen(port: int, guided_port: int) -> None:
    shown = {b'id="look"', b'name="glasses"', b'name="mouth"', b'name="hat"'}
    without = [("glasses", "mouth", "hat"), ("mouth", "hat")]
    apps = [
        make_app(make_guided_translator(**dict.fromkeys(unknown[:-1], False)), local=True, pretrained=True)
        for unknown in without
    ]
    with running(apps[0]) as earliest, running(apps[1]) as earlier:
        for number, refused, choices in (
            (port, ("gender=male", "glasses=1", "mouth=open", "hat=1"), set()),
            (earliest, ("glasses=0", "mouth=open", "hat=0"), {b'id="look"'}),
            (earlier, ("mouth=closed", "hat=1"), shown - {b'name="mouth"', b'name="hat"'}),
            (guided_port, (), shown),
        ):
            for query in refused:
                status, answer = post(number, PHOTO, f"?{query}")
                assert (status, answer["error"]["code"]) == (400, "bad_request")
                assert answer["error"]["message"].startswith("With these weights ")
            page = ask(number, "GET", "/")[2]
            assert {choice for choice in shown if choice in page} == choices
        for number, unknown in zip((earliest, earlier), without, strict=True):
            assert post(number, PHOTO)[1]["faces"][0]["look"] == READ | dict.fromkeys(unknown)
