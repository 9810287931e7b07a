import dataclasses
import functools
from pathlib import Path

import jax
import numpy as np
import pytest

from bitmoji_jax.config import ExperimentConfig, to_json
from bitmoji_jax.errors import InputError
from bitmoji_jax.inference.weights import BEST, Weights, save_weights
from bitmoji_jax.parallel import make_mesh
from bitmoji_jax.training.train_state import TrainState, abstract_train_state, create_train_state
from bitmoji_jax.training.translate_stage import translate_stage
from bitmoji_jax.training.warm_start import Start, load_start, start_from
from tests.random_weights import random_weights


def state_of(config: ExperimentConfig, seed: int = 0) -> TrainState:
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, seed=seed))
    return create_train_state(translate_stage(config, 1), make_mesh(jax.devices()[:1]))[0]


def test_networks_averages_and_critics_start_from_a_file_and_the_rest_stays(
    tiny_config: ExperimentConfig, tmp_path: Path
) -> None:
    state, other = state_of(tiny_config), state_of(tiny_config, seed=1)
    critics = {"d_y": jax.device_get(other.discriminators["d_y"])}
    path = tmp_path / "w.safetensors"
    save_weights(path, Weights(tiny_config, 5, jax.device_get(other.generators), critics=critics))

    started = start_from(state, load_start(str(path)), "w")

    jax.tree.map(np.testing.assert_array_equal, started.generators, other.generators)
    jax.tree.map(np.testing.assert_array_equal, started.ema, other.generators)
    near = functools.partial(np.testing.assert_allclose, rtol=2**-8)  # kept in half precision
    jax.tree.map(near, started.discriminators["d_y"], other.discriminators["d_y"])
    jax.tree.map(np.testing.assert_array_equal, started.discriminators["d_x"], state.discriminators["d_x"])
    jax.tree.map(np.testing.assert_array_equal, started.discriminator_opt, state.discriminator_opt)
    assert int(started.images) == 0


def test_parameters_and_averages_have_arrays_of_their_own(tiny_config: ExperimentConfig) -> None:
    state = state_of(tiny_config)

    started = start_from(state, Start({"g": state.generators["g"]}, state.discriminators), "itself")

    trees = (started.generators, started.ema, started.discriminators, state.discriminators)
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(trees)]
    assert len(set(pointers)) == len(pointers)  # the step takes them all


def test_networks_that_the_stage_does_not_train_are_not_used(tiny_config: ExperimentConfig) -> None:
    state = state_of(tiny_config)

    started = start_from(state, Start({"r": {"params": {"kernel": np.zeros(3)}}}, {"gender": {}}), "a refiner")

    jax.tree.map(np.testing.assert_array_equal, started.generators, state.generators)


def test_other_sizes_are_listed(tiny_config: ExperimentConfig) -> None:
    wider = dataclasses.replace(tiny_config, generator=dataclasses.replace(tiny_config.generator, features=8))
    keener = dataclasses.replace(tiny_config, discriminator=dataclasses.replace(tiny_config.discriminator, features=8))
    state = state_of(tiny_config)
    wide, keen = (abstract_train_state(translate_stage(config, 1), make_mesh())[0] for config in (wider, keener))

    sizes = r"cannot start from it: \d+ arrays have other sizes, such as {}/params/.* \(4,\) here, \(8,\)"
    with pytest.raises(InputError, match=sizes.format("f")):
        start_from(state, Start(wide.generators, {}), "it")
    with pytest.raises(InputError, match=sizes.format("d_x")):
        start_from(state, Start(state.generators, keen.discriminators), "it")


def test_a_run_gives_the_networks_and_critics_of_all_its_stages(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(to_json(random_weights().config))
    (tmp_path / "teach").mkdir()  # without weights yet
    for stage, names, critic in (("", "gf", "d_x"), ("refine", "gfr", "d_y_patches")):
        (tmp_path / stage).mkdir(exist_ok=True)
        weights = dataclasses.replace(random_weights(names=names), critics={critic: {"kernel": np.ones(3)}})
        save_weights(tmp_path / stage / BEST, weights)

    start = load_start(str(tmp_path))

    assert start.networks.keys() == {"g", "f", "r"}
    assert start.critics.keys() == {"d_x", "d_y_patches"}


def test_a_source_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file of weights"):
        load_start(str(tmp_path / "absent"))


def test_the_package_gives_all_its_networks_or_those_of_one_name() -> None:
    assert load_start("pretrained").networks.keys() == {"g", "f", "s", "t", "l", "h"}
    assert load_start("res5").networks.keys() == {"g", "f"}
