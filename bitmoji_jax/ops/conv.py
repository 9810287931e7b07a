"""Convolutions: XLA's, and on a CPU matrix products where XLA's CPU compiler is slow.

It is slow with few channels in or out, with dilated input (transposed convolutions), and with nearest-neighbour
upsampling before a convolution. Each of these is computed here as one matrix product before or after a gather of
shifted slices or its transpose, a sum of shifted arrays; so are its gradients. benchmarks/NOTES.md has the figures.
Large 3x3 convolutions use winograd.py; all others, and all on accelerators, XLA's convolution.

There are two forms, each the transpose of the other:

    product_conv              y = gather(x) @ kernel     dx = scatter(dy @ kernel.T)    dkernel = gather(x).T @ dy
    product_conv_transpose    y = scatter(x @ kernel)    dx = gather(dy) @ kernel.T     dkernel = x.T @ gather(dy)

The first is for few channels in, and only its gradients are products: XLA's convolution is faster forward. Products
are jitted, so that each is traced once for all layers of one shape; within a program XLA inlines them.
"""

import functools
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from bitmoji_jax.ops.platform import on_cpu

Padding = tuple[tuple[int, int], tuple[int, int]]
"""Rows or columns (top, bottom), (left, right)."""
Pair = tuple[jax.Array, jax.Array]
"""Of an input and a kernel: what gradients are computed from, and the gradients."""

FEW = 3
"""Channels for which products are faster: those of images; discriminators' scores have 1."""


