"""A first step from photo to avatar: whether the mouth is open is drawn into the photo, so that a student sees it.

A mouth has some 15 of the 64 pixels of a photo's side, and a student that is told by a number alone overlooks that
number. A mark is where the mouth is: an open one is painted white with a dark edge, closed lips are smoothed.
"""

import jax
import jax.numpy as jnp

from bitmoji_jax.ops.image import pixels_in_frame

CORNERS, INNER_LIPS = slice(3, 5), slice(5, 7)
"""Of the points of a face (models/face_points.py)."""
OPEN = 0.07
"""Distance of the inner lips over that of the corners, above which a photo's mouth counts as open."""

LIPS, SMOOTHED = (0.62, 0.34), (0.5, 0.21)
"""Half of the width and height of what is smoothed of closed lips, and of what gives the colour; in distances of the
corners."""
RIM, TEETH = (0.55, 0.3), (0.45, 0.2)
"""The same of an open mouth: of its dark edge, and of the white inside."""
DARK, WHITE = (-0.45, -0.84, -0.84), 0.92
OPACITY = 0.9  # of what closed lips are smoothed with
SOFTNESS = 0.1  # of edges, as a share of half of the width
LEAST_WIDTH = 0.03
"""The least distance of the corners that is believed, as a share of the side."""

_TEETH_ROWS, _TEETH_COLUMNS = (0.62, 0.85), (0.36, 0.64)  # of an avatar, as shares of its side, around the mouth
_TEETH_WHITE = 215 / 127.5 - 1
_FEW_TEETH, _MANY_TEETH = 0.006, 0.02  # shares of these rows and columns


def mouth_of_photo(points: jax.Array) -> jax.Array:
    """Tells from the points [N, POINTS, 2] of photos how far mouths are open: [N], from -1 (closed) to 1 (open)."""
    (left, right), (upper, lower) = (jnp.moveaxis(points[:, pair], 1, 0) for pair in (CORNERS, INNER_LIPS))
    width = jnp.maximum(jnp.linalg.norm(right - left, axis=-1), LEAST_WIDTH)
    return jnp.clip(jnp.linalg.norm(lower - upper, axis=-1) / (OPEN * width) - 1, -1, 1)


def mouth_of_avatar(avatar: jax.Array) -> jax.Array:
    """Tells from the teeth of an avatar [S, S, 3] in [-1, 1] whether its mouth is open: 1, closed -1, unsure 0.

    Of 1,085 real bitmojis of 256 px, 98.6 % are told as `metrics.mouth` does, and one is unsure.
    """
    size = avatar.shape[0]
    (top, bottom), (left, right) = (
        (int(start * size), int(end * size)) for start, end in (_TEETH_ROWS, _TEETH_COLUMNS)
    )
    teeth = jnp.mean(avatar[top:bottom, left:right].min(axis=-1) > _TEETH_WHITE)
    return jnp.where(teeth > _MANY_TEETH, 1.0, jnp.where(teeth < _FEW_TEETH, -1.0, 0.0))


def mark_mouths(photos: jax.Array, points: jax.Array, opened: jax.Array) -> jax.Array:
    """Draws marks into photos, float32 [N, S, S, 3] in [-1, 1], at the mouths of their points [N, POINTS, 2].

    `opened` [N] is above 0 for the mark of an open mouth, below for that of closed lips, and 0 for none.
    """
    return jax.vmap(_mark)(photos, points, opened)


def _mark(photo: jax.Array, points: jax.Array, opened: jax.Array) -> jax.Array:
    left, right = points[CORNERS]
    middle, across = points[CORNERS.start : INNER_LIPS.stop].mean(axis=0), right - left
    width = jnp.maximum(jnp.linalg.norm(across), LEAST_WIDTH)
    cosine, sine = across / width
    x, y = pixels_in_frame(photo.shape[0], middle, cosine, sine, width)

    def inside(half: tuple[float, float]) -> jax.Array:
        return jax.nn.sigmoid((1 - jnp.hypot(x / half[0], y / half[1])) / SOFTNESS)[..., None]

    lips = inside(SMOOTHED)
    colour = jnp.sum(photo * lips, axis=(0, 1)) / jnp.maximum(jnp.sum(lips), 1e-6)
    closed = photo + OPACITY * inside(LIPS) * (colour - photo)
    mouth = photo + inside(RIM) * (jnp.array(DARK) - photo)
    mouth = mouth + inside(TEETH) * (WHITE - mouth)
    return jnp.where(opened > 0, mouth, jnp.where(opened < 0, closed, photo))
