"""The last step from photo to avatar: glasses, drawn over the eyes where the person wears some.

Avatars with glasses are few, and lines so thin are learned last of all. Drawn, they are sharp, at the eyes, and can be
put on and taken off. They have the shape that most glasses of bitmojis have.
"""

import jax
import jax.numpy as jnp

from bitmoji_jax.ops.spectacles import Frame, face_frame, paint, spectacles

FRAME = Frame(width=0.4, height=0.31, corner=0.17, rim=0.085, drop=0.03)
COLOUR, LIGHT = -0.93, -0.55  # grey levels of the rims, and of the line in their middle that makes them look round
LIGHT_WIDTH = 0.02


def wear_glasses(avatars: jax.Array, eyes: jax.Array, worn: jax.Array) -> jax.Array:
    """Draws glasses over avatars, float32 [N, S, S, 3] in [-1, 1], at the eyes [N, 2, 2], where `worn` [N] is above 0.

    Eyes are x and y as fractions of the side, the image's left one first.
    """
    return jnp.where(worn[:, None, None, None] > 0, jax.vmap(_draw)(avatars, eyes), avatars)


def _draw(avatar: jax.Array, eyes: jax.Array) -> jax.Array:
    x, y, pixel = face_frame(eyes, avatar.shape[0])
    _, frame = spectacles(x, y, FRAME)
    avatar = paint(avatar, jnp.full(3, COLOUR), frame, pixel, jnp.ones(()))
    middle = frame + (FRAME.rim - LIGHT_WIDTH) / 2
    return paint(avatar, jnp.full(3, LIGHT), middle, pixel, jnp.ones(()))
