"""The program of `export --whole` against the live translator."""

import ast
import functools
import importlib.util
import io
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import skimage.data
from PIL import Image

from bitmoji_jax import cli
from bitmoji_jax.data.synthetic.photo import render_photo
from bitmoji_jax.data.synthetic.spec import sample_nuisance, sample_spec
from bitmoji_jax.faces.align import FaceError
from bitmoji_jax.faces.resample import apply, square_matrix, warp
from bitmoji_jax.inference import weights
from bitmoji_jax.inference.translator import Translator
from tests.random_weights import random_weights

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from bitmoji_jax.inference import whole_runner
from bitmoji_jax.inference.export_whole import to_whole

ASTRONAUT = skimage.data.astronaut()
CORNERS = 256 * np.array([[0, 0], [0, 1], [1, 0], [1, 1]])


@functools.cache
def archive() -> bytes:
    return to_whole(weights.pretrained_weights())


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The program of the archive, imported from where it was unpacked."""
    folder = tmp_path_factory.mktemp("whole")
    with zipfile.ZipFile(io.BytesIO(archive())) as whole:
        whole.extractall(folder)
    spec = importlib.util.spec_from_file_location("run", folder / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator.pretrained()


def photo(name: str) -> np.ndarray:
    """The astronaut in some way, or the synthetic face of a seed."""
    if name == "upside down":
        return ASTRONAUT[::-1, ::-1].copy()
    if name == "small in a wide picture":
        return np.pad(ASTRONAUT[:360, 60:380], ((90, 0), (300, 30), (0, 0)), constant_values=90)
    if name == "astronaut":
        return ASTRONAUT
    rng = np.random.default_rng(int(name))
    return render_photo(sample_spec(rng), sample_nuisance(rng), 256)


# Seed 3 is left out: whether it is a man or a woman is unsure, so that a level of grey decides.
@pytest.mark.parametrize("name", ["astronaut", "upside down", "small in a wide picture", "0", "1", "2", "4", "5", "6"])
def test_a_photo_gives_the_crop_and_the_avatar_of_the_translator(
    name: str, runner: ModuleType, translator: Translator
) -> None:
    (face,) = translator.align(photo(name))
    (portrait,) = translator.translate_faces([face])
    matrix = runner.crop_matrix(runner.find(photo(name))[3])
    scale = np.sqrt(np.linalg.det(face.matrix[:, :2]))
    assert np.abs(apply(matrix, CORNERS) - apply(face.matrix, CORNERS)).max() / scale < 1.5
    found = runner.avatar(photo(name))
    assert (found.dtype, found.shape) == (np.uint8, portrait.avatar.shape)
    assert np.abs(found.astype(float) - portrait.avatar).mean() < 2


@pytest.mark.parametrize(
    ("name", "photo"),
    [
        ("no face", np.full((130, 90, 3), 90, np.uint8)),
        ("too small", np.asarray(Image.fromarray(ASTRONAUT).resize((180, 180), Image.Resampling.LANCZOS))),
        ("cut off", ASTRONAUT[:, 205:]),
        ("turned", np.repeat(skimage.data.camera()[..., None], 3, axis=2)),
    ],
)
def test_what_the_translator_refuses_ends_the_program_with_a_line(
    name: str, photo: np.ndarray, runner: ModuleType, translator: Translator
) -> None:
    with pytest.raises(FaceError) as refused:
        translator.align(photo)
    assert refused.value.reason == name
    with pytest.raises(SystemExit) as stop:
        runner.avatar(photo)
    assert name in str(stop.value)


@pytest.mark.parametrize("side", [60, 256, 480, 900])
def test_a_square_is_sampled_as_the_package_does(side: float) -> None:
    matrix = square_matrix(np.array([300.0, 200.0]), side, 0.3, 128)
    for draft, most in ((True, 0.2), (False, 2.5)):  # averages of samples, where there are any, are made otherwise
        pixels, inside = whole_runner.sample(ASTRONAUT, matrix, 128, draft)
        difference = np.floor(np.clip(pixels, 0, 255)) - warp(ASTRONAUT, matrix, 128, draft=draft)
        assert np.abs(difference).mean() < most
        assert inside[64, 64] == 1
        assert (inside.min() == 0) == (side >= 480)


@pytest.mark.slow
def test_the_program_runs_where_this_package_cannot_be_imported(translator: Translator, tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(archive())) as whole:
        assert sorted(whole.namelist()) == [
            "NOTICE",
            *(f"{name}.onnx" for name in ("avatar", "detector", "mesh")),
            "run.py",
            "segmentation.onnx",
        ]
        whole.extractall(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(np.rot90(ASTRONAUT)).save(tmp_path / "me.jpg", quality=95, exif=exif)
    command = [sys.executable, "-S", "-c", f"import sys; sys.path.extend({sys.path!r}); "]
    command[-1] += "sys.modules['bitmoji_jax'] = sys.modules['jax'] = None; sys.argv = ['run.py', 'me.jpg', 'me.png']; "
    command[-1] += "import runpy; runpy.run_path('run.py', run_name='__main__')"
    subprocess.run(command, cwd=tmp_path, check=True)
    with Image.open(tmp_path / "me.png") as avatar:
        difference = np.asarray(avatar).astype(float) - np.asarray(translator.photo(tmp_path / "me.jpg"))
    assert np.abs(difference).mean() < 2


def test_the_program_imports_only_what_its_docstring_says() -> None:
    tree = ast.parse(Path(whole_runner.__file__).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    tops = {name.split(".")[0] for name in names}
    assert tops - set(sys.stdlib_module_names) == {"numpy", "onnxruntime", "PIL"}


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    small = random_weights()
    monkeypatch.setattr(weights, "pretrained_weights", lambda _: small)
    out = tmp_path / "whole.zip"
    assert cli.main(["export", "--format", "stablehlo", "--whole", "--out", str(out)]) == 2
    assert capsys.readouterr().err == "error: --whole is for ONNX networks: give --format onnx too\n"
    assert cli.main(["export", "--format", "onnx", "--whole", "--out", str(out)]) == 0
    assert f"{out.stat().st_size / 1e6:.1f} MB: {out}" in capsys.readouterr().out
    assert out.read_bytes() == to_whole(small)
