"""A step of the stage refine with all of its critics; a script too, since the number of devices is fixed at start-up.

python -m tests.refine_step DEVICES OUT.npz
"""

import dataclasses
import sys
from typing import Any

import jax
import numpy as np
import pytest

from bitmoji_jax.config import ExperimentConfig, PairConfig, RefinerConfig
from bitmoji_jax.models import efficientnet
from bitmoji_jax.parallel import make_mesh
from bitmoji_jax.training.pair_stages import refine_stage
from bitmoji_jax.training.train_state import create_train_state
from bitmoji_jax.training.train_step import make_train_step
from tests.cheap_features import pixels_as_maps
from tests.random_weights import random_weights
from tests.tiny_images import tiny_image

REFINER = RefinerConfig(output_size=32, features=8)
PAIRS = PairConfig(images=8, batch_size=2, colour_weight=2.0, ema_halflife=4.0)


def refine_step(*, parts: int = 1) -> tuple[Any, Any, dict[str, float]]:
    """Returns the state before and after, as NumPy, and the metrics; a device's batch is cut into `parts`."""
    weights = random_weights(names="gfr", refiner=REFINER, compute_dtype="float32")
    config: ExperimentConfig = dataclasses.replace(weights.config, refine=PAIRS)
    mesh = make_mesh()
    batch = {
        domain: {
            "image": np.stack([tiny_image(split, i) for i in (1, 2)]).reshape(mesh.size, -1, 32, 32, 3),
            "landmarks": np.full((mesh.size, 2 // mesh.size, 5, 2), np.nan, np.float32),
            "gender": np.array([0, 1], np.int32).reshape(mesh.size, -1),
            "glasses": np.zeros((mesh.size, 2 // mesh.size), np.float32),
        }
        for domain, split in (("x", "trainA"), ("y", "trainB"))
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(efficientnet, "feature_maps", pixels_as_maps)
        networks = {name: weights.networks[name] for name in "gf"}
        stage = refine_stage(config, networks, epoch_images=12)
        stage = dataclasses.replace(stage, schedule=stage.schedule._replace(parts=parts))
        state, pools = create_train_state(stage, mesh)
        before = jax.tree.map(np.array, state)
        step: Any = make_train_step(stage)
        state, _, metrics = step(state, pools, batch)
    return before, jax.tree.map(np.array, state), {name: float(value) for name, value in metrics.items()}


def gradients_and_metrics(state: Any, metrics: dict[str, float]) -> dict[str, np.ndarray]:
    """By name; the gradients as Adam's first moments after one step, which are half of them."""
    moments = (state.generator_opt.mu, state.discriminator_opt.mu)
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(moments)} | {
        name: np.array(value) for name, value in metrics.items()
    }


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
    _, after, metrics = refine_step()
    np.savez(sys.argv[2], **gradients_and_metrics(after, metrics))  # type: ignore[arg-type]
