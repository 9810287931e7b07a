"""Augmentation on the device, inside the train step: resize, random crop, random flip, landmarks with them.

`augment` is for images of one size. A `Placement` moves images of several sizes alike, such as a photo and its avatar.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bitmoji_jax.ops.image import to_float

MIRRORED_LANDMARKS = np.array([1, 0, 2, 4, 3])
"""Order of the five landmarks in a mirrored image: eyes and mouth corners change places, the nose stays."""


def augment(
    images: jax.Array, landmarks: jax.Array, keys: jax.Array, *, size: int, crop_margin: float, flip: bool
) -> tuple[jax.Array, jax.Array]:
    """Resizes to round((1 + crop_margin) size), crops size x size at random, mirrors half of the images.

    Args:
      images: uint8 [N, H, W, 3], of any square size.
      landmarks: float32 [N, 5, 2], x and y as fractions of the image, NaN where unknown.
      keys: [N] random keys, one an image, so that the result does not depend on how images are batched.
      size: side of the result in pixels.
      crop_margin: share by which the resized image is larger than the crop.
      flip: mirror half of the images.

    Returns:
      Images float32 [N, size, size, 3] in [-1, 1], and their landmarks [N, 5, 2] as fractions of the crop.
    """
    resized = round((1 + crop_margin) * size)
    scale = resized / images.shape[1]

    def augment_one(image: jax.Array, points: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        crop_key, flip_key = jax.random.split(key)
        corner = jax.random.randint(crop_key, (2,), 0, resized - size + 1)  # row, column
        # Resizing and cropping in one: two small matrix products, and no larger image in between.
        shift = -corner.astype(jnp.float32)
        image = jax.image.scale_and_translate(image, (size, size, 3), (0, 1), jnp.full(2, scale), shift, "linear")
        points = (points * resized - corner[::-1]) / size
        if flip:
            mirror = jax.random.bernoulli(flip_key)
            image = jnp.where(mirror, image[:, ::-1], image)
            mirrored = points.at[:, 0].set(1 - points[:, 0])[MIRRORED_LANDMARKS]
            points = jnp.where(mirror, mirrored, points)
        return image, points

    return jax.vmap(augment_one)(to_float(images), landmarks, keys)


_SCALE = (0.94, 1.06)
_SHIFT = (-0.04, 0.04)  # of the side


class Placement(NamedTuple):
    """Where an image comes to lie: mirrored or not, then scaled about the centre, then shifted; for any image size."""

    mirrored: jax.Array
    """bool []."""
    scale: jax.Array
    """float32 []."""
    shift: jax.Array
    """float32 [2], to the right and down, as fractions of the side."""

    def apply(self, image: jax.Array) -> jax.Array:
        """Moves a float image [S, S, C] in [-1, 1]; what comes in from outside is white."""
        size = image.shape[0]
        image = jnp.where(self.mirrored, image[:, ::-1], image)
        corner = size * ((1 - self.scale) / 2 + self.shift[::-1])  # row, column
        darkness = jax.image.scale_and_translate(  # 0 outside
            1 - image, image.shape, (0, 1), jnp.full(2, self.scale), corner, "linear", antialias=False
        )
        return 1 - darkness

    def apply_to_landmarks(self, points: jax.Array) -> jax.Array:
        """Moves the five landmarks [5, 2], x and y as fractions; NaN stays NaN."""
        mirrored = points.at[:, 0].set(1 - points[:, 0])[MIRRORED_LANDMARKS]
        points = jnp.where(self.mirrored, mirrored, points)
        return (points - 0.5) * self.scale + 0.5 + self.shift


def place(key: jax.Array) -> Placement:
    """Draws a placement: half are mirrored; the scale is 0.94 to 1.06, the shift up to 4 % of the side each way."""
    flip_key, scale_key, shift_key = jax.random.split(key, 3)
    return Placement(
        mirrored=jax.random.bernoulli(flip_key),
        scale=jax.random.uniform(scale_key, minval=_SCALE[0], maxval=_SCALE[1]),
        shift=jax.random.uniform(shift_key, (2,), minval=_SHIFT[0], maxval=_SHIFT[1]),
    )