def xla_conv(
    x: jax.Array,
    kernel: jax.Array,
    stride: int = 1,
    padding: Padding | Literal["SAME"] = "SAME",
    *,
    input_dilation: int = 1,
    groups: int = 1,
) -> jax.Array:
    """Computes XLA's convolution -> [N, H', W', D].

    Args:
      x: float [N, H, W, C].
      kernel: float [h, w, C / groups, D].
      stride: of both axes.
      padding: zeros to add, or "SAME" as in TensorFlow: H' = ceil(H / stride), an odd row or column at the end.
      input_dilation: distance between the pixels of `x`, filled with zeros: the stride of a transposed convolution.
      groups: of channels, each with its own kernels; C for a depthwise convolution.
    """
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        lhs_dilation=(input_dilation, input_dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def conv(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    """Convolves [N, H, W, C] with [h, w, C, D] -> [N, (H + padding - h) // stride + 1, ..., D], `padding` in zeros."""
    height, width, features, out = kernel.shape
    if on_cpu() and out <= FEW < features and stride == 1:
        (top, bottom), (left, right) = padding
        crop = ((height - 1 - top, height - 1 - bottom), (width - 1 - left, width - 1 - right))
        return product_conv_transpose(x, kernel[::-1, ::-1], 1, crop)
    if on_cpu() and features <= FEW:
        return product_conv(x, kernel, stride, padding)
    return xla_conv(x, kernel, stride, padding)


def depthwise_conv(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Convolves each channel with its own filter: [N, H, W, C] with [h, w, 1, C] -> [N, ceil(H / stride), ..., C].

    Padded like TensorFlow's "SAME". On a CPU a sum of shifted products, which XLA fuses into one loop; an
    EfficientNet-Lite0 is 5 times as fast with it, see benchmarks/NOTES.md.
    """
    if not on_cpu():
        return xla_conv(x, kernel, stride, groups=x.shape[-1])
    height, width = kernel.shape[:2]
    down, across = -(-x.shape[1] // stride), -(-x.shape[2] // stride)
    pads = jax.lax.padtype_to_pads(x.shape[1:3], (height, width), (stride, stride), "SAME")
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    total = jnp.zeros((), x.dtype)
    for i in range(height):
        for j in range(width):
            shifted = x[:, i : i + stride * (down - 1) + 1 : stride, j : j + stride * (across - 1) + 1 : stride]
            total += shifted * kernel[i, j, 0]
    return total


def transposed_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposed 3x3 convolution of stride 2, padding 1 and output padding 1: [N, H, W, C] -> [N, 2 H, 2 W, D]."""
    if not on_cpu():
        return xla_conv(x, kernel, 1, ((1, 2), (1, 2)), input_dilation=2)
    return product_conv_transpose(x, kernel[::-1, ::-1], 2, ((1, 0), (1, 0)))


def upsampled_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Nearest-neighbour upsampling, then a 3x3 convolution of padding 1: [N, H, W, C] -> [N, 2 H, 2 W, D].

    On a CPU one transposed convolution of stride 2, whose 4x4 kernel is the sum of four shifted copies of the 3x3 one:
    16 products a pixel of `x` instead of 36.
    """
    if not on_cpu():
        return xla_conv(jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2), kernel, 1, ((1, 1), (1, 1)))

    def shifted_sum(a: jax.Array, b: jax.Array, c: jax.Array) -> list[jax.Array]:
        """The kernel along one axis, flipped, plus itself shifted by one."""
        return [c, b + c, a + b, a]

    kernel = jnp.stack([jnp.stack(shifted_sum(*row)) for row in shifted_sum(*kernel)])
    return product_conv_transpose(x, kernel, 2, ((1, 1), (1, 1)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def product_conv(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    """Computes `conv`, with gradients as matrix products."""
    return xla_conv(x, kernel, stride, padding)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _conv_backward(stride: int, padding: Padding, residuals: Pair, grad: jax.Array) -> Pair:
    x, kernel = residuals
    height, width, features, out = kernel.shape
    patches = _gather(x, height, width, stride, padding)
    kernel_grad = (rows(patches).T @ rows(grad)).reshape(kernel.shape)
    taps = rows(grad) @ kernel.reshape(-1, out).T
    taps = taps.reshape(*grad.shape[:3], height, width, features)
    return _scatter(taps, stride, padding, x.shape[1:3]), kernel_grad


product_conv.defvjp(lambda x, kernel, *how: (product_conv(x, kernel, *how), (x, kernel)), _conv_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
@functools.partial(jax.jit, static_argnums=(2, 3))
def product_conv_transpose(x: jax.Array, kernel: jax.Array, stride: int, crop: Padding) -> jax.Array:
    """Adds each pixel of [N, H, W, C] times [h, w, C, D] to the output, `stride` apart, and cuts `crop` off.

    Returns:
      [N, (H - 1) stride + h - crop, (W - 1) stride + w - crop, D].
    """
    height, width, _, out = kernel.shape
    taps = (rows(x) @ _by_input(kernel)).reshape(*x.shape[:3], height, width, out)
    (top, bottom), (left, right) = crop
    size = (x.shape[1] - 1) * stride + height - top - bottom, (x.shape[2] - 1) * stride + width - left - right
    return _scatter(taps, stride, crop, size)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _conv_transpose_backward(stride: int, crop: Padding, residuals: Pair, grad: jax.Array) -> Pair:
    x, kernel = residuals
    height, width, features, out = kernel.shape
    patches = rows(_gather(grad, height, width, stride, crop))
    kernel_grad = (rows(x).T @ patches).reshape(features, height, width, out).transpose(1, 2, 0, 3)
    return (patches @ _by_input(kernel).T).reshape(x.shape), kernel_grad


product_conv_transpose.defvjp(
    lambda x, kernel, *how: (product_conv_transpose(x, kernel, *how), (x, kernel)), _conv_transpose_backward
)


def patch_conv(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    """`product_conv` as one product with the patches that the kernel sees."""
    height, width, _, out = kernel.shape
    return _gather(x, height, width, stride, padding) @ kernel.reshape(-1, out)


def rows(x: jax.Array) -> jax.Array:
    """[..., C] as a matrix [rows, C]: XLA's products of matrices, and their gradients, are faster than of more axes."""
    return x.reshape(-1, x.shape[-1])


def interleave(grid: Sequence[Sequence[jax.Array]], size: tuple[int, ...]) -> jax.Array:
    """Puts pixel (i, j) of each of the s x s arrays [N, H, W, C] side by side -> [N, s H, s W, C], cut to `size`."""
    x = jnp.stack([jnp.stack(row, 3) for row in grid], 2)
    n, height, down, width, across, features = x.shape
    return x.reshape(n, height * down, width * across, features)[:, : size[0], : size[1]]


def _by_input(kernel: jax.Array) -> jax.Array:
    """[h, w, C, D] -> [C, h w D]."""
    return kernel.transpose(2, 0, 1, 3).reshape(kernel.shape[2], -1)


def _gather(x: jax.Array, height: int, width: int, stride: int, padding: Padding) -> jax.Array:
    """The pixels under each position of a kernel: [N, H, W, C] -> [N, rows, columns, height width C]."""
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((*cut, 0) for cut in padding), (0, 0, 0)))
    down, across = (x.shape[1] - height) // stride + 1, (x.shape[2] - width) // stride + 1
    # Along one axis, then the other: height + width copies, not height times width.
    x = jnp.concatenate([x[:, :, j : j + stride * (across - 1) + 1 : stride] for j in range(width)], axis=-1)
    return jnp.concatenate([x[:, i : i + stride * (down - 1) + 1 : stride] for i in range(height)], axis=-1)


def _scatter(taps: jax.Array, stride: int, crop: Padding, size: tuple[int, ...]) -> jax.Array:
    """The transpose of `_gather`: [N, rows, columns, height, width, C] -> [N, *size, C], `crop` cut off."""
    n, down, across, height, width, features = taps.shape
    zero = jnp.zeros((), taps.dtype)
    lengths = [-(-length // stride) for length in size]
    (top, _), (left, _) = crop

    def phase(row: int, column: int) -> jax.Array:
        """The pixels [row::stride, column::stride], with zeros at the end where there are none."""
        total = jnp.zeros((n, *lengths, features), taps.dtype)
        # Tap (i, j) at position (r, c) is added to pixel (stride r + i - top, stride c + j - left).
        for i in range((row + top) % stride, height, stride):
            for j in range((column + left) % stride, width, stride):
                y, x = (i - top - row) // stride, (j - left - column) // stride
                pads = ((0, 0, 0), (y, lengths[0] - down - y, 0), (x, lengths[1] - across - x, 0), (0, 0, 0))
                total += jax.lax.pad(taps[:, :, :, i, j], zero, pads)
        return total

    return interleave([[phase(i, j) for j in range(stride)] for i in range(stride)], size)
