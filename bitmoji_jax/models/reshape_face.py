"""A late step from photo to avatar: the points of the avatar's face are moved to where they should be for the photo.

A network that learns from unpaired images draws nearly everybody the usual face. A small smooth change of the drawing
gives it the points of another, and leaves lines as they are.
"""

from typing import Any

import jax
import jax.numpy as jnp

from bitmoji_jax.models.face_points import POINTS, Transport, from_eyes, measure
from bitmoji_jax.ops.image import read_between

REACH = 0.12
"""Standard deviation, as a fraction of the side, of the surroundings that a point takes along."""
LARGEST = 0.06
"""Change of a point's x or y, as a fraction of the side: more is an error of measurement, and would tear the face."""
STIFFNESS = 0.02
"""Of a fit to all points, as a share: where two that are near should move apart, both give way."""


def reshape_faces(avatars: jax.Array, of_photos: jax.Array, transport: Any) -> tuple[jax.Array, jax.Array]:
    """Moves the points of the avatars' faces to where they should be for the photos; the eyes' middle stays.

    Args:
      avatars: float32 [N, S, S, 3] in [-1, 1].
      of_photos: the points [N, POINTS, 2] of the photos.
      transport: the parameters of the network t (models/face_points.py).

    Returns:
      float32 [N, S, S, 3] in [-1, 1], and their points [N, POINTS, 2] now.
    """
    (of_photos, _), (of_avatars, eyes) = from_eyes(of_photos), from_eyes(measure(avatars))
    usual = transport["params"]["target"].reshape(POINTS, 2)
    left = jnp.clip(Transport().apply(transport, of_photos) - of_avatars, -LARGEST, LARGEST)
    return jax.vmap(move)(avatars, mixing(usual) @ left, eyes + usual), eyes + of_avatars + left


def move(avatar: jax.Array, shifts: jax.Array, places: jax.Array) -> jax.Array:
    """Shifts what is around places of an avatar [S, S, 3], float32 [P, 2] both, x and y as fractions of the side.

    The shifts of all places are added, each with a weight that falls off as a normal distribution does.
    """
    size = avatar.shape[0]
    centres = (jnp.arange(size) + 0.5) / size
    across, down = jnp.moveaxis(jnp.exp(-jnp.square((centres - places[..., None]) / REACH) / 2), 1, 0)  # [P, S]
    field = jnp.einsum("pd,py,px->dyx", shifts, down, across)
    pixels = jnp.arange(size)
    columns, rows = pixels[None, :] - size * field[0], pixels[:, None] - size * field[1]
    return read_between(avatar, (rows, columns), "nearest")


def mixing(places: jax.Array) -> jax.Array:
    """Returns the matrix [P, P] from wanted shifts of places [P, 2] to those that `move` should be given."""
    squared = jnp.sum(jnp.square(places[:, None] - places), axis=-1)
    return jnp.linalg.inv(jnp.exp(-squared / (2 * REACH**2)) + STIFFNESS * jnp.eye(len(places)))
