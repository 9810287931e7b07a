"""Exported files against the live translator, in grey levels."""

import functools
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import jax
import jax.export
import numpy as np
import pytest

from bitmoji_jax import cli
from bitmoji_jax.config import GeneratorConfig, RefinerConfig, from_json, to_json
from bitmoji_jax.data.synthetic.photo import render_photo
from bitmoji_jax.data.synthetic.spec import sample_nuisance, sample_spec
from bitmoji_jax.errors import InputError
from bitmoji_jax.inference import weights as weights_module
from bitmoji_jax.inference.export_stablehlo import PLATFORMS, load_exported, to_stablehlo
from bitmoji_jax.inference.look import Look, look_of
from bitmoji_jax.inference.translator import Translator
from bitmoji_jax.inference.weights import BEST, Weights, pretrained_weights, save_weights
from bitmoji_jax.models.networks import guide_size, photo_to_avatar
from bitmoji_jax.ops.batching import resized
from bitmoji_jax.ops.image import to_float, to_uint8
from bitmoji_jax.ops.platform import tracing_for
from tests.random_weights import random_weights

SIZE = 32
FORMATS = pytest.mark.parametrize("kind", ["stablehlo", "onnx"])
GENERATORS = [
    GeneratorConfig(features=4, res_blocks=1, skips=False, upsample="transpose"),
    GeneratorConfig(features=4, res_blocks=2, skips=True, upsample="transpose"),
    GeneratorConfig(features=4, res_blocks=0, skips=False, upsample="nearest"),
    GeneratorConfig(features=4, res_blocks=2, skips=True, upsample="nearest"),
    GeneratorConfig(features=4, res_blocks=1, skips=False, upsample="subpixel"),
    GeneratorConfig(features=4, res_blocks=0, skips=True, upsample="subpixel"),
]


# Names of networks, sides of photos and of avatars, whether a reader guides the student. The U-Net takes single pixels,
# or blocks of 4 or 16, and draws as large as it sees, larger or smaller.
WAYS = pytest.mark.parametrize(
    ("names", "size", "drawn", "guided"),
    [
        ("gfr", 64, 256, False),
        ("gr", 128, 256, False),
        ("gfrl", 32, 32, False),
        ("sf", 64, 256, False),
        ("s", 128, 256, True),
        ("sf", 256, 64, True),
        ("stl", 64, 256, True),
        ("gft", 128, 128, False),
    ],
)

FOLDER = "/home/somebody/data/mine"


def plain_weights() -> Weights:
    # Not a constant: JAX would start before conftest has set its flags.
    return random_weights(folder=FOLDER)


@pytest.fixture(scope="module")
def translator() -> Translator:
    """Of `plain_weights`."""
    return Translator.from_weights(plain_weights())


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`plain_weights` as a StableHLO file."""
    path = tmp_path_factory.mktemp("exported") / "g.stablehlo"
    path.write_bytes(to_stablehlo(plain_weights()))
    return path


def serialize(kind: str, weights: Weights) -> bytes:
    if kind == "stablehlo":
        return to_stablehlo(weights)
    pytest.importorskip("onnx")
    from bitmoji_jax.inference.export_onnx import to_onnx

    return to_onnx(weights)


def images(count: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def load(contents: bytes, folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The translation of an exported file, photos to avatars."""
    path = folder / "exported"
    path.write_bytes(contents)
    if zipfile.is_zipfile(path):
        return load_exported(path).x2y
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda photos: session.run(["avatars"], {"photos": photos})[0]


def export(out: Path, kind: str, *arguments: str) -> int:
    """Runs the command; returns its exit code."""
    return cli.main(["export", "--out", str(out), "--format", kind, *arguments])


