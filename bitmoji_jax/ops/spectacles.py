"""The shape of glasses at the eyes of a face, as signed distances: negative inside.

Lengths are in distances between the eyes, and coordinates are in the face's own frame: the origin between the eyes, x
along them, y down.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bitmoji_jax.ops.image import pixels_in_frame

LEAST_DISTANCE = 0.05
"""The least distance between eyes that is believed, as a share of the side."""
TEMPLE = 1.1  # where they end at the sides


class Frame(NamedTuple):
    """Measures of glasses."""

    width: float | jax.Array  # half of a lens
    height: float | jax.Array  # half of a lens
    corner: float | jax.Array  # radius of a lens's corners
    rim: float | jax.Array  # width of the lines
    drop: float | jax.Array  # of the lenses below the eyes


def face_frame(eyes: jax.Array, size: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns x and y [S, S] of the pixels in the frame of a face, and a pixel's length.

    `eyes` [2, 2] are x and y as fractions of the side, the image's left one first.
    """
    centre, across = eyes.mean(0), eyes[1] - eyes[0]
    distance = jnp.linalg.norm(across)
    cosine, sine = jnp.where(distance > 0, across / jnp.maximum(distance, 1e-6), jnp.array([1.0, 0.0]))
    distance = jnp.maximum(distance, LEAST_DISTANCE)
    x, y = pixels_in_frame(size, centre, cosine, sine, distance)
    return x, y, 1 / (size * distance)


def spectacles(x: jax.Array, y: jax.Array, frame: Frame) -> tuple[jax.Array, jax.Array]:
    """Returns the distances to the lenses, and to rims, bridge and temples, of points with coordinates x and y."""
    width, height, corner, rim, drop = frame
    side = jnp.abs(x)  # both halves are alike
    across, down = jnp.abs(side - 0.5) - width + corner, jnp.abs(y - drop) - height + corner
    lens = rounded(across, down, corner)
    bridge = jnp.hypot(jnp.maximum(side - (0.5 - width), 0), y - drop + height / 4)
    temple = jnp.hypot(jnp.maximum(jnp.maximum(0.5 + width - side, side - TEMPLE), 0), y - drop + height / 3)
    return lens, jnp.minimum(jnp.minimum(jnp.abs(lens), bridge), temple) - rim / 2


def rounded(across: jax.Array, down: jax.Array, corner: float | jax.Array) -> jax.Array:
    """Returns the distance to a box with round corners, from the distances to its sides moved in by `corner`."""
    outside = jnp.hypot(jnp.maximum(across, 0), jnp.maximum(down, 0))
    return outside + jnp.minimum(jnp.maximum(across, down), 0) - corner


def paint(image: jax.Array, colour: jax.Array, distance: jax.Array, pixel: jax.Array, opacity: jax.Array) -> jax.Array:
    """Paints a shape, given by its distance [S, S], onto an image [S, S, 3], with a colour [3] or [S, S, 3].

    `pixel` is a pixel's length; edges are that soft.
    """
    cover = opacity * jnp.clip(0.5 - distance / pixel, 0, 1)
    return image + cover[..., None] * (colour - image)
