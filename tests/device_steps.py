"""Runs a few train steps on N virtual CPU devices and writes the outcome; a script, since N is fixed at start-up.

python tests/device_steps.py DEVICES ACCUMULATION_STEPS OUT.npz
"""

import sys
from typing import Any

import jax

jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))

import numpy as np  # noqa: E402

from bitmoji_jax.config import (  # noqa: E402
    DataConfig,
    DiscriminatorConfig,
    ExperimentConfig,
    GeneratorConfig,
    TrainConfig,
)
from bitmoji_jax.parallel import make_mesh  # noqa: E402
from bitmoji_jax.training.train_state import create_train_state  # noqa: E402
from bitmoji_jax.training.train_step import make_train_step  # noqa: E402
from bitmoji_jax.training.translate_stage import translate_stage  # noqa: E402

GLOBAL_BATCH = 8
STEPS = 4


def flat(name: str, tree: Any) -> dict[str, np.ndarray]:
    """{name + path: array} of a tree; arrays held by several devices must agree on all of them."""
    leaves = {}
    for path, leaf in jax.tree.leaves_with_path(tree):
        shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        if leaf.is_fully_replicated:
            for shard in shards:
                np.testing.assert_array_equal(shard, shards[0], err_msg=f"devices differ in {name}{path}")
        leaves[name + jax.tree_util.keystr(path)] = np.asarray(leaf)
    return leaves


def main(devices: int, accumulation_steps: int, out: str) -> None:
    config = ExperimentConfig(
        data=DataConfig(image_size=32),
        generator=GeneratorConfig(features=4, res_blocks=0, skips=True, upsample="nearest"),
        discriminator=DiscriminatorConfig(features=4),
        train=TrainConfig(batch_size=GLOBAL_BATCH, accumulation_steps=accumulation_steps, pool_size=50),
    )
    mesh = make_mesh()
    assert mesh.size == devices
    stage = translate_stage(config, epoch_images=1)
    state, pools = create_train_state(stage, mesh)
    train_step = make_train_step(stage)
    rng = np.random.default_rng(0)
    outcome: dict[str, np.ndarray] = {}
    for step in range(STEPS):
        batch = {
            domain: {
                "image": rng.integers(0, 256, (devices, GLOBAL_BATCH // devices, 32, 32, 3), dtype=np.uint8),
                "landmarks": np.full((devices, GLOBAL_BATCH // devices, 5, 2), np.nan, np.float32),
                "gender": rng.integers(0, 3, (devices, GLOBAL_BATCH // devices), dtype=np.int32),
            }
            for domain in ("x", "y")
        }
        state, pools, metrics = train_step(state, pools, batch)
        outcome |= flat(f"metrics{step}", metrics)
        if step == 0:
            # Adam's first moment is half the gradient, not yet blown up by its normalisation.
            outcome |= flat("grad_generators", state.generator_opt.mu)
            outcome |= flat("grad_discriminators", state.discriminator_opt.mu)
    outcome |= flat("state", state)
    filled = {
        d: np.concatenate([p[:c] for p, c in zip(pool.images, pool.count, strict=True)]) for d, pool in pools.items()
    }
    np.savez(out, **outcome, **{f"pool_{d}": images for d, images in filled.items()})


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
