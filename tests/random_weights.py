"""Weights of untrained generators."""

import functools

import jax
import numpy as np

from bitmoji_jax.config import DataConfig, ExperimentConfig, GeneratorConfig, TrainConfig
from bitmoji_jax.inference.weights import Weights
from bitmoji_jax.models.networks import network_shapes


@functools.cache
def random_weights(
    generator: GeneratorConfig | None = None, *, size: int = 32, folder: str | None = None, compute_dtype: str = "auto"
) -> Weights:
    """Draws kernels and biases so large that outputs fill the range; by default of the smallest generator.

    Args:
      generator: its configuration.
      size: side of the images in pixels.
      folder: the dataset's in the configuration.
      compute_dtype: as in `TrainConfig`.
    """
    config = ExperimentConfig(
        data=DataConfig(dir=folder, image_size=size),
        generator=generator or GeneratorConfig(features=4, res_blocks=1),
        train=TrainConfig(compute_dtype=compute_dtype),  # type: ignore[arg-type]
    )
    rng = np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        return rng.normal(0, 0.1, leaf.shape).astype(np.float32)

    shapes = {name: network_shapes(config, name) for name in ("g", "f")}
    return Weights(config, 24, jax.tree.map(draw, shapes))
