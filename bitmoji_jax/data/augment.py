"""Augmentation on the device, inside the train step: resize, random crop, random flip, landmarks with them."""

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
