"""The layers of the networks. Images and activations are NHWC."""

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from bitmoji_jax.ops.conv import conv, transposed_conv, upsampled_conv
from bitmoji_jax.ops.winograd import transform_kernel, winograd_conv, winograd_is_faster

PREPARED = "prepared"
"""The collection of what `prepare` computes from parameters."""

# The reference draws every kernel from N(0, 0.02); biases start at 0, Flax's default.
kernel_init = nn.initializers.normal(0.02)


def prepare(network: nn.Module, params: Any, *inputs: Any) -> Any:
    """Returns `params` and what `network` computes from them alone, for inputs of the shapes of `inputs`.

    On a CPU these are the kernels transformed for Winograd's algorithm: without, each call transforms them again, and a
    full-width generator takes 1.9 times as long at 64 px, 1.3 times at 128. On accelerators there are none.
    """
    return params | network.apply(params, *inputs, mutable=[PREPARED])[1]


class Conv(nn.Module):
    """A convolution of size x size, `padding` in zeros, and a bias, in the form that is fast on the platform.

    Its parameters are those of a Flax `Conv`.
    """

    features: int
    size: int
    dtype: Any
    stride: int = 1
    padding: int = 0
    resampling: Callable[[jax.Array, jax.Array], jax.Array] | None = None
    """Instead of stride and padding: `transposed_conv` or `upsampled_conv`."""
    kernel_init: Callable[..., jax.Array] = kernel_init

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", self.kernel_init, (self.size, self.size, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        if self.resampling is not None:
            return self.resampling(x, kernel) + bias
        padding = ((self.padding, self.padding), (self.padding, self.padding))
        if not winograd_is_faster(x, kernel, self.stride):
            return conv(x, kernel, self.stride, padding) + bias
        if self.has_variable(PREPARED, "kernel"):
            transformed = self.get_variable(PREPARED, "kernel")
        else:
            transformed = transform_kernel(kernel)
            if self.is_mutable_collection(PREPARED) and not self.is_initializing():
                self.put_variable(PREPARED, "kernel", transformed)
        return winograd_conv(jnp.pad(x, ((0, 0), *padding, (0, 0))), transformed) + bias


def reflect_pad(x: jax.Array, size: int) -> jax.Array:
    """Pads [N, H, W, C] with `size` mirrored pixels at each edge, the edge pixel itself not repeated."""
    return jnp.pad(x, ((0, 0), (size, size), (size, size), (0, 0)), mode="reflect")


def instance_norm(x: jax.Array, epsilon: float = 1e-5) -> jax.Array:
    """Normalises each image and channel to zero mean and unit variance over height and width (arXiv 1607.08022).

    No learned scale or shift, as in the reference. Statistics are float32, the result has the type of `x`.
    """
    y = x.astype(jnp.float32)
    y = y - jnp.mean(y, axis=(1, 2), keepdims=True)
    variance = jnp.mean(jnp.square(y), axis=(1, 2), keepdims=True)
    return (y * jax.lax.rsqrt(variance + epsilon)).astype(x.dtype)


def depth_to_space(x: jax.Array) -> jax.Array:
    """Rearranges [N, H, W, 4 C] to [N, 2 H, 2 W, C]; channel (2 i + j) C + c goes to row 2 h + i, column 2 w + j."""
    n, h, w, c = x.shape
    x = x.reshape(n, h, w, 2, 2, c // 4)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h, 2 * w, c // 4)


def space_to_depth(x: jax.Array, factor: int) -> jax.Array:
    """Rearranges [N, factor H, factor W, C] to [N, H, W, factor² C], each square of pixels into the channels of one."""
    n, h, w, c = x.shape
    x = x.reshape(n, h // factor, factor, w // factor, factor, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, h // factor, w // factor, factor**2 * c)


def subpixel_kernel_init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Draws from N(0, 0.02) one kernel for all four sub-pixels, so that training starts without a checkerboard.

    The initialisation "ICNR" of arXiv 1707.02937; `shape` is (height, width, in, 4 out).
    """
    return jnp.tile(kernel_init(key, (*shape[:3], shape[3] // 4), dtype), (1, 1, 1, 4))


class ResidualBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), two reflection-padded 3x3 convolutions; shape is kept."""

    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        features = x.shape[-1]
        y = reflect_pad(x, 1)
        y = Conv(features, 3, self.dtype)(y)
        y = reflect_pad(nn.relu(instance_norm(y)), 1)
        y = Conv(features, 3, self.dtype)(y)
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
            return Conv(self.features, 3, self.dtype, resampling=transposed_conv, name="ConvTranspose_0")(x)
        if self.kind == "nearest":
            return Conv(self.features, 3, self.dtype, resampling=upsampled_conv)(x)
        x = Conv(4 * self.features, 3, self.dtype, padding=1, kernel_init=subpixel_kernel_init)(x)
        return depth_to_space(x)
