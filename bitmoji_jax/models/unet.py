"""The U-Net of the refiner and the student, which draws an avatar, and of the network that takes shadows out."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bitmoji_jax.models.layers import Conv, Upsample, depth_to_space, space_to_depth

GRID = 64
"""Side in pixels of the finest map that has all features. Larger images go in and out through it: cheap, since
convolutions of full width at 256 px would take 16 times as long."""

# Without norms the blocks must start as small changes of what they are given (arXiv 1901.09321).
_he_init = nn.initializers.he_normal()
_small_init = nn.initializers.normal(0.01)


class _Block(nn.Module):
    """x + conv(relu(conv(relu(x)))), two 3x3 convolutions without norm; shape is kept."""

    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        features = x.shape[-1]
        y = Conv(features, 3, self.dtype, padding=1, kernel_init=_he_init)(nn.relu(x))
        y = Conv(features, 3, self.dtype, padding=1, kernel_init=_small_init)(nn.relu(y))
        return x + y


class _Guided(nn.Module):
    """x (1 + scale) + shift, both of each channel, and functions of a guide [N, C] (arXiv 1709.07871).

    They are 0 at first, so that a network can be given a guide after it was trained without.
    """

    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, guide: jax.Array) -> jax.Array:
        both = nn.Dense(2 * x.shape[-1], kernel_init=nn.initializers.zeros_init(), dtype=self.dtype)(guide)
        scale, shift = jnp.split(both[:, None, None], 2, axis=-1)
        return x * (1 + scale) + shift


class UNet(nn.Module):
    """Three halvings and three doublings around `Block`s, with skips that are added, and a residual to the input.

    There is no normalisation: flat areas and their exact colours have to go through.

    Call with images [N, S, S, 3] in [-1, 1]; S and `output_size` are 32 or 64 times a power of 2, `output_size` not 32
    where S is larger; and optionally with a guide [N, C], numbers that say what to draw, see `_Guided`. Returns float32
    [N, output_size, output_size, 3], mostly in [-1, 1].
    """

    features: int
    output_size: int
    dtype: Any = jnp.float32
    grid: int = GRID

    @nn.compact
    def __call__(self, images: jax.Array, guide: jax.Array | None = None) -> jax.Array:
        k, (n, size) = self.features, images.shape[:2]
        grid = min(size, self.grid)

        def conv(x: jax.Array, features: int, **how: Any) -> jax.Array:
            return Conv(features, 3, self.dtype, padding=1, **{"kernel_init": _he_init, **how})(x)

        def up(x: jax.Array, features: int) -> jax.Array:
            return Upsample(features, "nearest", dtype=self.dtype)(nn.relu(x))

        def block(x: jax.Array) -> jax.Array:
            return _Block(self.dtype)(x)

        def guided(x: jax.Array) -> jax.Array:
            return x if guide is None else _Guided(self.dtype)(x, guide)

        fine = block(guided(conv(space_to_depth(images, size // grid), k)))
        middle = block(conv(nn.relu(fine), 2 * k, stride=2))
        coarse = block(block(conv(nn.relu(middle), 4 * k, stride=2)))
        x = guided(conv(nn.relu(coarse), 4 * k, stride=2))
        for _ in range(3):
            x = block(x)
        x = block(up(x, 4 * k) + coarse)
        x = block(up(x, 2 * k) + middle)
        x = block(guided(block(up(x, k) + fine)))

        while 2 * x.shape[1] < self.output_size:  # doubled further at half the width, and a last time by sub-pixels
            x = block(up(x, k // 2))
        if x.shape[1] < self.output_size:
            x = depth_to_space(conv(nn.relu(x), 12, kernel_init=_small_init))
        else:
            x = conv(nn.relu(x), 3, kernel_init=_small_init)
        shape = (n, self.output_size, self.output_size, 3)
        return x.astype(jnp.float32) + jax.image.resize(images, shape, "linear", antialias=True)
