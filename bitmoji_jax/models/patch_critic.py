"""Critics that see an image through the feature maps of a network that others trained (arXiv 2111.01007)."""

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

_FEATURES = 64
_GROUPS = 8
_init = nn.initializers.lecun_normal()


class Judged(NamedTuple):
    """What a `PatchCritic` sees of N images."""

    maps: Sequence[jax.Array]  # [N, H_i, W_i, C_i]
    label: jax.Array | None = None  # float32 [N]: 1 or -1 for the two classes, 0 where unknown


class PatchCritic(nn.Module):
    """Scores patches: a small convolutional head for each feature map.

    Returns a score map [N, h_i, w_i, 1] for each, higher for real. With a label an image is judged among those of its
    class: a patch's score is a + label * b, both linear in its features (projection discriminator, arXiv 1802.05637).
    """

    @nn.compact
    def __call__(self, judged: Judged) -> list[jax.Array]:
        return [self._head(features, judged.label) for features in judged.maps]

    def _head(self, x: jax.Array, label: jax.Array | None) -> jax.Array:
        x = _unit_length(x)
        for size, stride in ((4, 2), (3, 1)):
            x = nn.Conv(_FEATURES, (size, size), strides=stride, padding=1, kernel_init=_init)(x)
            # Of groups of channels: statistics of a batch would make an image's score depend on the others.
            x = nn.leaky_relu(nn.GroupNorm(_GROUPS, use_scale=False, use_bias=False)(x), 0.2)
        scores = nn.Conv(1 if label is None else 2, (3, 3), padding=1, kernel_init=_init)(x)
        return scores if label is None else scores[..., :1] + label[:, None, None, None] * scores[..., 1:]


class FeatureClassifier(nn.Module):
    """Tells two classes of images apart: [N, H, W, C] -> logits [N]."""

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        x = nn.relu(nn.Conv(_FEATURES, (1, 1), kernel_init=_init)(_unit_length(features)))
        return nn.Dense(1)(jnp.mean(x, axis=(1, 2)))[:, 0]


def _unit_length(features: jax.Array) -> jax.Array:
    """Scales the vector of each position to the mean square 1: maps of all layers then count alike."""
    return features * jax.lax.rsqrt(jnp.mean(jnp.square(features), axis=-1, keepdims=True) + 1e-3)
