"""The reader: what a photo says of a person that an avatar should have too, whatever the light and the surroundings."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bitmoji_jax.models.layers import Conv

GUIDE = 7
"""Numbers that guide a student: gender, from -1 (male) to 1 (female), 0 where unknown; then the colours of skin and of
hair, red, green and blue, each from -1 to 1."""

BRANCH = 0.3
"""Weight of what two convolutions add to a map, so that maps do not grow with depth at first."""

_he_init = nn.initializers.he_normal()


class Reader(nn.Module):
    """Photos float32 [N, S, S, 3] in [-1, 1], any S from 16 -> float32 [N, GUIDE]: the logit of female, two colours.

    Four halvings, each but the first with two 3x3 convolutions around it, then the mean over the picture. There is no
    normalisation: the colours have to come through.
    """

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, photos: jax.Array) -> jax.Array:
        x = photos
        for i in range(4):
            features = self.features * 2**i
            x = nn.relu(Conv(features, 3, self.dtype, stride=2, padding=1, kernel_init=_he_init)(x))
            if i:
                y = nn.relu(Conv(features, 3, self.dtype, padding=1, kernel_init=_he_init)(x))
                x = x + BRANCH * Conv(features, 3, self.dtype, padding=1, kernel_init=_he_init)(nn.relu(y))
        return nn.Dense(GUIDE)(jnp.mean(x.astype(jnp.float32), axis=(1, 2)))


def guide_of(read: jax.Array) -> jax.Array:
    """Returns the guide [N, GUIDE] that a reader's output stands for: the logit becomes a number from -1 to 1."""
    return jnp.concatenate([jnp.tanh(read[:, :1]), jnp.clip(read[:, 1:], -1, 1)], axis=1)
