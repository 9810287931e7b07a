"""Losses of CycleGAN (arXiv 1703.10593, section 3). Each takes float32 arrays and returns a float32 scalar: a mean."""

import jax
import jax.numpy as jnp


def least_squares(scores: jax.Array, target: float) -> jax.Array:
    """Returns LSGAN's mean squared distance of scores [N, h, w, 1] from 1 (real) or 0 (generated).

    Source: arXiv 1611.04076, and section 4 of the CycleGAN paper.
    """
    return jnp.mean(jnp.square(scores - target))


def generator_loss(scores_fake: jax.Array) -> jax.Array:
    """Returns what a generator minimises: the distance of its images' scores from those of real ones."""
    return least_squares(scores_fake, 1.0)


def discriminator_loss(scores_real: jax.Array, scores_fake: jax.Array) -> jax.Array:
    """Returns half the sum of both least-squares errors, so that D learns at half the rate of G (section 4)."""
    return 0.5 * (least_squares(scores_real, 1.0) + least_squares(scores_fake, 0.0))


def absolute_error(images: jax.Array, targets: jax.Array) -> jax.Array:
    """Returns the mean absolute difference of images [N, H, W, 3] in [-1, 1]: cycle and identity loss (3.2, 5.2).

    Raises:
      ValueError: the shapes differ (broadcasting would hide it).
    """
    if images.shape != targets.shape:
        raise ValueError(f"shapes differ: {images.shape} and {targets.shape}")
    return jnp.mean(jnp.abs(images - targets))
