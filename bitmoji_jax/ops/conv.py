"""The convolutions that XLA's CPU compiler is slow at, as matrix products.

Those are: few channels in or out, transposed (dilated input), and nearest-neighbour doubling before a convolution. Here
each is one matrix product before or after a gather of shifted slices or its transpose, a sum of shifted arrays, and so
are its gradients. Large 3x3 ones go by Winograd's algorithm (winograd.py). benchmarks/NOTES.md has the figures.
Accelerators, and other convolutions, are better off with XLA's.

Two forms, each the transpose of the other:

    conv                y = gather(x) @ kernel       dx = scatter(dy @ kernel.T)    dkernel = gather(x).T @ dy
    conv_transpose      y = scatter(x @ kernel)      dx = gather(dy) @ kernel.T     dkernel = x.T @ gather(dy)

`conv` is for few channels in, `conv_transpose` for few channels out. Doubling followed by a 3x3 convolution is a
transposed convolution of stride 2 whose 4x4 kernel is the sum of four shifted copies of the 3x3 one: 16 products a
pixel in place of 36. `conv` itself runs forward as XLA's convolution: only its gradients measured better as products.
Products are jitted, so that each is traced once for layers of one shape; within a program XLA inlines them.
"""

import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp

from bitmoji_jax.ops.platform import on_cpu

Padding = tuple[tuple[int, int], tuple[int, int]]

_FEW = 3  # channels, of images; scores have 1

# Multiplications of one of a kernel's nine places, pixels (reflected ones too) x channels in x channels out, from which
# Winograd is taken. XLA's time over its time, forward and with both gradients, single layers, pixels as batch x side^2:
# 64 channels at 1x32^2 1.25 and 1.28, 128 at 1x16^2 1.2 and 1.5, 256 at 1x16^2 1.4 and 1.7, at 1x32^2 2.3 and 1.9, at
# 1x64^2 5.6 and 3.6; just above the threshold 256 at 1x4^2 0.8 and 1.3, at 4x4^2 1.0 and 1.6; below it mostly under 1
# forward (CPU time, two cores of an Intel Xeon under load, jax 0.10.2, 2026-11-25). In a whole generator 256 channels
# at 1x16^2 lose, 0.84 to 0.95; the train step with the same layers gained, 1.2.
_WINOGRAD = 2**21


