"""Starts a stage from networks that were trained before."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bitmoji_jax.errors import InputError
from bitmoji_jax.inference.weights import (
    PRETRAINED,
    Weights,
    array_shapes,
    begun_stages,
    load_weights,
    pretrained_weights,
    run_weights,
    stage_weights,
)
from bitmoji_jax.models.networks import Params
from bitmoji_jax.training.train_state import TrainState


class Start(NamedTuple):
    """What a stage starts from, by name."""

    networks: Mapping[str, Params]
    critics: Mapping[str, Params]


def load_start(source: str) -> Start:
    """Loads networks, and critics where they were kept: of a run's folder, all its stages; of a file; of the package.

    Of the package's weights, `source` is a name in `PRETRAINED`, or "pretrained" for all of them, since the default
    has a student and no generator.

    Raises:
      InputError: `source` is none of these, or cannot be read.
    """
    path, found = Path(source), list[Weights]()
    if source == "pretrained" or source in PRETRAINED:
        found = [pretrained_weights(name) for name in ([source] if source in PRETRAINED else reversed(PRETRAINED))]
    elif path.is_dir():
        found = [stage_weights(folder)[0] for folder in begun_stages(path)] or [run_weights(path)[0]]
    else:
        found = [load_weights(path)]
    networks, critics = ({n: p for each in found for n, p in getattr(each, kind).items()} for kind in Start._fields)
    return Start(networks, critics)


def start_from(state: TrainState, start: Start, source: str) -> TrainState:
    """Replaces those networks of a new `state`, their averages, and those critics that `start` has.

    The others stay as they are; `source` names `start` in messages.

    Raises:
      InputError: a network has other sizes; the message lists what differs.
    """
    networks = {name: start.networks[name] for name in state.generators if name in start.networks}
    critics = {name: start.critics[name] for name in state.discriminators if name in start.critics}
    like = {name: (state.generators | state.discriminators)[name] for name in (*networks, *critics)}
    ours, theirs = array_shapes(like), array_shapes(networks | critics)
    if differing := sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)):
        shown = "; ".join(
            f"{n} is {ours.get(n, 'absent')} here, {theirs.get(n, 'absent')} there" for n in differing[:3]
        )
        raise InputError(f"cannot start from {source}: {len(differing)} arrays have other sizes, such as {shown}")

    def placed(used: dict[str, Params]) -> dict[str, Params]:
        # Copies: the step takes the arrays of its state.
        return {
            name: jax.tree.map(lambda new, old: jax.device_put(jnp.array(new, old.dtype), old.sharding), p, like[name])
            for name, p in used.items()
        }

    return dataclasses.replace(
        state,
        generators=state.generators | placed(networks),
        ema=state.ema | placed(networks),
        discriminators=state.discriminators | placed(critics),
    )
