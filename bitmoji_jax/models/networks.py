"""The networks of an experiment: G and F share one module, D_X and D_Y another."""

from typing import Any

import jax
import jax.numpy as jnp

from bitmoji_jax.config import ExperimentConfig
from bitmoji_jax.models.discriminator import Discriminator
from bitmoji_jax.models.generator import Generator
from bitmoji_jax.ops.platform import on_cpu

Params = Any
"""The variables of a network, as `init` gives them and `apply` takes them."""


def make_generator(config: ExperimentConfig) -> Generator:
    return Generator(config.generator, dtype=compute_dtype(config))


def make_discriminator(config: ExperimentConfig) -> Discriminator:
    return Discriminator(config.discriminator, dtype=compute_dtype(config))


def make_networks(config: ExperimentConfig) -> tuple[Generator, Discriminator]:
    return make_generator(config), make_discriminator(config)


def generator_shapes(config: ExperimentConfig) -> dict[str, Any]:
    """Shapes and types of the parameters of G and F, of which nothing is computed."""
    shapes = jax.eval_shape(make_generator(config).init, jax.random.key(0), jnp.zeros((1, *image_shape(config))))
    return {"g": shapes, "f": shapes}


def image_shape(config: ExperimentConfig) -> tuple[int, int, int]:
    return config.data.image_size, config.data.image_size, 3


def compute_dtype(config: ExperimentConfig) -> Any:
    name = config.train.compute_dtype
    return jnp.dtype(("float32" if on_cpu() else "bfloat16") if name == "auto" else name)
