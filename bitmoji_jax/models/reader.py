"""The reader: what a photo says of a person that an avatar should have too, whatever the light and the surroundings."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bitmoji_jax.models.layers import Conv

GENDER = 0
"""In a guide, the numbers that say what to draw: from -1 (male) to 1 (female), 0 where unknown."""
SKIN_COLOUR, HAIR_COLOUR = slice(1, 4), slice(4, 7)
"""Red, green and blue, each from -1 to 1."""
GLASSES = 7
"""From -1 (none) to 1. A student is not told: they are drawn over its avatar (models/wear_glasses.py)."""
GLASSES_BIAS = 2.0
"""Added to their logit: real glasses are fainter than those that a reader learns from, most of which are drawn."""
MOUTH = 8
"""From -1 (closed) to 1 (open); not of the reader, but of the points of the face. A student is told by a mark in its
photo (models/mark_mouth.py)."""
HAT = 9
"""From -1 (none) to 1; not of the reader either (models/read_hat.py). It is drawn over the avatar, as glasses are."""
HAT_COLOUR = slice(10, 13)
"""Red, green and blue of that hat, each from -1 to 1."""
GUIDE = 13
"""Numbers of a guide; `MOUTH` or `GLASSES` where those from there on are not told."""

MALE_FACTOR = 2.0
"""A trained student is told this many times as much of a man as is read. Men with long hair are few among the avatars
that it knows, and it drew them as women more often than women with short hair as men."""

BRANCH = 0.3
"""Weight of what two convolutions add to a map, so that maps do not grow with depth at first."""

_he_init = nn.initializers.he_normal()


class Reader(nn.Module):
    """Photos float32 [N, S, S, 3] in [-1, 1], any S from 16 -> float32 [N, MOUTH or GLASSES], for `guide_of`.

    Four halvings, each but the first with two 3x3 convolutions around it, then the mean over the picture. There is no
    normalisation: the colours have to come through.
    """

    features: int
    glasses: bool = True
    """Whether it tells them."""
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
        return nn.Dense(MOUTH if self.glasses else GLASSES)(jnp.mean(x.astype(jnp.float32), axis=(1, 2)))


def guide_of(read: jax.Array) -> jax.Array:
    """Returns the guide that a reader's output stands for, both [N, C]: logits become numbers from -1 to 1."""
    female, colours, glasses = jnp.split(read, (1, GLASSES), axis=1)
    return jnp.concatenate([jnp.tanh(female), jnp.clip(colours, -1, 1), jnp.tanh(glasses + GLASSES_BIAS)], axis=1)


def told(guide: jax.Array) -> jax.Array:
    """Returns what a trained student is told of a guide, both [N, C]."""
    gender = guide[:, GENDER]
    return guide.at[:, GENDER].set(jnp.minimum(gender, MALE_FACTOR * gender))


def taken_off(guides: jax.Array) -> jax.Array:
    """Returns guides [N, C] without glasses and hat, whichever of them they tell."""
    for worn in (GLASSES, HAT):
        if worn < guides.shape[1]:
            guides = guides.at[:, worn].set(-1.0)
    return guides
