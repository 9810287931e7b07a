import dataclasses
import importlib.metadata
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rich.console
import safetensors.flax

from bitmoji_jax.config import ExperimentConfig, from_json, to_json
from bitmoji_jax.errors import InputError
from bitmoji_jax.inference.guard import fit_guard
from bitmoji_jax.inference.weights import (
    BEST,
    PRETRAINED,
    Weights,
    export_metadata,
    load_weights,
    pretrained_weights,
    run_weights,
    save_weights,
    stage_folders,
)
from bitmoji_jax.parallel import make_mesh
from bitmoji_jax.training.checkpoint import Checkpointer
from bitmoji_jax.training.train_state import create_train_state
from bitmoji_jax.training.translate_stage import translate_stage
from tests.random_weights import random_weights


@pytest.fixture(scope="module")
def weights() -> Weights:
    return random_weights()


def assert_equal(found: Weights, expected: Weights) -> None:
    assert (found.config, found.images) == (expected.config, expected.images)
    jax.tree.map(np.testing.assert_array_equal, found.networks, expected.networks)


@pytest.mark.parametrize("names", ["gf", "gfr", "sf", "s"])
def test_what_is_saved_reads_back_and_leaves_nothing_beside_it(names: str, tmp_path: Path) -> None:
    weights = random_weights(names=names)
    save_weights(tmp_path / "w.safetensors", weights)
    assert_equal(load_weights(tmp_path / "w.safetensors"), weights)
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_the_guard_stays_float32_in_the_file_and_comes_back(weights: Weights, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    guard = fit_guard(images, images, images, images)
    save_weights(tmp_path / "w.safetensors", dataclasses.replace(weights, guard=guard), jnp.bfloat16)
    found = load_weights(tmp_path / "w.safetensors")
    assert found.guard is not None
    for name, array in guard.arrays().items():
        np.testing.assert_array_equal(found.guard.arrays()[name], array)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2), found.networks, weights.networks)


def test_critics_are_kept_in_half_precision_and_a_file_without_them_has_none(weights: Weights, tmp_path: Path) -> None:
    critics = {"d_y": {"params": {"kernel": np.array([1.0, 1 / 3], np.float32)}}}
    for name, kept in (("with", critics), ("without", {})):
        save_weights(tmp_path / name, dataclasses.replace(weights, critics=kept))
    found = load_weights(tmp_path / "with")
    assert_equal(found, weights)
    kernel = found.critics["d_y"]["params"]["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, critics["d_y"]["params"]["kernel"].astype(jnp.bfloat16))
    assert load_weights(tmp_path / "without").critics == {}


def test_bfloat16_halves_the_file_and_reads_as_the_nearest_float32(weights: Weights, tmp_path: Path) -> None:
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    save_weights(whole, weights)
    save_weights(half, weights, jnp.bfloat16)
    elements = sum(leaf.size for leaf in jax.tree.leaves(weights.networks))
    assert whole.stat().st_size - half.stat().st_size == pytest.approx(2 * elements, abs=200)
    found = load_weights(half).networks
    nearest = jax.tree.map(lambda a: a.astype(jnp.bfloat16).astype(np.float32), weights.networks)
    jax.tree.map(np.testing.assert_array_equal, found, nearest)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(found))


def test_the_package_has_weights_by_name_and_names_the_nearest_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_equal(pretrained_weights(), pretrained_weights(next(iter(PRETRAINED))))
    monkeypatch.setitem(PRETRAINED, "another", PRETRAINED["res5"])
    with pytest.raises(InputError, match="no weights 'res9'; the nearest name is 'res5'"):
        pretrained_weights("res9")
    with pytest.raises(InputError, match="no weights 'other'; the nearest name is 'another'"):
        pretrained_weights("other")


