"""The reader: what a photo says of a person that an avatar should have too, whatever the light and the surroundings."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bitmoji_jax.models.layers import Conv

GUIDE = 9
"""Numbers that guide a student, each from -1 to 1, see the constants below; 0 is unknown, but for colours."""
WITHOUT_TRAITS = 7
"""Numbers of a guide without mouth and glasses, which were added last."""
GENDER = 0
"""From -1 (male) to 1 (female)."""
SKIN_COLOUR, HAIR_COLOUR = slice(1, 4), slice(4, 7)
"""Red, green and blue."""
MOUTH = 7
"""From -1 (closed) to 1 (open). No reader tells it: the mesh of points does (models/mouth.py)."""
MOUTH_GAIN = 10.0
"""Times its number a student is told: Adam's steps are as large for each weight, and others had more time to learn."""
GLASSES = 8
"""From -1 (none) to 1. The student is not told: they are drawn over its avatar (models/wear_glasses.py)."""

BRANCH = 0.3
"""Weight of what two convolutions add to a map, so that maps do not grow with depth at first."""

_he_init = nn.initializers.he_normal()


class Reader(nn.Module):
    """Photos float32 [N, S, S, 3] in [-1, 1], any S from 16 -> float32 [N, 7 or 8], for `guide_of`.

    These are the logit of female, skin, hair, and perhaps the logit of glasses. Four halvings, each but the first with
    two 3x3 convolutions around it, then the mean over the picture. There is no normalisation: the colours have to come
    through.
    """

    features: int
    traits: bool = True
    """Whether it tells glasses too."""
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
        return nn.Dense(WITHOUT_TRAITS + self.traits)(jnp.mean(x.astype(jnp.float32), axis=(1, 2)))


def guide_of(read: jax.Array) -> jax.Array:
    """Returns the guide [N, GUIDE or WITHOUT_TRAITS] that a reader's output stands for; its mouth is unknown.

    Logits become numbers from -1 to 1.
    """
    colours = jnp.clip(read[:, SKIN_COLOUR.start : HAIR_COLOUR.stop], -1, 1)
    parts = [jnp.tanh(read[:, :1]), colours]
    if read.shape[1] > WITHOUT_TRAITS:
        parts += [jnp.zeros((len(read), 1)), jnp.tanh(read[:, WITHOUT_TRAITS:])]
    return jnp.concatenate(parts, axis=1)


def told(guide: jax.Array) -> jax.Array:
    """Returns what a student is told of a guide [N, C]: all but glasses."""
    if guide.shape[1] == WITHOUT_TRAITS:
        return guide
    return guide[:, :GLASSES].at[:, MOUTH].multiply(MOUTH_GAIN)
