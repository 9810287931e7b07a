"""The student: a generator and a refiner as one network."""

import flax.linen as nn
import jax

from bitmoji_jax.models.generator import Generator
from bitmoji_jax.models.unet import UNet


class Student(nn.Module):
    """Draws an avatar from a photo: [N, S, S, 3] in [-1, 1] -> float32 [N, refiner.output_size, ..., 3].

    Optionally takes a condition [N, S, S, C], as the generator does.
    """

    generator: Generator
    refiner: UNet

    @nn.compact
    def __call__(self, photos: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        return self.refiner(self.generator(photos, condition))
