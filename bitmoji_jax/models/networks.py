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
    """Returns the module of G and F."""
    return Generator(config.generator, dtype=compute_dtype(config))


def make_discriminator(config: ExperimentConfig) -> Discriminator:
    """Returns the module of D_X and D_Y."""
    return Discriminator(config.discriminator, dtype=compute_dtype(config))


def apply_generator(
    config: ExperimentConfig, params: Params, images: jax.Array, condition: jax.Array | None = None
) -> jax.Array:
    """Applies G or F: the one way to do so, for training, samples, `Translator` and exports.

    Args:
      config: the experiment.
      params: of G or of F.
      images: float32 [N, S, S, 3] in [-1, 1].
      condition: float32 [N, S, S, C], what the generator sees beside the image; None for a generator without condition.

    Returns:
      float32 [N, S, S, 3] in [-1, 1].
    """
    return make_generator(config).apply(params, images, condition)


def generator_shapes(config: ExperimentConfig) -> dict[str, Any]:
    """Returns shapes and types of the parameters of G and F; nothing is computed."""
    shapes = jax.eval_shape(make_generator(config).init, jax.random.key(0), *example_inputs(config))
    return {"g": shapes, "f": shapes}


def example_inputs(config: ExperimentConfig) -> tuple[jax.Array, jax.Array | None]:
    """Returns zeros in the shape of one image and its condition, as a generator takes them; None: no condition."""
    size = config.data.image_size
    return jnp.zeros((1, size, size, 3)), None


def compute_dtype(config: ExperimentConfig) -> Any:
    """Returns the type that convolutions compute in: `train.compute_dtype`, or for "auto" what suits the platform."""
    name = config.train.compute_dtype
    return jnp.dtype(("float32" if on_cpu() else "bfloat16") if name == "auto" else name)
