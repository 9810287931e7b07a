"""Whether a mouth is open, in a photo or an avatar: from -1 (closed) to 1, as in a guide (models/reader.py)."""

import jax
import jax.numpy as jnp

CORNERS, LIPS = slice(3, 5), slice(5, 7)  # of the points of models/face_points.py
LEAST_WIDTH = 1e-6  # of a mouth

HALF_OPEN, SLOPE = 0.07, 0.03  # of a photo: distance of the inner lips over the mouth's width; from 0 to open
# An avatar's mouth is open where it shows teeth, which are white: their place in the mouth's own frame, the origin
# between the corners, u to the right and v down, both in widths of the mouth; and their area over the width squared.
_TEETH_U, _TEETH_V, _TEETH_AREA = 0.4, (-0.15, 0.45), 0.008  # open mouths have 0.02 and more, closed ones 0
_WINDOW_U, _WINDOW_V = 0.7, (-0.35, 0.6)
_WHITE, _WHITE_SLOPE = 0.8, 60.0  # of the darkest channel


def photo_mouth(points: jax.Array) -> jax.Array:
    """Tells whether a mouth is open from the points [POINTS, 2] of a photo: float32 [] in [-1, 1]."""
    opening, width = (jnp.linalg.norm(points[pair][1] - points[pair][0]) for pair in (LIPS, CORNERS))
    return jnp.clip((opening / jnp.maximum(width, LEAST_WIDTH) - HALF_OPEN) / SLOPE, -1, 1)


def avatar_mouth(avatar: jax.Array, points: jax.Array) -> jax.Array:
    """Tells whether the mouth of an avatar [S, S, 3] in [-1, 1] is open, from its teeth: float32 [] in [-1, 1].

    The lips' points cannot tell it: the mesh network sees closed lips of drawn faces apart.

    Args:
      avatar: with at least 128 pixels a side, or teeth are blurred with the lines around them.
      points: [POINTS, 2], x and y as fractions, of models/face_points.py.
    """
    u, v, width = _frame(points, avatar.shape[0])
    mouth = (jnp.abs(u) < _TEETH_U) & (v > _TEETH_V[0]) & (v < _TEETH_V[1])
    white = jax.nn.sigmoid(_WHITE_SLOPE * (avatar.min(axis=-1) - _WHITE))
    return jnp.clip(jnp.mean(white * mouth) / width**2 / _TEETH_AREA - 1, -1, 1)


def mouth_window(points: jax.Array, size: int) -> jax.Array:
    """Returns bool [size, size]: the pixels of an avatar where its mouth with points [POINTS, 2] is, open or closed."""
    u, v, _ = _frame(points, size)
    return (jnp.abs(u) < _WINDOW_U) & (v > _WINDOW_V[0]) & (v < _WINDOW_V[1])


def _frame(points: jax.Array, size: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The mouth's own frame: u and v of all pixels [size, size], and its width as a fraction of the side."""
    left, right = points[CORNERS]
    width = jnp.maximum(jnp.linalg.norm(right - left), LEAST_WIDTH)
    (dx, dy), (mid_x, mid_y) = (right - left) / width**2, (left + right) / 2
    pixels = (jnp.arange(size) + 0.5) / size
    x, y = pixels[None, :] - mid_x, pixels[:, None] - mid_y
    return x * dx + y * dy, y * dx - x * dy, width
