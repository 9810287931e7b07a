"""Losses. Each takes float32 arrays and returns a float32 scalar: a mean.

Least squares and absolute errors are those of CycleGAN (arXiv 1703.10593, section 3).
"""

from collections.abc import Sequence

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


def hinge_generator_loss(scores_fake: Sequence[jax.Array]) -> jax.Array:
    """Returns the negative mean score of generated images, over patches, then over heads [N, h, w, 1] of any sizes.

    Source: arXiv 1705.02894 and 2111.01007. Over heads last, or the finest would outweigh the others.
    """
    return -_mean_of(scores_fake)


def hinge_discriminator_loss(scores_real: Sequence[jax.Array], scores_fake: Sequence[jax.Array]) -> jax.Array:
    """Returns the hinge loss: how far real images score below 1 and generated ones above -1; as above over heads."""
    return _mean_of([jax.nn.relu(1 - s) for s in scores_real]) + _mean_of([jax.nn.relu(1 + s) for s in scores_fake])


def colour_distance(images: jax.Array, targets: jax.Array) -> jax.Array:
    """Returns the mean absolute difference in the mean colours of 16 x 16 cells of images [N, H, W, 3].

    Lines and textures do not count, so a critic can choose them while areas keep their colours.
    """
    n, height, width, channels = images.shape
    difference = (images - targets).reshape(n, 16, height // 16, 16, width // 16, channels)
    return jnp.mean(jnp.abs(jnp.mean(difference, axis=(2, 4))))


def feature_distance(maps: Sequence[jax.Array], targets: Sequence[jax.Array]) -> jax.Array:
    """Returns the mean over maps [N, h, w, c] and images of: mean absolute difference, over mean absolute target."""
    pairs = zip(maps, targets, strict=True)
    axes = (1, 2, 3)
    return _mean_of([jnp.mean(jnp.abs(a - b), axes) / (jnp.mean(jnp.abs(b), axes) + 1e-3) for a, b in pairs])


def binary_cross_entropy(logits: jax.Array, is_class: jax.Array, known: jax.Array) -> jax.Array:
    """Returns the mean cross-entropy of logits [N] and bool [N]; images whose class is not `known` count as 0."""
    losses = jnp.where(is_class, jax.nn.softplus(-logits), jax.nn.softplus(logits))
    return jnp.mean(jnp.where(known, losses, 0.0))


def _mean_of(maps: Sequence[jax.Array]) -> jax.Array:
    return jnp.mean(jnp.stack([jnp.mean(m) for m in maps]))