def assert_same_pictures(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == np.uint8
    assert found.shape == expected.shape
    difference = np.abs(found.astype(int) - expected)
    assert difference.max(initial=0) <= 1  # a rounding error that falls the other way ...
    assert difference.sum() <= 0.01 * difference.size  # ... and seldom does


def test_f_as_onnx_gives_the_photos_of_the_translator() -> None:
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    from bitmoji_jax.inference.export_onnx import f_to_onnx

    weights = plain_weights()
    session = onnxruntime.InferenceSession(f_to_onnx(weights), providers=["CPUExecutionProvider"])
    avatars = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
    (found,) = session.run(["photos"], {"avatars": avatars})
    assert_same_pictures(found, Translator.from_weights(weights).y2x(avatars))


@pytest.mark.parametrize(
    ("generator", "kind"),
    # StableHLO is traced from the one code for all generators; ONNX has code of its own for each.
    [(generator, "onnx") for generator in GENERATORS] + [(GENERATORS[0], "stablehlo"), (GENERATORS[3], "stablehlo")],
    ids=lambda a: a if isinstance(a, str) else f"{a.upsample}-{'skips' if a.skips else 'plain'}-{a.res_blocks}",
)
def test_every_generator_does_what_the_translator_does(generator: GeneratorConfig, kind: str, tmp_path: Path) -> None:
    weights = random_weights(generator)
    photos, translate = images(3), load(serialize(kind, weights), tmp_path)
    expected = Translator.from_weights(weights)(photos)
    assert np.ptp(expected) > 100
    assert_same_pictures(translate(photos), expected)


@WAYS
def test_refiner_and_student_in_onnx_do_what_the_translator_does(
    names: str, size: int, drawn: int, guided: bool, tmp_path: Path
) -> None:
    refiner = RefinerConfig(features=8, output_size=drawn)
    weights = random_weights(names=names, refiner=refiner, size=size, guided=guided, mouth=guided)
    photos, expected = images(2, size), Translator.from_weights(weights)(images(2, size))
    assert expected.shape == (2, drawn, drawn, 3)
    assert np.ptp(expected) > 100
    assert_same_pictures(load(serialize("onnx", weights), tmp_path)(photos), expected)


@pytest.mark.parametrize(("glasses", "mouth"), [(True, True), (True, False), (False, False)])
def test_onnx_with_a_look_reads_and_follows_guides_as_the_translator_does(glasses: bool, mouth: bool) -> None:
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    from bitmoji_jax.inference.export_onnx import to_onnx

    weights = random_weights(names="s", guided=True, glasses=glasses, mouth=mouth)
    translator, photos = Translator.from_weights(weights), images(2)
    session = onnxruntime.InferenceSession(to_onnx(weights, look=True), providers=["CPUExecutionProvider"])
    wanted = Look("male", hair=(255, 0, 64), glasses=True if glasses else None)
    dressed = Look(hat=True, mouth="open") if mouth else Look()
    for look in (Look(), wanted, dressed):
        guide = look.guide(guide_size(weights.config))
        avatars, guides = session.run(["avatars", "guides"], {"photos": photos, "guide": guide})
        assert_same_pictures(avatars, translator.x2y(photos, look))
        assert [look_of(read) for read in guides] == translator.read(photos)


@pytest.mark.parametrize(("names", "guided"), [("gfr", False), ("sf", False), ("sftlh", True)])
def test_refiner_and_student_in_stablehlo_do_what_the_translator_does(names: str, guided: bool, tmp_path: Path) -> None:
    weights = random_weights(
        names=names, refiner=RefinerConfig(features=8, output_size=128), guided=guided, mouth=guided
    )
    translator, path = Translator.from_weights(weights), tmp_path / "exported"
    path.write_bytes(serialize("stablehlo", weights))
    exported = Translator.from_file(path)
    assert (exported.size, exported.input_size) == (translator.size, translator.input_size) == (128, SIZE)
    assert_same_pictures(exported(images(3)), translator(images(3)))


@pytest.fixture(scope="module")
def drawn_faces() -> tuple[np.ndarray, np.ndarray]:
    """Synthetic faces, and what the pretrained translator makes of them."""
    rng = np.random.default_rng(0)
    faces = np.stack([render_photo(sample_spec(rng), sample_nuisance(rng), 64) for _ in range(2)])
    return faces, Translator.pretrained()(faces)


@FORMATS
def test_synthetic_faces_become_the_avatars_of_the_pretrained_translator(
    kind: str, drawn_faces: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    faces, expected = drawn_faces
    assert np.ptp(expected) > 200
    assert_same_pictures(load(serialize(kind, pretrained_weights()), tmp_path)(faces), expected)


def test_bfloat16_by_configuration_is_kept_in_stablehlo(translator: Translator, tmp_path: Path) -> None:
    weights = random_weights(compute_dtype="bfloat16")
    found = load(to_stablehlo(weights), tmp_path)(images(3))
    assert_same_pictures(found, Translator.from_weights(weights)(images(3)))
    assert np.any(found != translator(images(3)))


def test_accelerators_get_their_own_form(translator: Translator, plain: Path) -> None:
    exported = jax.export.deserialize(bytearray(plain.read_bytes()))
    assert exported.platforms == PLATFORMS
    # The same file, asked for what it holds for another platform, which this one then runs.
    anywhere = [jax.export.DisabledSafetyCheck.platform()]
    photos = images(3)
    with tracing_for("cuda"):
        network = functools.partial(photo_to_avatar, plain_weights().config)
        expected = to_uint8(jax.jit(network)({"g": plain_weights().networks["g"]}, to_float(photos)))
    for platform in ("cuda", "tpu"):
        one = jax.export.export(jax.jit(exported.call), platforms=[platform], disabled_checks=anywhere)(photos)
        # Compiled as another program, which rounds to bfloat16 elsewhere; the CPU's form does not round at all.
        found = np.asarray(jax.jit(one.call)(photos)).astype(float)
        assert np.abs(found - expected).mean() < 0.5 * np.abs(found - translator(photos)).mean()


@pytest.mark.slow
def test_stablehlo_runs_where_this_package_and_flax_cannot_be_imported(
    translator: Translator, plain: Path, tmp_path: Path
) -> None:
    shutil.copy(plain, tmp_path / "g.stablehlo")
    np.save(tmp_path / "photos.npy", images(9))
    code = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("bitmoji_jax", "flax", "orbax", "optax"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refuse())
import jax, jax.export, numpy
for name in ("bitmoji_jax", "flax"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    sys.exit(f"{name} could be imported")
exported = jax.export.deserialize(bytearray(open("g.stablehlo", "rb").read()))
numpy.save("avatars.npy", jax.jit(exported.call)(numpy.load("photos.npy")))
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert_same_pictures(np.load(tmp_path / "avatars.npy"), translator(images(9)))


@FORMATS
def test_the_same_weights_give_the_same_bytes_which_contain_no_path(kind: str) -> None:
    contents = serialize(kind, plain_weights())
    assert contents == serialize(kind, plain_weights())
    for place in ("/home", "/mine", ".py", str(Path(__file__).parents[1])):
        assert place.encode() not in contents
    arrays = 4 * sum(leaf.size for leaf in jax.tree.leaves(plain_weights().networks["g"]))
    assert len(contents) < arrays + 80_000  # weights are there once


def test_stablehlo_is_a_zip_archive_too_with_metadata(plain: Path) -> None:
    with zipfile.ZipFile(plain) as archive:
        metadata = json.loads(archive.read("metadata.json"))
    assert (metadata["images"], metadata["input_size"], metadata["output_size"]) == (24, SIZE, SIZE)
    assert metadata["version"]
    config = random_weights(folder="mine").config
    assert from_json(json.dumps(metadata["config"])) == config
    assert load_exported(plain)[:4] == (config, 24, SIZE, SIZE)


def test_a_file_of_an_earlier_version_has_no_checksum_and_no_sizes_which_are_the_datasets(
    plain: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(plain) as archive:
        metadata = json.loads(archive.read("metadata.json"))
        function = plain.read_bytes()[: archive.getinfo("metadata.json").header_offset]
    del metadata["input_size"], metadata["output_size"], metadata["crc32"]
    path = tmp_path / "earlier"
    path.write_bytes(function)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("metadata.json", json.dumps(metadata))
    assert load_exported(path)[:4] == load_exported(plain)[:4]
    np.testing.assert_array_equal(load_exported(path).x2y(images(2)), load_exported(plain).x2y(images(2)))


def test_onnx_has_metadata_and_readable_names() -> None:
    onnx = pytest.importorskip("onnx")
    weights = random_weights(GeneratorConfig(features=4, res_blocks=1, skips=True, upsample="nearest"))
    model = onnx.load_from_string(serialize("onnx", weights))
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, [(entry.domain, entry.version) for entry in model.opset_import]) == (8, [("", 16)])
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert from_json(metadata["config"]).generator == weights.config.generator
    assert (metadata["images"], metadata["input_size"], metadata["output_size"]) == ("24", "32", "32")
    assert metadata["version"] == model.producer_version != ""
    for value, name in ((model.graph.input, "photos"), (model.graph.output, "avatars")):
        assert [entry.name for entry in value] == [name]
        shape = value[0].type.tensor_type.shape.dim
        assert [dim.dim_param or dim.dim_value for dim in shape] == ["N", SIZE, SIZE, 3]
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    expected = {"Conv_0", "Conv_0/norm", "ResidualBlock_0/Conv_1", "ResidualBlock_0/add", "Upsample_1/resize"}
    assert {f"g/{name}" for name in expected} < set(names)
    arrays = {array.name: onnx.numpy_helper.to_array(array) for array in model.graph.initializer}
    kernel = weights.networks["g"]["params"]["Conv_1"]["kernel"]
    np.testing.assert_array_equal(arrays["g/Conv_1/kernel"], kernel.transpose(3, 2, 0, 1))


def test_a_translator_is_made_of_an_exported_file(translator: Translator, plain: Path) -> None:
    exported = Translator.from_file(plain)
    assert (exported.size, exported.images, exported.cut_out) == (translator.size, translator.images, True)
    for count in (0, 1, 9):
        assert_same_pictures(exported.x2y(images(count)), translator.x2y(images(count)))
    large = images(2, 80)
    np.testing.assert_array_equal(exported(large), exported(resized(large, SIZE)))
    with pytest.raises(ValueError, match="not uint8"):
        exported(images(1).astype(np.float32))
    with pytest.raises(InputError, match="photos to avatars only"):
        exported.y2x(images(2))


@FORMATS
def test_nothing_is_overwritten_and_nothing_half_written(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "g"
    file.write_text("mine")
    assert export(file, kind) == 2
    assert capsys.readouterr().err == f"error: {file} exists already: remove it first, or choose another name\n"
    assert file.read_text() == "mine"
    assert export(tmp_path / "none" / "g", kind) == 2
    assert capsys.readouterr().err == f"error: there is no folder {tmp_path}/none for g: create it first\n"
    file.unlink()

    def full_disk(path: Path, contents: bytes) -> None:
        with path.open("wb") as stream:
            stream.write(contents[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights_module, "pretrained_weights", lambda _: plain_weights())
    monkeypatch.setattr(Path, "write_bytes", full_disk)
    assert export(file, kind) == 1
    assert "No space" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("kind", "missing"), [("stablehlo", "flatbuffers"), ("onnx", "onnx")])
def test_without_the_extra_it_is_one_clear_line(
    kind: str, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "bitmoji_jax.inference.export_onnx", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    assert export(tmp_path / "g", kind) == 2
    assert "pip install 'bitmoji-jax[export]'" in capsys.readouterr().err
    assert not (tmp_path / "g").exists()
    if kind == "stablehlo":
        with pytest.raises(InputError, match=r"pip install 'bitmoji-jax\[export\]'"):
            load_exported(tmp_path / "g")


def test_files_that_were_not_exported_or_are_damaged_are_one_clear_line(plain: Path, tmp_path: Path) -> None:
    path = tmp_path / "g.stablehlo"
    with pytest.raises(InputError, match="no such exported file"):
        load_exported(path)
    whole = plain.read_bytes()
    with zipfile.ZipFile(plain) as archive:
        metadata = json.loads(archive.read("metadata.json"))
    save_weights(tmp_path / "w.safetensors", plain_weights())
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("metadata.json", "[]")
    others = [(tmp_path / name).read_bytes() for name in ("w.safetensors", "other.zip")]
    for damaged in (b"", b"hello", whole[:1000], whole[:-1], *others):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="is not a StableHLO file of `export`, or is damaged"):
            load_exported(path)
    # Metadata without the function before it; earlier versions wrote no checksum.
    checked = metadata.pop("crc32")
    for values, message in (({**metadata, "crc32": checked}, "or is damaged"), (metadata, "cannot be read by JAX")):
        path.write_bytes(b"\xff" * 5000)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("metadata.json", json.dumps(values))
        with pytest.raises(InputError, match=message):
            load_exported(path)


def test_the_command_exports_the_weights_of_the_package_or_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(weights_module, "pretrained_weights", lambda _: plain_weights())
    out = tmp_path / "g.onnx"
    assert export(out, "onnx") == 0
    megabytes = out.stat().st_size / 1e6
    assert capsys.readouterr().out == f"exported 32 px to 32 px, 24 images seen, {megabytes:.1f} MB: {out}\n"

    run = tmp_path / "run"
    run.mkdir()
    save_weights(run / BEST, plain_weights())
    (run / "config.json").write_text(to_json(plain_weights().config))
    for number, checkpoint in enumerate(([], ["--checkpoint", "best"])):
        assert export(tmp_path / f"{number}.onnx", "onnx", "--run", str(run), *checkpoint) == 0
        assert (tmp_path / f"{number}.onnx").read_bytes() == out.read_bytes()
    capsys.readouterr()
    assert export(tmp_path / "none", "onnx", "--run", str(run), "--checkpoint", "12") == 2
    assert capsys.readouterr().err == f"error: {run} has no checkpoint yet\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "torch", "--out", "g"], "torch"),
        (["--out", "g"], "--format"),
        (["--format", "onnx"], "--out"),
    ],
)
def test_bad_usage(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["export", *arguments])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@FORMATS
def test_weights_of_the_package_by_name(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(tmp_path / "res5", kind, "--weights", "res5") == 0
    assert capsys.readouterr().out.startswith("exported 64 px to 64 px, 11,595 images seen")
    assert (tmp_path / "res5").read_bytes() == serialize(kind, pretrained_weights("res5"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "ress"], "the package has no weights 'ress'; the nearest name is 'res5'"),
        (["--weights", "res5", "--run", "r"], "--run and --weights each name the weights to use: give one of them"),
        (
            ["--weights", "res5", "--checkpoint", "best"],
            "--checkpoint is one of a run's: name the run's folder with --run",
        ),
    ],
)
def test_weights_that_are_not_there_or_named_twice_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(tmp_path / "g", "onnx", *arguments) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_a_checkpoint_of_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", "--out", "g", "--format", "onnx", "--checkpoint", "best"]) == 2
    assert capsys.readouterr().err == "error: --checkpoint is one of a run's: name the run's folder with --run\n"