def convolved(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    """The convolution [N, H, W, C] with [h, w, C, D], `padding` in zeros; on a CPU, products where those are faster."""
    features, out = kernel.shape[2:]
    if on_cpu() and out <= _FEW < features and stride == 1:
        return conv_few_out(x, kernel, padding)
    if on_cpu() and features <= _FEW:
        return conv(x, kernel, stride, padding)
    return xla_conv(x, kernel, stride, padding)


def by_winograd(x: jax.Array, kernel: jax.Array, stride: int) -> bool:
    """Whether `winograd_conv`, of `x` padded, is faster than `convolved`."""
    if not on_cpu() or kernel.shape[:2] != (3, 3) or stride != 1 or min(kernel.shape[2:]) <= _FEW:
        return False
    # In bfloat16 the transforms would round away what the sums are made of.
    return x.dtype == jnp.float32 and math.prod(x.shape[:3]) * math.prod(kernel.shape[2:]) >= _WINOGRAD


def transposed(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The reference's 3x3 transposed convolution, stride 2, padding 1, output padding 1."""
    if not on_cpu():
        return xla_conv(x, kernel, 1, ((1, 2), (1, 2)), input_dilation=2)
    return conv_transpose(x, kernel[::-1, ::-1], 2, ((1, 0), (1, 0)))


def doubled(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The 3x3 convolution, padding 1, of `x` doubled by repeating each pixel."""
    if not on_cpu():
        return xla_conv(jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2), kernel, 1, ((1, 1), (1, 1)))
    return conv_nearest(x, kernel)


def xla_conv(
    x: jax.Array,
    kernel: jax.Array,
    stride: int = 1,
    padding: Padding | Literal["SAME"] = "SAME",
    *,
    input_dilation: int = 1,
    groups: int = 1,
) -> jax.Array:
    """XLA's convolution of [N, H, W, C] with [h, w, C / groups, D] -> [N, H', W', D].

    Args:
      x: [N, H, W, C].
      kernel: [h, w, C / groups, D].
      stride: of both axes.
      padding: zeros ((top, bottom), (left, right)), or "SAME" as in TensorFlow: H' = ceil(H / stride), and what is odd
        of the padding at the end.
      input_dilation: distance of the pixels of `x` in the image that is convolved, zeros between them; the stride of a
        transposed convolution.
      groups: of channels, each with kernels of its own; C for a depthwise convolution.
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


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    """[N, H, W, C] with [h, w, C, D] -> [N, (H + padding - h) // stride + 1, ..., D], `padding` in zeros."""
    return xla_conv(x, kernel, stride, padding)


def _conv_forward(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return conv(x, kernel, stride, padding), (x, kernel)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _conv_backward(
    stride: int, padding: Padding, residuals: tuple[jax.Array, jax.Array], grad: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    height, width, features, out = kernel.shape
    patches = _gather(x, height, width, stride, padding)
    kernel_grad = (_rows(patches).T @ _rows(grad)).reshape(kernel.shape)
    taps = _rows(grad) @ kernel.reshape(-1, out).T
    taps = taps.reshape(*grad.shape[:3], height, width, features)
    return _scatter(taps, stride, padding, x.shape[1:3]), kernel_grad


conv.defvjp(_conv_forward, _conv_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
@functools.partial(jax.jit, static_argnums=(2, 3))
def conv_transpose(x: jax.Array, kernel: jax.Array, stride: int, crop: Padding) -> jax.Array:
    """Each pixel of [N, H, W, C] stamps [h, w, C, D], `stride` apart, onto [N, (H - 1) stride + h - crop, ..., D]."""
    height, width, _, out = kernel.shape
    taps = _rows(x) @ _by_input(kernel)
    size = tuple(
        (length - 1) * stride + taps - sum(cut)
        for length, taps, cut in zip(x.shape[1:3], (height, width), crop, strict=True)
    )
    return _scatter(taps.reshape(*x.shape[:3], height, width, out), stride, crop, size)


def _conv_transpose_forward(
    x: jax.Array, kernel: jax.Array, stride: int, crop: Padding
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return conv_transpose(x, kernel, stride, crop), (x, kernel)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _conv_transpose_backward(
    stride: int, crop: Padding, residuals: tuple[jax.Array, jax.Array], grad: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    height, width, features, out = kernel.shape
    patches = _rows(_gather(grad, height, width, stride, crop))
    kernel_grad = (_rows(x).T @ patches).reshape(features, height, width, out).transpose(1, 2, 0, 3)
    return (patches @ _by_input(kernel).T).reshape(x.shape), kernel_grad


conv_transpose.defvjp(_conv_transpose_forward, _conv_transpose_backward)


def conv_few_out(x: jax.Array, kernel: jax.Array, padding: Padding) -> jax.Array:
    """`conv` of stride 1 as a transposed one: for fewer channels out than in."""
    (top, bottom), (left, right) = padding
    height, width = kernel.shape[0] - 1, kernel.shape[1] - 1
    return conv_transpose(x, kernel[::-1, ::-1], 1, ((height - top, height - bottom), (width - left, width - right)))


def patch_conv(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    """`conv` as one product with the patches that the kernel sees."""
    height, width, _, out = kernel.shape
    return _gather(x, height, width, stride, padding) @ kernel.reshape(-1, out)


def conv_nearest(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Nearest-neighbour doubling, then a convolution [3, 3, C, D] padded to keep the size: -> [N, 2 H, 2 W, D]."""

    def taps(a: jax.Array, b: jax.Array, c: jax.Array) -> list[jax.Array]:
        """Of what a doubled pixel adds to its surroundings, along an axis: the kernel, flipped, and itself shifted."""
        return [c, b + c, a + b, a]

    stamps = jnp.stack([jnp.stack(taps(*row)) for row in taps(*kernel)])
    return conv_transpose(x, stamps, 2, ((1, 1), (1, 1)))


def _rows(x: jax.Array) -> jax.Array:
    return x.reshape(-1, x.shape[-1])


def _by_input(kernel: jax.Array) -> jax.Array:
    """[h, w, C, D] -> [C, h w D]."""
    return kernel.transpose(2, 0, 1, 3).reshape(kernel.shape[2], -1)


def _gather(x: jax.Array, height: int, width: int, stride: int, padding: Padding) -> jax.Array:
    """What each place of a kernel sees: [N, H, W, C] -> [N, rows, columns, height width C]."""
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((*cut, 0) for cut in padding), (0, 0, 0)))
    rows, columns = ((length - taps) // stride + 1 for length, taps in zip(x.shape[1:3], (height, width), strict=True))
    # First across, then down: height + width copies, not height times width.
    across = [x[:, :, j : j + stride * (columns - 1) + 1 : stride] for j in range(width)]
    x = jnp.concatenate(across, axis=-1)
    return jnp.concatenate([x[:, i : i + stride * (rows - 1) + 1 : stride] for i in range(height)], axis=-1)


def _scatter(taps: jax.Array, stride: int, crop: Padding, size: tuple[int, ...]) -> jax.Array:
    """The transpose of `_gather`: [N, rows, columns, height, width, C] -> [N, *size, C], `crop` cut off."""
    n, _, _, height, width, features = taps.shape
    zero = jnp.zeros((), taps.dtype)
    lengths = [-(-length // stride) for length in size]

    def phase(down: int, right: int) -> jax.Array:
        """The pixels [down::stride, right::stride], with zeros at the end where there are none."""
        total = jnp.zeros((n, *lengths, features), taps.dtype)
        for i in range(height):
            for j in range(width):
                # Tap (i, j) of place (r, c) lands on pixel (r stride + i - crop, ...) = (stride R + down, ...).
                offsets = [(i - crop[0][0] - down, stride), (j - crop[1][0] - right, stride)]
                if any(offset % stride for offset, _ in offsets):
                    continue
                pads = [
                    (offset // stride, length - rows - offset // stride, 0)
                    for (offset, _), length, rows in zip(offsets, lengths, taps.shape[1:3], strict=True)
                ]
                total += jax.lax.pad(taps[:, :, :, i, j], zero, ((0, 0, 0), *pads, (0, 0, 0)))
        return total

    if stride == 1:
        return phase(0, 0)
    phases = jnp.stack([jnp.stack([phase(i, j) for j in range(stride)], 3) for i in range(stride)], 2)
    phases = phases.reshape(n, lengths[0] * stride, lengths[1] * stride, features)
    return phases[:, : size[0], : size[1]]
