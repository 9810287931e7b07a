"""The last step from photo to avatar: a knitted hat, drawn over the hair where one is worn.

Bitmojis with hats are few and each has another, so a student draws none.
"""

import jax
import jax.numpy as jnp

from bitmoji_jax.ops.spectacles import face_frame, paint, rounded

EDGE, SAG = 0.6, 0.08
"""The lower edge above the eyes, just over the brows, and how much lower it is at the sides; all lengths are distances
between the eyes."""
LEAST_WIDTH, MOST_WIDTH, SPARE = 1.15, 1.5, 0.06
"""Half of a hat's width: that of the head and its hair in a band above the edge and `SPARE` more, within limits."""
BAND = 0.35  # height of that band
SLOPE = 40.0  # of a pixel's share from a person to white, over its darkest channel
PERSON = 0.85  # the darkest channel half-way
CROWN_HEIGHT = 1.22  # above the edge
CUFF_HEIGHT, CORNER = 0.42, 0.14  # of the turned-up border, and the radius of its corners
NARROWER = 0.08  # half of the crown's width is less than the border's
LINE = 0.045  # width of outlines
OUTLINE, SURROUNDINGS = -0.93, 1.0  # grey levels
CUFF_SHADE = 0.8  # of the crown's light
COLOUR = (-0.55, -0.38, 0.02)
"""A dull blue, for who wears none in the photo."""


def wear_hats(avatars: jax.Array, eyes: jax.Array, worn: jax.Array, colours: jax.Array) -> jax.Array:
    """Draws hats over avatars, float32 [N, S, S, 3] in [-1, 1], where `worn` [N] is above 0.

    Eyes are [N, 2, 2], x and y as fractions of the side, the image's left one first; `colours` [N, 3] in [-1, 1] are
    those of crowns.
    """
    worn = worn > 0

    def draw() -> jax.Array:
        return jnp.where(worn[:, None, None, None], jax.vmap(_draw)(avatars, eyes, colours), avatars)

    return jax.lax.cond(worn.any(), draw, lambda: avatars)  # it takes 3 of 43 ms on two cores


def _draw(avatar: jax.Array, eyes: jax.Array, colour: jax.Array) -> jax.Array:
    x, y, pixel = face_frame(eyes, avatar.shape[0])
    opaque = jnp.ones(())
    above = -y - EDGE
    person = jax.nn.sigmoid(SLOPE * (PERSON - avatar.min(axis=-1)))
    width = jnp.sum(jnp.where((above > 0) & (above < BAND), person, 0.0)) * pixel**2 / (2 * BAND)
    width = jnp.clip(width + SPARE, LEAST_WIDTH, MOST_WIDTH)

    above = above + SAG * jnp.square(x / width)
    avatar = paint(avatar, jnp.full(3, SURROUNDINGS), -above, pixel, opaque)  # what is left of the hair
    crown = (jnp.hypot(x / (width - NARROWER), above / CROWN_HEIGHT) - 1) * CROWN_HEIGHT
    crown = jnp.maximum(crown, -above)
    across = jnp.abs(x) - width + CORNER
    up = jnp.abs(above - CUFF_HEIGHT / 2) - CUFF_HEIGHT / 2 + CORNER
    for shape, light in ((crown, 1.0), (rounded(across, up, CORNER), CUFF_SHADE)):
        avatar = paint(avatar, jnp.full(3, OUTLINE), shape - LINE, pixel, opaque)
        avatar = paint(avatar, (colour + 1) * light - 1, shape, pixel, opaque)
    return avatar
