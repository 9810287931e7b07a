"""Exported files against the live translator, in grey levels."""

import dataclasses
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from bitmoji_jax import cli
from bitmoji_jax.config import DataConfig, ExperimentConfig, GeneratorConfig, TrainConfig, from_json
from bitmoji_jax.data.synthetic.photo import render_photo
from bitmoji_jax.data.synthetic.spec import sample_nuisance, sample_spec
from bitmoji_jax.errors import InputError
from bitmoji_jax.inference.export import export_onnx, export_stablehlo
from bitmoji_jax.inference.export_stablehlo import PLATFORMS, load_exported
from bitmoji_jax.inference.translator import Translator
from bitmoji_jax.inference.weights import Weights, pretrained_weights, save_weights
from bitmoji_jax.models.networks import make_generator
from bitmoji_jax.ops.batching import resized
from bitmoji_jax.ops.image import to_float, to_uint8
from bitmoji_jax.ops.platform import tracing_for

SIZE = 32
EXPORTS = {"stablehlo": export_stablehlo, "onnx": export_onnx}
FORMATS = pytest.mark.parametrize("kind", EXPORTS)
GENERATORS = [
    GeneratorConfig(features=4, res_blocks=1, skips=False, upsample="transpose"),
    GeneratorConfig(features=4, res_blocks=2, skips=True, upsample="transpose"),
    GeneratorConfig(features=4, res_blocks=0, skips=False, upsample="nearest"),
    GeneratorConfig(features=4, res_blocks=2, skips=True, upsample="nearest"),
    GeneratorConfig(features=4, res_blocks=1, skips=False, upsample="subpixel"),
    GeneratorConfig(features=4, res_blocks=0, skips=True, upsample="subpixel"),
]


def weights_of(generator: GeneratorConfig, compute_dtype: str = "auto") -> Weights:
    """Random ones, biases too; so large that the outputs fill the range."""
    config = ExperimentConfig(
        data=DataConfig(dir="/home/somebody/data/mine", image_size=SIZE),
        generator=generator,
        train=TrainConfig(compute_dtype=compute_dtype),  # type: ignore[arg-type]
    )
    network = make_generator(config)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3))))
    rng = np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        return rng.normal(0, 0.1, leaf.shape).astype(np.float32)

    return Weights(config, 24, {name: jax.tree.map(draw, shapes) for name in "gf"})


PLAIN = weights_of(GeneratorConfig(features=4, res_blocks=1))


@pytest.fixture(scope="module")
def translator() -> Translator:
    """Of `PLAIN`."""
    return Translator.from_weights(PLAIN)


