"""The folder of the page that needs no server; test_web_site.py opens it in a browser."""

import json
import re
from pathlib import Path

import pytest

from bitmoji_jax import cli
from bitmoji_jax.errors import InputError
from tests.html_tree import Tree
from tests.random_weights import random_weights

pytest.importorskip("onnx")

from bitmoji_jax.web.export_site import RUNTIME, check_runtime, export_site


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """A package with the files that are copied, which hold nothing."""
    folder = tmp_path / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"version": RUNTIME}))
    for name in ("ort.wasm.bundle.min.mjs", "ort.webgpu.bundle.min.mjs"):
        (folder / "dist" / name).write_text("export const env = {};")
    for name in ("ort-wasm-simd-threaded.wasm", "ort-wasm-simd-threaded.asyncify.wasm"):
        (folder / "dist" / name).write_bytes(b"\0asm")
    return folder


def test_the_site_is_whole_and_its_service_worker_knows_every_file(runtime: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    size = export_site(random_weights(), out, runtime, pretrained=False)
    files = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert size == sum(map(len, files.values()))
    worker = files.pop("service_worker.js").decode()
    kept = json.loads(re.search(r"^const FILES = (.*);$", worker, re.M)[1])  # type: ignore[index]
    assert {name or "index.html" for name in kept} == set(files)
    assert not any(early for name, early in kept.items() if name.startswith(("models/", "runtime/")))

    # All that a file names is there, and nothing is elsewhere.
    named = {name for node in Tree(files["index.html"].decode()).stack[0].all() for name in links(node.attributes)}
    named |= {icon["src"] for icon in json.loads(files["manifest.webmanifest"])["icons"]}
    for name, content in files.items():
        if name.endswith(".js") and "/" not in name:
            text = content.decode()
            assert not re.search(r"https?:", text)
            named |= set(re.findall(r'from "[.]/(.+)"', text)) | set(re.findall(r'URL\("([^"]+[.]js)"', text))
    assert named <= set(files)
    assert "models/cycle.onnx.gz" not in files  # random weights have no guard
    assert "research only" not in files["index.html"].decode()


def links(attributes: dict[str, str]) -> list[str]:
    values = [value for name, value in attributes.items() if name in ("src", "href")]
    return [value for value in values if not value.startswith(("data:", "$"))]


def test_the_same_weights_give_the_same_site(runtime: Path, tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        export_site(random_weights(), tmp_path / name, runtime, pretrained=True)
        contents.append([path.read_bytes() for path in sorted((tmp_path / name).rglob("*")) if path.is_file()])
    assert contents[0] == contents[1]


def test_a_missing_or_other_runtime_is_an_error_that_says_how_to_install_it(
    runtime: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_runtime(runtime)
    (runtime / "package.json").write_text('{"version": "1.2.3"}')
    with pytest.raises(InputError, match=r"version 1[.]2[.]3 .* npm install onnxruntime-web@"):
        check_runtime(runtime)
    place = ["--out", str(tmp_path / "site"), "--onnxruntime-web", str(tmp_path / "nowhere")]
    assert cli.main(["export", "--format", "web", *place]) == 2
    assert f"npm install onnxruntime-web@{RUNTIME}" in capsys.readouterr().err
    assert not (tmp_path / "site").exists()
