"""Losses of CycleGAN (arXiv 1703.10593, section 3). Each takes float32 arrays and returns a float32 scalar: a mean."""

from typing import Any

import jax
import jax.numpy as jnp


def least_squares(scores: Any, target: float) -> jax.Array:
    """LSGAN's mean squared distance of discriminator scores [N, h, w, 1] from 1 (real) or 0 (generated).

    Of a discriminator with several heads, the mean over them.

    Source: arXiv 1611.04076, and section 4 of the CycleGAN paper.
    """
    heads = [jnp.mean(jnp.square(head - target)) for head in jax.tree.leaves(scores)]
    return sum(heads, start=jnp.zeros(())) / len(heads)


def discriminator_loss(scores_real: Any, scores_fake: Any) -> jax.Array:
    """Half the sum of both least-squares errors, so that D learns at half the rate of G (section 4)."""
    return 0.5 * (least_squares(scores_real, 1.0) + least_squares(scores_fake, 0.0))


def absolute_error(images: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean absolute difference of images [N, H, W, 3] in [-1, 1]: the cycle and the identity loss (3.2, 5.2).

    Raises:
      ValueError: the shapes differ (broadcasting would hide it).
    """
    if images.shape != targets.shape:
        raise ValueError(f"shapes differ: {images.shape} and {targets.shape}")
    return jnp.mean(jnp.abs(images - targets))