def images(count: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def load(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    if path.suffix == ".stablehlo":
        return load_exported(path)
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda photos: session.run(["avatars"], {"photos": photos})[0]


def assert_same_pictures(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == np.uint8
    assert found.shape == expected.shape
    difference = np.abs(found.astype(int) - expected)
    assert difference.max(initial=0) <= 1  # a rounding error that falls the other way ...
    assert difference.sum() <= 0.01 * difference.size  # ... and seldom does


@pytest.mark.parametrize(
    ("generator", "kind"),
    # StableHLO is traced from the one code for all generators; ONNX has code of its own for each.
    [(generator, "onnx") for generator in GENERATORS] + [(GENERATORS[0], "stablehlo"), (GENERATORS[3], "stablehlo")],
    ids=lambda a: a if isinstance(a, str) else f"{a.upsample}-{'skips' if a.skips else 'plain'}-{a.res_blocks}",
)
def test_every_generator_does_what_the_translator_does(generator: GeneratorConfig, kind: str, tmp_path: Path) -> None:
    weights = weights_of(generator)
    EXPORTS[kind](weights, tmp_path / f"g.{kind}")
    translate, translator = load(tmp_path / f"g.{kind}"), Translator.from_weights(weights)
    for count in (1, 3, 9):
        expected = translator(images(count))
        assert np.ptp(expected) > 100
        assert_same_pictures(translate(images(count)), expected)


@FORMATS
def test_synthetic_faces_become_the_avatars_of_the_pretrained_translator(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    faces = np.stack([render_photo(sample_spec(rng), sample_nuisance(rng), 64) for _ in range(3)])
    EXPORTS[kind](pretrained_weights(), tmp_path / f"g.{kind}")
    expected = Translator.pretrained()(faces)
    assert np.ptp(expected) > 200
    assert_same_pictures(load(tmp_path / f"g.{kind}")(faces), expected)


def test_bfloat16_by_configuration_is_kept_in_stablehlo(translator: Translator, tmp_path: Path) -> None:
    weights = weights_of(PLAIN.config.generator, "bfloat16")
    export_stablehlo(weights, tmp_path / "g.stablehlo")
    found = load_exported(tmp_path / "g.stablehlo")(images(3))
    assert_same_pictures(found, Translator.from_weights(weights)(images(3)))
    assert np.any(found != translator(images(3)))


def test_accelerators_get_their_own_form(translator: Translator, tmp_path: Path) -> None:
    export_stablehlo(PLAIN, tmp_path / "g.stablehlo")
    exported = jax.export.deserialize(bytearray((tmp_path / "g.stablehlo").read_bytes()))
    assert exported.platforms == PLATFORMS
    # The same file, asked for what it holds for another platform, which this one then runs.
    anywhere = [jax.export.DisabledSafetyCheck.platform()]
    photos = images(3)
    with tracing_for("cuda"):
        network = make_generator(PLAIN.config)
        expected = to_uint8(jax.jit(network.apply)(PLAIN.generators["g"], to_float(photos)))
    for platform in ("cuda", "tpu"):
        one = jax.export.export(jax.jit(exported.call), platforms=[platform], disabled_checks=anywhere)(photos)
        assert_same_pictures(np.asarray(jax.jit(one.call)(photos)), np.asarray(expected))
    assert np.any(expected != translator(photos))  # that is float32, this bfloat16


@pytest.mark.slow
def test_stablehlo_runs_where_this_package_and_flax_can_not_be_imported(translator: Translator, tmp_path: Path) -> None:
    export_stablehlo(PLAIN, tmp_path / "g.stablehlo")
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
def test_the_same_weights_give_the_same_bytes_which_name_no_place(kind: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        EXPORTS[kind](PLAIN, tmp_path / name)
    contents = (tmp_path / "a").read_bytes()
    assert contents == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    for place in ("/home", "/mine", ".py", str(Path(__file__).parents[1]), str(tmp_path)):
        assert place.encode() not in contents
    arrays = 4 * sum(leaf.size for leaf in jax.tree.leaves(PLAIN.generators["g"]))
    assert len(contents) < arrays + 80_000  # weights are there once


def test_stablehlo_is_a_zip_archive_too_that_says_what_it_is(tmp_path: Path) -> None:
    export_stablehlo(PLAIN, tmp_path / "g.stablehlo")
    with zipfile.ZipFile(tmp_path / "g.stablehlo") as archive:
        metadata = json.loads(archive.read("metadata.json"))
    assert metadata["images"] == 24
    assert metadata["version"]
    shareable = dataclasses.replace(
        PLAIN.config, data=dataclasses.replace(PLAIN.config.data, dir="mine")
    )  # the folder's name, without the way to it
    assert from_json(json.dumps(metadata["config"])) == shareable
    found = load_exported(tmp_path / "g.stablehlo")
    assert (found.config, found.images, found.size) == (shareable, 24, SIZE)


def test_onnx_says_what_it_is_in_names_that_people_read(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    weights = weights_of(GeneratorConfig(features=4, res_blocks=1, skips=True, upsample="nearest"))
    export_onnx(weights, tmp_path / "g.onnx")
    model = onnx.load(tmp_path / "g.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, [(entry.domain, entry.version) for entry in model.opset_import]) == (7, [("", 13)])
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert from_json(metadata["config"]).generator == weights.config.generator
    assert metadata["images"] == "24"
    assert metadata["version"] == model.producer_version != ""
    for value, name in ((model.graph.input, "photos"), (model.graph.output, "avatars")):
        assert [entry.name for entry in value] == [name]
        shape = value[0].type.tensor_type.shape.dim
        assert [dim.dim_param or dim.dim_value for dim in shape] == ["N", SIZE, SIZE, 3]
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert {"Conv_0", "Conv_0/norm", "ResidualBlock_0/Conv_1", "ResidualBlock_0/add", "Upsample_1/resize"} < set(names)
    arrays = {array.name: onnx.numpy_helper.to_array(array) for array in model.graph.initializer}
    kernel = weights.generators["g"]["params"]["Conv_1"]["kernel"]
    np.testing.assert_array_equal(arrays["Conv_1/kernel"], kernel.transpose(3, 2, 0, 1))


def test_a_translator_is_made_of_an_exported_file(translator: Translator, tmp_path: Path) -> None:
    export_stablehlo(PLAIN, tmp_path / "g.stablehlo")
    exported = Translator.from_file(tmp_path / "g.stablehlo")
    assert (exported.size, exported.images, exported.cut_out) == (translator.size, translator.images, True)
    assert_same_pictures(exported.x2y(images(2)), translator.x2y(images(2)))
    with pytest.raises(InputError, match="photos to avatars only"):
        exported.y2x(images(2))


def test_a_loaded_file_takes_any_number_and_size(translator: Translator, tmp_path: Path) -> None:
    export_stablehlo(PLAIN, tmp_path / "g.stablehlo")
    exported = load_exported(tmp_path / "g.stablehlo")
    for count in (0, 1, 9):
        assert_same_pictures(exported(images(count)), translator(images(count)))
    large = images(2, 80)
    np.testing.assert_array_equal(exported(large), exported(resized(large, SIZE)))
    with pytest.raises(ValueError, match="not uint8"):
        exported(images(1).astype(np.float32))


@FORMATS
def test_nothing_is_overwritten_and_nothing_half_written(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "g"
    file.write_text("mine")
    with pytest.raises(InputError, match="g is already there: remove it first"):
        EXPORTS[kind](PLAIN, file)
    assert file.read_text() == "mine"
    with pytest.raises(InputError, match=r"there is no folder .*none for g: make it first"):
        EXPORTS[kind](PLAIN, tmp_path / "none" / "g")
    file.unlink()

    def full_disk(path: Path, contents: bytes) -> None:
        with path.open("wb") as stream:
            stream.write(contents[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space"):
        EXPORTS[kind](PLAIN, file)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("kind", "missing"), [("stablehlo", "flatbuffers"), ("onnx", "onnx")])
def test_without_the_extra_it_is_one_clear_line(
    kind: str, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there.stablehlo").write_text("")
    monkeypatch.delitem(sys.modules, "bitmoji_jax.inference.export_onnx", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=r"pip install 'bitmoji-jax\[export\]'"):
        EXPORTS[kind](PLAIN, tmp_path / "g")
    assert not (tmp_path / "g").exists()
    if kind == "stablehlo":
        with pytest.raises(InputError, match=r"pip install 'bitmoji-jax\[export\]'"):
            load_exported(tmp_path / "there.stablehlo")


def test_files_that_were_not_exported_or_are_damaged_are_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "g.stablehlo"
    with pytest.raises(InputError, match="no such exported file"):
        load_exported(path)
    export_stablehlo(PLAIN, path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        metadata = archive.read("metadata.json")
    save_weights(tmp_path / "w.safetensors", PLAIN)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("metadata.json", "[]")
    others = [(tmp_path / name).read_bytes() for name in ("w.safetensors", "other.zip")]
    for damaged in (b"", b"hello", whole[:1000], whole[:-1], *others):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"no StableHLO file of `export`, or is damaged"):
            load_exported(path)
    # Metadata without the function before it.
    path.write_bytes(b"\xff" * 5000)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("metadata.json", metadata)
    with pytest.raises(InputError, match="can't be read by JAX"):
        load_exported(path)


def test_the_command_exports_the_weights_of_the_package_or_of_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "g.stablehlo"
    assert cli.main(["export", "--out", str(out), "--format", "stablehlo"]) == 0
    megabytes = out.stat().st_size / 1e6
    assert capsys.readouterr().out == f"exported 64 px, 11,595 images seen, {megabytes:.1f} MB: {out}\n"
    assert cli.main(["export", "--out", str(out), "--format", "stablehlo"]) == 2
    assert capsys.readouterr().err == f"error: {out} is already there: remove it first, or choose another name\n"

    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(Path(cli.__file__).parent / "inference" / "pretrained.safetensors", run / "best.safetensors")
    with zipfile.ZipFile(out) as archive:
        config = json.dumps(json.loads(archive.read("metadata.json"))["config"])
    (run / "config.json").write_text(config)
    for checkpoint in ([], ["--checkpoint", "best"]):
        again = tmp_path / f"again{len(checkpoint)}"
        assert cli.main(["export", "--run", str(run), "--out", str(again), "--format", "stablehlo", *checkpoint]) == 0
        assert again.read_bytes() == out.read_bytes()
    capsys.readouterr()
    none = ["export", "--run", str(run), "--out", str(tmp_path / "none"), "--format", "onnx", "--checkpoint", "12"]
    assert cli.main(none) == 2
    assert capsys.readouterr().err == f"error: {run} has no checkpoint yet\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "torch", "--out", "g"], "torch"),
        (["--out", "g"], "--format"),
        (["--format", "onnx"], "--out"),
    ],
)
def test_bad_usage(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["export", *arguments])
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_a_checkpoint_of_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", "--out", "g", "--format", "onnx", "--checkpoint", "best"]) == 2
    assert capsys.readouterr().err == "error: --checkpoint is one of a run's: name the run's folder with --run\n"
