"""The files of the container. Without Docker: the health check as a command, and the proxy's file in Caddy itself."""

import contextlib
import http.client
import io
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitmoji_jax.web.app import make_app
from bitmoji_jax.web.origin import parse_public_url
from tests.processes import ROOT, free_address
from tests.web_server import QuickTranslator, running, until

CADDY = shutil.which("caddy")


def health_check(port: int) -> int:
    (command,) = re.findall(r"HEALTHCHECK .*?CMD (\[.*?\])", (ROOT / "Dockerfile").read_text(), re.DOTALL)
    program, *arguments = json.loads(command)
    assert program == "python3"
    arguments = [each.replace("127.0.0.1:7860", f"127.0.0.1:{port}") for each in arguments]
    return subprocess.run([sys.executable, *arguments], capture_output=True).returncode


def test_the_health_check_tells_whether_the_page_is_answered() -> None:
    with running(make_app(QuickTranslator(), local=False, pretrained=True)) as port:
        assert health_check(port) == 0
    assert health_check(port) == 1


def test_what_the_dockerfile_copies_is_not_ignored() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert allowed == {path for line in copied for path in line.split()}
    assert all((ROOT / path).exists() for path in allowed)


@contextlib.contextmanager
def caddy(folder: Path, url: str, proxied: str) -> Iterator[None]:
    """Runs Caddy with the Caddyfile, whose upstream is changed to one of the test."""
    (folder / "Caddyfile").write_text((ROOT / "Caddyfile").read_text().replace("bitmoji:7860", proxied))
    environment = os.environ | {"PUBLIC_URL": url, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    command = [str(CADDY), "run", "--config", str(folder / "Caddyfile")]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def listening() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1]))):
            return True
        return False

    try:
        until(listening)
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
@pytest.mark.skipif(CADDY is None, reason="not installed: caddy")
def test_a_photo_goes_through_the_proxy_with_a_certificate_of_its_own(tmp_path: Path) -> None:
    port = int(free_address().split(":")[1])
    url = f"https://localhost:{port}"
    photo = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (1000, 1200, 3), np.uint8)).save(photo, "PNG")
    assert len(photo.getvalue()) > 3e6
    app = make_app(QuickTranslator(), local=False, pretrained=True, public=[parse_public_url(url)])

    def ask(method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        unverified = ssl.create_default_context()
        unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection("localhost", port, context=unverified, timeout=60)
        connection.request(method, path, photo.getvalue() if method == "POST" else None, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    with running(app) as behind, caddy(tmp_path, url, f"127.0.0.1:{behind}"):

        def certified() -> bool:  # Caddy listens before it has its certificate
            with contextlib.suppress(ssl.SSLError):
                return ask("GET", "/", {})[0] == 200
            return False

        until(certified)
        status, answer = ask("POST", "/api/avatar", {"Origin": url})
        assert (status, len(json.loads(answer)["faces"])) == (200, 1)
        assert ask("POST", "/api/avatar", {"Origin": "https://elsewhere.example"})[0] == 403
    large = [file for file in tmp_path.rglob("*") if file.is_file() and file.stat().st_size > 100_000]
    assert not large  # it wrote no photo to its disk
