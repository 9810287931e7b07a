"""The page behind nginx with TLS, by the block of docs/web.md, as people use it: in a browser."""

import contextlib
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import skimage.data
from PIL import Image

from bitmoji_jax.web.app import make_app
from bitmoji_jax.web.origin import parse_public_url
from tests.processes import free_address
from tests.web_server import QuickTranslator, running, until

sync_api = pytest.importorskip("playwright.sync_api")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/bin")
MISSING = [
    name for name, path in (("nginx", NGINX), ("openssl", shutil.which("openssl")), ("chromium", CHROMIUM)) if not path
]

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")]


@contextlib.contextmanager
def nginx(folder: Path, location: str, port: int, proxied: str) -> Iterator[int]:
    """Runs nginx with the documented block, changed to ports, a certificate and a location of the test."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=avatars.example"]
    command += ["-keyout", f"{folder}/avatars.example.key", "-out", f"{folder}/avatars.example.pem"]
    subprocess.run(command, check=True, capture_output=True)
    (block,) = re.findall(r"```nginx\n(.*?)```", Path("docs/web.md").read_text(), re.DOTALL)
    for old, new in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl/", f"{folder}/"),
        ("location / {", f"location {location} {{"),
        ("proxy_pass http://127.0.0.1:7860", f"proxy_pass http://{proxied}"),
    ):
        assert old in block
        block = block.replace(old, new)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{\n{temporary}{block}}}\n"
    )
    process = subprocess.Popen([str(NGINX), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")])

    def listening() -> bool:
        assert process.poll() is None, (folder / "error.log").read_text()
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return True
        return False

    try:
        until(listening)
        yield port
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.parametrize(
    ("path", "location", "upstream_path"),
    [("/", "/", ""), ("/faces/", "/faces/", "/"), ("/faces/", "/faces/", "")],
    ids=["root", "path cut off", "path kept"],
)
def test_a_photo_goes_through_nginx_and_an_avatar_comes_out(
    path: str, location: str, upstream_path: str, tmp_path: Path
) -> None:
    port = int(free_address().split(":")[1])
    url = f"https://avatars.example:{port}{path}"
    photo = Image.fromarray(skimage.data.astronaut())
    photo.resize((1500, 1500)).save(tmp_path / "photo.png")
    assert (tmp_path / "photo.png").stat().st_size > 1_500_000  # over what nginx accepts by itself
    app = make_app(QuickTranslator(), local=True, pretrained=True, public=[parse_public_url(url)])
    with contextlib.ExitStack() as stack:
        behind = stack.enter_context(running(app))
        stack.enter_context(nginx(tmp_path, location, port, f"127.0.0.1:{behind}{upstream_path}"))
        playwright = stack.enter_context(sync_api.sync_playwright())
        options = ["--no-sandbox", "--host-resolver-rules=MAP avatars.example 127.0.0.1, MAP * ~NOTFOUND"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        for scripts in (True, False):
            context = browser.new_context(ignore_https_errors=True, java_script_enabled=scripts)
            page = context.new_page()
            requests: list[str] = []
            page.on("request", lambda request, seen=requests: seen.append(request.url))
            page.goto(url)
            page.set_input_files("#photo", tmp_path / "photo.png")
            if not scripts:
                page.click("text=Make the avatar")
            page.wait_for_selector(".face", timeout=60_000)
            assert page.get_by_role("img", name="The avatar").count() == 1
            assert not [each for each in requests if not each.startswith((url, "data:", "blob:"))]
            assert any(each.endswith("examples/0.jpg") for each in requests)
            context.close()
        browser.close()
    for name in ("client_body", "proxy"):  # nginx wrote no photo and no avatar to its disk
        assert not [file for file in (tmp_path / name).rglob("*") if file.is_file()]
    assert "temporary file" not in (tmp_path / "error.log").read_text()
