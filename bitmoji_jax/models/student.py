"""The student: a generator and a refiner as one network, perhaps with a reader that guides the second."""

import flax.linen as nn
import jax

from bitmoji_jax.models.generator import Generator
from bitmoji_jax.models.reader import GLASSES, Reader, guide_of
from bitmoji_jax.models.unet import UNet


class Student(nn.Module):
    """Draws an avatar from a photo: [N, S, S, 3] in [-1, 1] -> float32 [N, refiner.output_size, ..., 3].

    With a reader, optionally takes a guide [N, C], see models/reader.py; without one it is read from the photo.
    """

    generator: Generator
    refiner: UNet
    reader: Reader | None = None

    @nn.compact
    def __call__(self, photos: jax.Array, guide: jax.Array | None = None) -> jax.Array:
        if self.reader is not None and guide is None:
            guide = self.read(photos)
        return self.refiner(self.generator(photos), None if guide is None else guide[:, :GLASSES])

    def read(self, photos: jax.Array) -> jax.Array:
        """Reads from photos the numbers of a guide that the reader tells, as `__call__` does."""
        assert self.reader is not None
        return guide_of(self.reader(photos))
