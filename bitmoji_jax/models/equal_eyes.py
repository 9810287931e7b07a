"""A late step from photo to avatar: both eyes are alike, each the mirror image of the other.

A student often draws one eye of women with short or pinned hair as a smeared patch, always the one that is left in the
picture: it knows few such avatars. The other eye is whole, and those of bitmojis are mirror images.
"""

import jax
import jax.numpy as jnp

from bitmoji_jax.ops.image import read_between
from bitmoji_jax.ops.spectacles import face_frame

EYE = 0.38, 0.24
"""Half of the width and height of what is mirrored, in distances between the eyes: less than to hair and brows."""
SOFTNESS = 0.12  # of its edge, as a share of half of the width


def equal_eyes(avatars: jax.Array, eyes: jax.Array) -> jax.Array:
    """Puts the mirror image of the right eye in the place of the left one.

    Avatars are float32 [N, S, S, 3] in [-1, 1]; eyes [N, 2, 2] are x and y as fractions of the side, the image's left
    one first.
    """
    return jax.vmap(_mirror)(avatars, eyes)


def _mirror(avatar: jax.Array, eyes: jax.Array) -> jax.Array:
    size, across = avatar.shape[0], eyes[1] - eyes[0]
    x, y, pixel = face_frame(eyes, size)
    left = jax.nn.sigmoid((1 - jnp.hypot((x + 0.5) / EYE[0], y / EYE[1])) / SOFTNESS)
    # The place of each pixel on the other side of the line between the eyes.
    right, down = across / jnp.maximum(jnp.linalg.norm(across), 1e-6)
    step, pixels = 2 * x / pixel, jnp.arange(size)
    mirrored = read_between(avatar, (pixels[:, None] - step * down, pixels[None, :] - step * right), "nearest")
    return avatar + left[..., None] * (mirrored - avatar)
