"""The 3x3 convolution of stride 1 by Winograd's F(2x2, 3x3): 16 multiplications for four pixels in place of 36.

Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308, section 4.1. 2x2 pixels are

    y = A^T [sum over channels of (G g G^T) * (B^T d B)] A

where d, a tile, is the 4x4 pixels that they see, half of them shared with each neighbour, g the 3x3 kernel, and *
multiplies element by element. So each of the 16 elements is one matrix product, channels in by channels out, over all
tiles. The gradients are the transposes of these three maps, with 16 products each between them.

A `Grid` has an array for each element of a tile or kernel: rows, and in them columns. The transforms are sums of its
arrays, which XLA fuses; with `einsum`, the kernel's alone took longer than XLA's convolution. They are many operations:
jitted, they are traced once for layers of one shape.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

Grid = Sequence[Sequence[jax.Array]]


@jax.custom_vjp
@jax.jit
def winograd_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution without padding: [N, H, W, C] with [3, 3, C, D] -> [N, H - 2, W - 2, D], H and W at least 3."""
    return conv_transformed(x, transform_kernel(kernel))


@jax.jit
def transform_kernel(kernel: jax.Array) -> Grid:
    """[3, 3, C, D] to a grid of [C, D], for `conv_transformed`."""
    return _both(_kernel, kernel)


@jax.jit
def conv_transformed(x: jax.Array, kernel: Grid) -> jax.Array:
    """`winograd_conv` with a kernel transformed already, once for many calls."""
    products = _pairwise(jnp.matmul, _both(_tile, _gather(x)), kernel)
    return _interleave(_both(_output, products), x.shape[1] - 2, x.shape[2] - 2)


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return winograd_conv(x, kernel), (x, kernel)


@jax.jit
def _backward(residuals: tuple[jax.Array, jax.Array], grad: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    products = _both(_output_transposed, _deinterleave(grad))
    tiles = _pairwise(lambda m, g: m @ g.T, products, transform_kernel(kernel))
    kernels = _pairwise(lambda d, m: _rows(d).T @ _rows(m), _both(_tile, _gather(x)), products)
    x_grad = _scatter(_both(_tile_transposed, tiles), x.shape[1], x.shape[2])
    return x_grad, jnp.array(_both(_kernel_transposed, kernels))


winograd_conv.defvjp(_forward, _backward)


def _kernel(g: Sequence[jax.Array]) -> list[jax.Array]:
    """G, 3 to 4."""
    ends, middle = 0.5 * (g[0] + g[2]), 0.5 * g[1]
    return [g[0], ends + middle, ends - middle, g[2]]


def _kernel_transposed(u: Sequence[jax.Array]) -> list[jax.Array]:
    ends = 0.5 * (u[1] + u[2])
    return [u[0] + ends, 0.5 * (u[1] - u[2]), ends + u[3]]


def _tile(d: Sequence[jax.Array]) -> list[jax.Array]:
    """B^T, 4 to 4."""
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _tile_transposed(v: Sequence[jax.Array]) -> list[jax.Array]:
    return [v[0], v[1] - v[2] + v[3], v[1] + v[2] - v[0], -v[3]]


def _output(m: Sequence[jax.Array]) -> list[jax.Array]:
    """A^T, 4 to 2."""
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _output_transposed(y: Sequence[jax.Array]) -> list[jax.Array]:
    return [y[0], y[0] + y[1], y[0] - y[1], -y[1]]


def _both(transform: Callable[[Sequence[jax.Array]], list[jax.Array]], grid: Grid | jax.Array) -> Grid:
    """`transform` along each row, then along each column."""
    across = [transform(row) for row in grid]
    down = [transform(column) for column in zip(*across, strict=True)]
    return list(zip(*down, strict=True))


def _pairwise(function: Callable[[jax.Array, jax.Array], jax.Array], a: Grid, b: Grid) -> Grid:
    return [[function(*pair) for pair in zip(*rows, strict=True)] for rows in zip(a, b, strict=True)]


def _rows(x: jax.Array) -> jax.Array:
    return x.reshape(-1, x.shape[-1])


def _gather(x: jax.Array) -> Grid:
    """What each of the tiles sees, 4x4 pixels two apart: grid of [N, tiles down, tiles across, C]."""
    down, across = (2 * ((length - 1) // 2) for length in x.shape[1:3])
    # An odd size has half a tile at its end.
    x = jnp.pad(x, ((0, 0), (0, down + 2 - x.shape[1]), (0, across + 2 - x.shape[2]), (0, 0)))
    return [[x[:, i : i + down : 2, j : j + across : 2] for j in range(4)] for i in range(4)]


def _scatter(grid: Grid, height: int, width: int) -> jax.Array:
    """The transpose of `_gather`: what the tiles share is summed, -> [N, height, width, C]."""

    def overlap(first: jax.Array, second: jax.Array, axis: int) -> jax.Array:
        """Each one's second half onto the next one's first."""
        after, before = (tuple(pad if i == axis else (0, 0) for i in range(4)) for pad in ((0, 1), (1, 0)))
        return jnp.pad(first, after) + jnp.pad(second, before)

    across = [[overlap(row[j], row[j + 2], 2) for j in (0, 1)] for row in grid]
    return _interleave([[overlap(across[i][j], across[i + 2][j], 1) for j in (0, 1)] for i in (0, 1)], height, width)


def _interleave(grid: Grid, height: int, width: int) -> jax.Array:
    """2x2 pixels of each tile beside each other: grid of [N, tiles down, tiles across, C] -> [N, height, width, C]."""
    x = jnp.stack([jnp.stack(row, 3) for row in grid], 2)
    n, down, _, across, _, features = x.shape
    return x.reshape(n, 2 * down, 2 * across, features)[:, :height, :width]


def _deinterleave(x: jax.Array) -> Grid:
    """The transpose of `_interleave`."""
    x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))
    return [[x[:, i::2, j::2] for j in (0, 1)] for i in (0, 1)]
