"""Images as arrays: checks, and conversion between the uint8 of files and the float32 of networks."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def check_images(images: np.ndarray) -> None:
    """Raises ValueError unless `images` are uint8 [N, S, S, 3]: square RGB images, any N and S."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != images.shape[2] or images.shape[3] != 3:
        raise ValueError(f"images are {images.dtype} {list(images.shape)}, not uint8 [N, S, S, 3]")


def to_float(images: jax.Array) -> jax.Array:
    """Converts uint8 [0, 255] to float32 [-1, 1]."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def to_uint8(images: jax.Array) -> jax.Array:
    """Converts float [-1, 1] to uint8 [0, 255], rounded; values outside are clipped."""
    return jnp.clip(jnp.round((images + 1.0) * 127.5), 0, 255).astype(jnp.uint8)


def resize(images: jax.Array, size: int) -> jax.Array:
    """Resizes float images [N, H, W, 3] to [N, size, size, 3], with antialiasing."""
    if images.shape[1:3] == (size, size):
        return images
    return jax.image.resize(images, (images.shape[0], size, size, 3), "linear", antialias=True)


def read_between(image: jax.Array, places: Sequence[jax.Array], outside: str = "constant") -> jax.Array:
    """Reads an image [S, S, C] at `places`, rows and columns [S, S] counted in pixels, linearly between its pixels.

    Outside it is 0, or with `outside` "nearest" as its border.
    """
    read = jax.vmap(lambda c: jax.scipy.ndimage.map_coordinates(c, places, 1, mode=outside), 2, 2)
    return read(image)


def pixels_in_frame(
    size: int, origin: jax.Array, cosine: jax.Array, sine: jax.Array, length: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns x and y [size, size] of the pixels in a frame: x along (cosine, sine), in units of `length`.

    `origin` [2] and `length` are fractions of the side.
    """
    pixels = (jnp.arange(size) + 0.5) / size
    right, down = (pixels - origin[0])[None, :] / length, (pixels - origin[1])[:, None] / length
    return cosine * right + sine * down, cosine * down - sine * right