def test_a_file_that_is_not_there_or_no_weights_is_one_clear_line(weights: Weights, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file of weights"):
        load_weights(tmp_path / "none.safetensors")
    path = tmp_path / "w.safetensors"
    save_weights(path, weights)
    whole = path.read_bytes()
    for damaged in (b"", b"hello", whole[:50], whole[:-1], b"\xff" * 100):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="or is damaged"):
            load_weights(path)
    safetensors.flax.save_file({"a": jnp.zeros(3)}, path)
    with pytest.raises(InputError, match="holds no weights"):
        load_weights(path)
    safetensors.flax.save_file({"a": jnp.zeros(3)}, path, {"config": to_json(weights.config), "images": "1"})
    with pytest.raises(InputError, match="other arrays than its configuration"):
        load_weights(path)


def test_an_exported_file_names_the_dataset_without_the_path_to_it() -> None:
    metadata = export_metadata(random_weights(folder="/home/somebody/data/mine"))
    assert from_json(metadata["config"]) == random_weights(folder="mine").config
    assert metadata["images"] == "24"
    assert (metadata["input_size"], metadata["output_size"]) == ("32", "32")
    assert metadata["version"] == importlib.metadata.version("bitmoji-jax")


def test_a_run_has_its_best_its_latest_and_those_by_number(tiny_config: ExperimentConfig, tmp_path: Path) -> None:
    state, pools = create_train_state(translate_stage(tiny_config, 12), make_mesh())
    (tmp_path / "config.json").write_text(to_json(tiny_config))
    saved = {}
    with Checkpointer(tmp_path / "checkpoints", keep=3, console=rich.console.Console()) as checkpointer:
        for images in (12, 24):
            ema = jax.tree.map(lambda a, images=images: a + images, state.ema)
            saved[images] = Weights(tiny_config, images, jax.device_get(ema))
            checkpointer.save(dataclasses.replace(state, ema=ema, images=state.images + images), pools, {})
    for checkpoint, images in ((None, 24), ("latest", 24), (12, 12), (24, 24)):
        found, which = run_weights(tmp_path, checkpoint)
        assert_equal(found, saved[images])
        assert which == str(checkpoint or "latest")
    save_weights(tmp_path / BEST, saved[12])
    best, which = run_weights(tmp_path)
    assert which == "best"
    assert_equal(best, saved[12])
    with pytest.raises(InputError, match="has no checkpoint 13; there are: latest, 12, 24"):
        run_weights(tmp_path, 13)
    (tmp_path / BEST).unlink()
    assert run_weights(tmp_path)[1] == "latest"
    with pytest.raises(InputError, match="no best weights"):
        run_weights(tmp_path, "best")
    for file in (tmp_path / "checkpoints" / "24" / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read"):
        run_weights(tmp_path, "latest")


def test_a_run_gives_the_weights_of_its_last_stage_and_its_folders_those_of_each(tmp_path: Path) -> None:
    stages = {"": "gf", "refine": "gfr", "teach": "sf"}
    (tmp_path / "config.json").write_text(to_json(random_weights().config))
    for folder, names in stages.items():
        (tmp_path / folder).mkdir(exist_ok=True)
        save_weights(tmp_path / folder / BEST, random_weights(names=names))
        for run in (tmp_path, tmp_path / folder):
            assert_equal(run_weights(run)[0], random_weights(names=names))


def test_a_folder_without_a_run_is_one_clear_line(tiny_config: ExperimentConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        run_weights(tmp_path / "none")
    (tmp_path / "config.json").write_text(to_json(tiny_config))
    with pytest.raises(InputError, match="no checkpoint yet"):
        run_weights(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="cannot read"):
        run_weights(tmp_path)


@pytest.mark.parametrize("name", ["refine", "teach2"])
def test_a_run_in_a_folder_that_is_named_as_a_stage_is_a_run(
    name: str, tiny_config: ExperimentConfig, tmp_path: Path
) -> None:
    state, pools = create_train_state(translate_stage(tiny_config, 12), make_mesh())
    run = tmp_path / name
    with Checkpointer(run / "checkpoints", keep=3, console=rich.console.Console()) as checkpointer:
        checkpointer.save(state, pools, {})
    (run / "config.json").write_text(to_json(tiny_config))
    assert_equal(run_weights(run)[0], Weights(tiny_config, 0, jax.device_get(state.ema)))
    assert stage_folders(run) == [run]
    assert stage_folders(tmp_path) == [tmp_path]  # not a stage of what is in the folder above
