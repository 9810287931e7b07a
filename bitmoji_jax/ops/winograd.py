"""The 3x3 convolution of stride 1 by Winograd's F(2x2, 3x3): 16 multiplications for four pixels instead of 36.

Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308, section 4.1. 2x2 output pixels are

    y = A^T [sum over channels of (G g G^T) * (B^T d B)] A

where the tile d is the 4x4 input pixels under them, half of them shared with each neighbour, g the 3x3 kernel, and *
multiplies element by element. So each of the 16 elements is one matrix product, channels in by channels out, over all
tiles.

A `Grid` has an array for each element of a tile or kernel, as rows of columns. The transforms are sums of its arrays,
which XLA fuses. They are many operations: jitted, they are traced once for all layers of one shape.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from bitmoji_jax.ops.conv import FEW, interleave, rows
from bitmoji_jax.ops.platform import on_cpu

Grid = Sequence[Sequence[jax.Array]]

# Multiplications of one of a kernel's nine elements, pixels (padding too) x channels in x channels out, from which
# Winograd is used; benchmarks/NOTES.md has the times.
_LEAST_MULTIPLICATIONS = 2**21


def winograd_is_faster(x: jax.Array, kernel: jax.Array, stride: int) -> bool:
    """Returns whether `winograd_conv` of `x` [N, H, W, C] with [h, w, C, D] is faster than other convolutions."""
    if not on_cpu() or kernel.shape[:2] != (3, 3) or stride != 1 or min(kernel.shape[2:]) <= FEW:
        return False
    # Not in bfloat16, whose rounding of the transforms would exceed that of the convolution.
    return x.dtype == jnp.float32 and math.prod(x.shape[:3]) * math.prod(kernel.shape[2:]) >= _LEAST_MULTIPLICATIONS


@jax.jit
def transform_kernel(kernel: jax.Array) -> Grid:
    """Transforms [3, 3, C, D] to the 4x4 grid of [C, D] that `winograd_conv` takes."""
    return _both_axes(_kernel, [jnp.unstack(row) for row in jnp.unstack(kernel)])


@jax.jit
def winograd_conv(x: jax.Array, kernel: Grid) -> jax.Array:
    """Convolves [N, H, W, C] with a transformed kernel, unpadded -> [N, H - 2, W - 2, D]; H and W are at least 3."""
    tiles = _both_axes(_tile, _gather(x))
    products = [
        [(rows(tile) @ element).reshape(*tile.shape[:3], -1) for tile, element in zip(*pair, strict=True)]
        for pair in zip(tiles, kernel, strict=True)
    ]
    return interleave(_both_axes(_output, products), (x.shape[1] - 2, x.shape[2] - 2))


def _kernel(g: Sequence[jax.Array]) -> list[jax.Array]:
    """G, 3 to 4."""
    ends, middle = 0.5 * (g[0] + g[2]), 0.5 * g[1]
    return [g[0], ends + middle, ends - middle, g[2]]


def _tile(d: Sequence[jax.Array]) -> list[jax.Array]:
    """B^T, 4 to 4."""
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _output(m: Sequence[jax.Array]) -> list[jax.Array]:
    """A^T, 4 to 2."""
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _both_axes(transform: Callable[[Sequence[jax.Array]], list[jax.Array]], grid: Grid) -> Grid:
    """Applies `transform` to each row, then to each column."""
    across = [transform(row) for row in grid]
    down = [transform(column) for column in zip(*across, strict=True)]
    return list(zip(*down, strict=True))


def _gather(x: jax.Array) -> Grid:
    """The 4x4 pixels of each tile, two apart: [N, H, W, C] to a grid of [N, tiles down, tiles across, C]."""
    return [_gather_along(row, 2) for row in _gather_along(x, 1)]


def _gather_along(x: jax.Array, axis: int) -> list[jax.Array]:
    """The four pixels of each tile along one axis; a tile at the end of an odd size is half zeros."""
    tiles = (x.shape[axis] - 1) // 2
    x = jnp.pad(x, [(0, 2 * tiles + 2 - x.shape[axis]) if i == axis else (0, 0) for i in range(x.ndim)])
    # Not slices with a stride, whose gradients take longer.
    pairs = jnp.unstack(x.reshape(*x.shape[:axis], tiles + 1, 2, *x.shape[axis + 1 :]), axis=axis + 1)
    return [jax.lax.slice_in_dim(pairs[i % 2], i // 2, i // 2 + tiles, axis=axis) for i in range(4)]
