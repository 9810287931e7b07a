"""A first step from photo to avatar: cast shadows are taken out of the photo.

A shadow takes a share of the light, here more and there less. A network that says how much is missing, and not what the
photo should look like, leaves what the photo shows as it is.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from bitmoji_jax.models.unet import UNet

GRID = 32
"""Side in pixels of the network's finest map: shadows are larger than what they fall on."""
LEAST_LIGHT = 0.25
"""The smallest share of the light that is believed to be left."""


class Unshade(nn.Module):
    """Photos [N, S, S, 3] in [-1, 1] -> float32 [N, S, S, 3], the same without cast shadows; S as `unet` takes it."""

    unet: UNet

    @nn.compact
    def __call__(self, photos: jax.Array) -> jax.Array:
        light = jnp.exp(jnp.clip(self.missing(photos), 0, -jnp.log(LEAST_LIGHT)))
        return jnp.minimum((photos + 1) * light - 1, 1)

    def missing(self, photos: jax.Array) -> jax.Array:
        """Returns log(light without shadows / light) of each pixel and colour, as the network has it: [N, S, S, 3]."""
        return self.unet(photos) - photos
