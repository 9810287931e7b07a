"""Loss of detail on the device: noise, blur, fewer pixels, JPEG. Each function takes one image [S, S, 3] in [-1, 1]."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

# What `roughen` does, strong enough that a generator cannot hide the other image in faint patterns.
_NOISE = (2.0, 20.0)  # standard deviation in grey levels of 255
_BLUR_SHARE, _BLUR = 0.6, (0.3 / 64, 1.0 / 64)  # sigma as a share of the side
_JPEG_SHARE, _JPEG = 0.4, (30.0, 80.0)  # quality

_YCBCR = np.array(  # ITU-R BT.601, as JPEG uses it; rows are Y, Cb, Cr
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)
# ITU-T T.81, tables K.1 (luminance) and K.2 (chrominance); rows are vertical frequencies.
_LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
_CHROMINANCE = np.full((8, 8), 99)
_CHROMINANCE[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
_TABLES = np.stack([_LUMINANCE, _CHROMINANCE, _CHROMINANCE], -1).astype(np.float32)
_FREQUENCY, _POSITION = np.mgrid[:8, :8]
_DCT = np.where(_FREQUENCY == 0, 0.125**0.5, 0.5 * np.cos((2 * _POSITION + 1) * _FREQUENCY * np.pi / 16))
_DCT = _DCT.astype(np.float32)  # orthonormal: frequency, position

T = TypeVar("T")


def draw(key: jax.Array, *ranges: tuple[float, float]) -> jax.Array:
    """Draws one number uniformly from each range (low, high): float32 [len(ranges)]."""
    lows, highs = np.array(ranges, np.float32).T
    return jax.random.uniform(key, lows.shape, minval=lows, maxval=highs)


def sometimes(share: float, fault: Callable[[T, jax.Array], T], value: T, key: jax.Array) -> T:
    """Returns fault(value, key) with probability `share`, else `value` as it is.

    Outside of vmap, the fault is not computed where it is not drawn.
    """
    coin_key, fault_key = jax.random.split(key)
    coin = jax.random.bernoulli(coin_key, share)
    return jax.lax.cond(coin, fault, lambda value, _: value, value, fault_key)


def _along_both(matrix: jax.Array, image: jax.Array) -> jax.Array:
    """Applies `matrix` [T, S] along the rows and along the columns of an image [S, S, 3]: [T, T, 3]."""
    return jnp.einsum("ij,jkc,lk->ilc", matrix, image, matrix)


def add_noise(image: jax.Array, levels: jax.Array, key: jax.Array) -> jax.Array:
    """Adds independent normal noise with a standard deviation of `levels` grey levels of 255, clipped to [-1, 1]."""
    return jnp.clip(image + jax.random.normal(key, image.shape) * levels / 127.5, -1, 1)


def blur(image: jax.Array, sigma: jax.Array) -> jax.Array:
    """Blurs with a gaussian of `sigma` pixels; at the border the weights of the pixels that exist are normalised.

    `image` may have any number of channels. Two matrix products: for S = 64 or 128 they cost less than a convolution
    does on a CPU, and take any sigma.
    """
    position = jnp.arange(image.shape[0], dtype=jnp.float32)
    weights = jnp.exp(-jnp.square((position[:, None] - position) / sigma) / 2)
    return _along_both(weights / weights.sum(1, keepdims=True), image)


def lower_resolution(image: jax.Array, pixels: jax.Array) -> jax.Array:
    """Reduces the image to `pixels` x `pixels` by area, 1 to S and not necessarily whole, and enlarges it linearly."""
    size = image.shape[0]
    position = jnp.arange(size) + 0.5
    width = size / pixels
    # Row i of `reduce` is small pixel i, a tent over the large ones; rows from `pixels` on are outside.
    centre = position[:, None] * width
    reduce = jnp.maximum(0, 1 - jnp.abs(centre - position) / width)
    enlarge = jnp.maximum(0, 1 - jnp.abs(position[:, None] / width - position))
    enlarge = jnp.where(position <= jnp.ceil(pixels), enlarge, 0)
    reduce /= jnp.maximum(reduce.sum(1, keepdims=True), 1e-6)
    enlarge /= jnp.maximum(enlarge.sum(1, keepdims=True), 1e-6)
    return _along_both(enlarge @ reduce, image)


def jpeg(image: jax.Array, quality: jax.Array) -> jax.Array:
    """Returns the image as after JPEG of `quality` 1 to 100, clipped; S must be a multiple of 8.

    Rounding and quantisation are those of libjpeg with the standard tables; colour has the full resolution (4:4:4).
    """
    size = image.shape[0]
    if size % 8:
        raise ValueError(f"JPEG has blocks of 8 pixels, and {size} is no multiple of 8")
    scale = jnp.where(quality < 50, jnp.floor(5000 / quality), 200 - 2 * quality)
    steps = jnp.clip(jnp.floor((_TABLES * scale + 50) / 100), 1, 255)[:, None, :]  # [8, 1, 8, 3]
    blocks = jnp.round(((image + 1) * 127.5 - 128) @ _YCBCR.T).reshape(size // 8, 8, size // 8, 8, 3)
    waves = jnp.einsum("ua,iajbc,vb->iujvc", _DCT, blocks, _DCT)
    waves = jnp.round(waves / steps) * steps
    blocks = jnp.einsum("ua,iujvc,vb->iajbc", _DCT, waves, _DCT)
    levels = blocks.reshape(image.shape) @ np.linalg.inv(_YCBCR).T + 128
    return jnp.clip(levels / 127.5 - 1, -1, 1)


def roughen(image: jax.Array, key: jax.Array) -> jax.Array:
    """Adds noise, often blurs, often compresses, so that no code for another image survives in faint patterns.

    Args:
      image: float32 [S, S, 3] in [-1, 1], S a multiple of 8.
      key: random key.

    Returns:
      An image like the given one: the noise has 2 to 20 grey levels, the blur 0.3 to 1 pixel at 64, JPEG a quality of
      30 to 80.
    """
    noise_key, level_key, blur_key, jpeg_key = jax.random.split(key, 4)
    image = add_noise(image, draw(level_key, _NOISE)[0], noise_key)
    size = image.shape[0]
    image = sometimes(_BLUR_SHARE, lambda image, key: blur(image, size * draw(key, _BLUR)[0]), image, blur_key)
    return sometimes(_JPEG_SHARE, lambda image, key: jpeg(image, draw(key, _JPEG)[0]), image, jpeg_key)
