"""Starts a stage from networks that were trained before."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp

from bitmoji_jax.errors import InputError
from bitmoji_jax.inference.weights import (
    PRETRAINED,
    array_shapes,
    load_weights,
    pretrained_weights,
    run_weights,
    stage_folders,
)
from bitmoji_jax.models.networks import Params
from bitmoji_jax.training.train_state import TrainState


def networks_to_start_from(source: str) -> dict[str, Params]:
    """Loads networks by name: of a run's folder, all its stages; of a file of weights; or of the package's weights.

    Of the package's weights, `source` is a name in `PRETRAINED`, or "pretrained" for all of them, since the default
    has a student and no generator.

    Raises:
      InputError: `source` is none of these, or cannot be read.
    """
    if source == "pretrained" or source in PRETRAINED:
        names = [source] if source in PRETRAINED else [*PRETRAINED]
        return {n: params for name in reversed(names) for n, params in pretrained_weights(name).networks.items()}
    path = Path(source)
    if not path.is_dir():
        return load_weights(path).networks
    networks: dict[str, Params] = {}
    for folder in stage_folders(path):
        networks |= run_weights(folder)[0].networks
    return networks


def start_from(state: TrainState, networks: Mapping[str, Params], source: str) -> TrainState:
    """Replaces those networks of a new `state`, and their averages, that `networks` has; the others stay as they are.

    Raises:
      InputError: a network has other sizes; the message lists what differs.
    """
    used = {name: networks[name] for name in state.generators if name in networks}
    ours, theirs = array_shapes({name: state.generators[name] for name in used}), array_shapes(used)
    if differing := sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)):
        shown = "; ".join(
            f"{n} is {ours.get(n, 'absent')} here, {theirs.get(n, 'absent')} there" for n in differing[:3]
        )
        raise InputError(f"cannot start from {source}: {len(differing)} arrays have other sizes, such as {shown}")
    like = {name: state.generators[name] for name in used}

    def placed() -> dict[str, Params]:
        # Copies: the step takes the arrays of its state.
        return jax.tree.map(lambda new, old: jax.device_put(jnp.array(new, old.dtype), old.sharding), used, like)

    return dataclasses.replace(state, generators=state.generators | placed(), ema=state.ema | placed())
