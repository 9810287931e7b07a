"""Weights of untrained networks."""

import functools
from typing import Any

import jax
import numpy as np

from bitmoji_jax.config import DataConfig, ExperimentConfig, GeneratorConfig, ReadConfig, RefinerConfig, TrainConfig
from bitmoji_jax.inference.weights import Weights
from bitmoji_jax.models.networks import network_shapes


@functools.cache
def random_weights(
    generator: GeneratorConfig | None = None,
    *,
    names: str = "gf",
    refiner: RefinerConfig | None = None,
    size: int = 32,
    folder: str | None = None,
    compute_dtype: str = "auto",
    guided: bool = False,
    glasses: bool = True,
    mouth: bool = False,
) -> Weights:
    """Draws kernels and biases so large that outputs fill the range; by default of the smallest generator.

    Args:
      generator: its configuration.
      names: of the networks, such as "gfr" or "sf".
      refiner: the configuration of the refiner, and of the student's; by default of the smallest, to 64 px.
      size: side of the dataset's images in pixels.
      folder: the dataset's in the configuration.
      compute_dtype: as in `TrainConfig`.
      guided: whether the student has a reader.
      glasses: whether the reader tells them.
      mouth: whether the student is told whether it is open, which needs `glasses`; then hats are told, too.
    """
    config = ExperimentConfig(
        data=DataConfig(dir=folder, image_size=size),
        generator=generator or GeneratorConfig(features=4, res_blocks=1),
        train=TrainConfig(compute_dtype=compute_dtype),  # type: ignore[arg-type]
        refiner=refiner or RefinerConfig(features=8, output_size=64),
        read=ReadConfig(images=32 if guided else 0, glasses=glasses, mouth=mouth, hats=mouth),
    )
    rng = np.random.default_rng(0)

    def draw(name: str) -> Any:
        def array(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
            scale = 0.1 if name in "gf" or "generator" in jax.tree_util.keystr(path) else 0.07  # a U-Net has no norm
            scale = 0.3 if name == "t" else scale
            return rng.normal(0, scale, leaf.shape).astype(np.float32)

        return jax.tree_util.tree_map_with_path(array, network_shapes(config, name))

    return Weights(config, 24, {name: draw(name) for name in names})
