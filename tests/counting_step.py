"""A step of training that computes nothing."""

import dataclasses
import signal
from typing import Any

import jax
import numpy as np

from bitmoji_jax.training.train_state import Pools, TrainState
from bitmoji_jax.training.train_step import Batch


class CountingStep:
    """A step that changes the averaged weights and counts; compiled, in the loop's eyes, by `compile`."""

    def __init__(self, diverges_at: int | None = None, signal_at: int | None = None) -> None:
        self.diverges_at = diverges_at
        self.signal_at = signal_at
        self.calls = 0

    def compile(self) -> "CountingStep":
        return self

    def __call__(self, state: TrainState, pools: Pools, batch: Batch) -> tuple[TrainState, Pools, dict[str, Any]]:
        self.calls += 1
        if self.calls == self.signal_at:
            signal.raise_signal(signal.SIGHUP)
        images = int(state.images) + batch["x"]["image"].shape[1]
        names = ("loss_generators", "loss_d_x", "loss_d_y", "cycle_x", "cycle_y")
        metrics = dict.fromkeys(names, np.float32(np.nan if images == self.diverges_at else 1 / images))
        ema = jax.tree.map(lambda leaf: 0 * leaf + np.float32(0.05 * np.sin(images)), state.ema)
        images_seen = jax.device_put(np.int32(images), state.images.sharding)
        return dataclasses.replace(state, images=images_seen, ema=ema), pools, metrics
