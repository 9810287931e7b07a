import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from bitmoji_jax.config import ExperimentConfig
from bitmoji_jax.errors import InputError
from bitmoji_jax.inference.weights import Weights, save_weights
from bitmoji_jax.parallel import make_mesh
from bitmoji_jax.training.train_state import TrainState, create_train_state
from bitmoji_jax.training.translate_stage import translate_stage
from bitmoji_jax.training.warm_start import networks_to_start_from, start_from


def state_of(config: ExperimentConfig, seed: int = 0) -> TrainState:
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, seed=seed))
    return create_train_state(translate_stage(config, 1), make_mesh(jax.devices()[:1]))[0]


def test_networks_and_averages_start_from_a_file_and_the_rest_stays(
    tiny_config: ExperimentConfig, tmp_path: Path
) -> None:
    state, other = state_of(tiny_config), state_of(tiny_config, seed=1)
    save_weights(tmp_path / "w.safetensors", Weights(tiny_config, 5, jax.device_get(other.generators)))

    started = start_from(state, networks_to_start_from(str(tmp_path / "w.safetensors")), "w")

    jax.tree.map(np.testing.assert_array_equal, started.generators, other.generators)
    jax.tree.map(np.testing.assert_array_equal, started.ema, other.generators)
    jax.tree.map(np.testing.assert_array_equal, started.discriminators, state.discriminators)
    assert int(started.images) == 0


def test_parameters_and_averages_have_arrays_of_their_own(tiny_config: ExperimentConfig) -> None:
    state = state_of(tiny_config)

    started = start_from(state, {"g": state.generators["g"]}, "itself")

    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves((started.generators, started.ema))]
    assert len(set(pointers)) == len(pointers)  # the step takes them all


def test_networks_that_the_stage_does_not_train_are_not_used(tiny_config: ExperimentConfig) -> None:
    state = state_of(tiny_config)

    started = start_from(state, {"r": {"params": {"kernel": np.zeros(3)}}}, "a refiner")

    jax.tree.map(np.testing.assert_array_equal, started.generators, state.generators)


def test_other_sizes_are_listed(tiny_config: ExperimentConfig) -> None:
    wider = dataclasses.replace(tiny_config, generator=dataclasses.replace(tiny_config.generator, features=8))

    with pytest.raises(
        InputError,
        match=r"cannot start from wide: \d+ arrays have other sizes, such as f/params/.* \(4,\) here, \(8,\)",
    ):
        start_from(state_of(tiny_config), state_of(wider).generators, "wide")


def test_a_source_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file of weights"):
        networks_to_start_from(str(tmp_path / "absent"))


def test_the_package_gives_all_its_networks_or_those_of_one_name() -> None:
    assert networks_to_start_from("pretrained").keys() == {"g", "f", "s"}
    assert networks_to_start_from("res5").keys() == {"g", "f"}
