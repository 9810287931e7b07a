"""The pieces both networks are made of. Images and activations are NHWC."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from bitmoji_jax.models.convolution import conv_general_dilated, doubled, transposed

# The reference draws every kernel from N(0, 0.02); biases start at 0, Flax's default.
kernel_init = nn.initializers.normal(0.02)


def conv(features: int, size: int, padding: int = 0, **kwargs: Any) -> nn.Conv:
    """A Flax `Conv` of size x size, zero-padded, computed as the platform does it best."""
    return nn.Conv(
        features,
        (size, size),
        **{"padding": padding, "kernel_init": kernel_init, "conv_general_dilated": conv_general_dilated} | kwargs,
    )


def reflect_pad(x: jax.Array, size: int) -> jax.Array:
    """Mirrors `size` pixels at each edge of [N, H, W, C], the edge pixel itself not repeated."""
    return jnp.pad(x, ((0, 0), (size, size), (size, size), (0, 0)), mode="reflect")


def instance_norm(x: jax.Array, epsilon: float = 1e-5) -> jax.Array:
    """Zero mean and unit variance for each image and channel, over height and width (arXiv 1607.08022).

    No learned scale or shift, as in the reference. Statistics are float32, the result has the type of `x`.
    """
    y = x.astype(jnp.float32)
    y = y - jnp.mean(y, axis=(1, 2), keepdims=True)
    variance = jnp.mean(jnp.square(y), axis=(1, 2), keepdims=True)
    return (y * jax.lax.rsqrt(variance + epsilon)).astype(x.dtype)


def depth_to_space(x: jax.Array) -> jax.Array:
    """[N, H, W, 4 C] -> [N, 2 H, 2 W, C]; channel (2 i + j) C + c goes to row 2 h + i, column 2 w + j."""
    n, h, w, c = x.shape
    x = x.reshape(n, h, w, 2, 2, c // 4)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h, 2 * w, c // 4)


def subpixel_kernel_init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """N(0, 0.02), the same kernel for each of the four sub-pixels, so that training starts without a checkerboard.

    This is the initialisation of arXiv 1707.02937 ("ICNR"); `shape` is (height, width, in, 4 out).
    """
    return jnp.tile(kernel_init(key, (*shape[:3], shape[3] // 4), dtype), (1, 1, 1, 4))


class ResidualBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), two reflection-padded 3x3 convolutions; shape is kept."""

    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        features = x.shape[-1]
        y = reflect_pad(x, 1)
        y = conv(features, 3, dtype=self.dtype)(y)
        y = reflect_pad(nn.relu(instance_norm(y)), 1)
        y = conv(features, 3, dtype=self.dtype)(y)
        return x + instance_norm(y)


class Upsample(nn.Module):
    """Doubles height and width: [N, H, W, C] -> [N, 2 H, 2 W, features]."""

    features: int
    kind: Literal["transpose", "nearest", "subpixel"]
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.kind == "transpose":
            # Named as the Flax layer of the same parameters.
            layer = conv(self.features, 3, dtype=self.dtype, conv_general_dilated=transposed, name="ConvTranspose_0")
            return layer(x)
        if self.kind == "nearest":
            return conv(self.features, 3, padding=1, dtype=self.dtype, conv_general_dilated=doubled)(x)
        x = conv(4 * self.features, 3, padding=1, dtype=self.dtype, kernel_init=subpixel_kernel_init)(x)
        return depth_to_space(x)
