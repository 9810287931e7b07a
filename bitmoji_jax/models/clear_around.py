"""A late step from photo to avatar: what is not connected with the person is taken away.

A student draws faint loose lines beside some heads, mostly where hair is short or pinned up, and crumbs of what a photo
has behind the person. Heads and shoulders of bitmojis are in one piece, and their outlines are dark.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

GRID = 64
"""Cells along each side in which it is decided; a cell is as dark as its darkest pixel. Of smaller avatars, pixels."""
LIGHT = 210 / 127.5 - 1
"""Of a cell's darkest channel: from here on it may be surroundings."""
MIDDLE_ROWS, MIDDLE_COLUMNS = (0.4, 0.7), (0.4, 0.6)
"""A part of the picture, as shares of its side, that is the person's."""
STEPS = 64
"""Cells that a person, and the surroundings, are followed at most; no way is longer, but through hair as of a maze."""
LEAST = 0.15
"""Share of the picture that a person has at least: with less, the outline is open, and nothing is taken away."""


def clear_around(avatars: jax.Array) -> jax.Array:
    """Makes white what is not connected with the person of avatars, float32 [N, S, S, 3] in [-1, 1].

    S is a power of 2 and at least 32. The surroundings are what is light and connected with the left, upper or right
    border; the person is what remains and is connected with the middle.
    """
    size = avatars.shape[1]
    side = min(GRID, size)
    cells = avatars.min(axis=-1).reshape(-1, side, size // side, side, size // side).min(axis=(2, 4))
    light = cells >= LIGHT
    rest = ~_reached(light & border(side), light)
    person = _reached(rest & middle(side), rest)
    kept = person | (jnp.mean(person, axis=(1, 2), keepdims=True) < LEAST)
    for axis in (1, 2):
        kept = jnp.repeat(kept, size // side, axis=axis)
    return jnp.where(kept[..., None], avatars, 1.0)


def border(side: int) -> np.ndarray:
    """Returns the cells, bool [side, side], at the left, upper and right border."""
    cells = np.ones((side, side), bool)
    cells[1:, 1:-1] = False
    return cells


def middle(side: int) -> np.ndarray:
    """Returns the cells, bool [side, side], of the middle."""
    (top, bottom), (left, right) = ((round(a * side), round(b * side)) for a, b in (MIDDLE_ROWS, MIDDLE_COLUMNS))
    cells = np.zeros((side, side), bool)
    cells[top:bottom, left:right] = True
    return cells


def _reached(start: jax.Array, free: jax.Array) -> jax.Array:
    """Returns the cells, bool [N, side, side], that `STEPS` steps to one of eight neighbours reach, free ones only."""

    def step(_: int, reached: jax.Array) -> jax.Array:
        for axis in (1, 2):
            padding = [(0, 0), (1, 1) if axis == 1 else (0, 0), (1, 1) if axis == 2 else (0, 0)]
            around = jnp.pad(reached, padding)
            before, after = (lax.slice_in_dim(around, i, i + reached.shape[axis], axis=axis) for i in (0, 2))
            reached = reached | before | after
        return reached & free

    return lax.fori_loop(0, STEPS, step, start)
