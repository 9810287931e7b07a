"""Gives the avatars that a student learns from the colours of the photo's skin and hair.

CycleGAN draws nearly everybody in the commonest skin colours of its avatars. The framing of training is the same for
all, so that fixed places of the picture are cheeks and hair, in photos and avatars alike.
"""

import jax
import jax.numpy as jnp

from bitmoji_jax.ops.image import resize

# Top, bottom, left and right as fractions of the picture.
_CHEEKS = (0.55, 0.68, 0.33, 0.67)
_HAIR = (0.10, 0.22, 0.35, 0.65)

_SHARE = 0.75
"""Of the way from the avatar's colour to the photo's: all of it would bring the photo's light into the avatar too."""
_REACH = 0.25
"""Distance in colour, of a range from -1 to 1, at which a pixel takes 60 % of the change."""
_WHITE = 0.9  # least value of the darkest channel of the background
_LEAST = 0.2  # share of a place that must not be background
_UNLIKE_SKIN, _ALIKE = 0.35, 0.6  # least distance of hair from skin, or it is a forehead; largest of hair from hair


def recolour(avatar: jax.Array, photo: jax.Array) -> jax.Array:
    """Moves the colours of skin and of hair towards those of the photo.

    Args:
      avatar: float32 [S, S, 3] in [-1, 1].
      photo: float32 [H, H, 3] in [-1, 1], framed like it, any H.

    Returns:
      float32 [S, S, 3] in [-1, 1]. Pixels change as far as they have the colour of the avatar's cheeks, or of the hair
      above its forehead; lines, eyes and mouth stay.
    """
    photo = resize(photo[None], avatar.shape[0])[0]
    skin, hair = _median(avatar, _CHEEKS), _median(avatar, _HAIR)
    skin_wanted, hair_wanted = _median(photo, _CHEEKS), _median(photo, _HAIR)
    both_hair = (_distance(hair, skin) > _UNLIKE_SKIN) & (_distance(hair_wanted, skin_wanted) > _UNLIKE_SKIN)
    hair_wanted = jnp.where(both_hair & (_distance(hair, hair_wanted) < _ALIKE), hair_wanted, hair)
    return _moved(_moved(avatar, skin, skin_wanted), hair, hair_wanted)


def _moved(avatar: jax.Array, colour: jax.Array, wanted: jax.Array) -> jax.Array:
    distance = jnp.sum(jnp.square(avatar - colour), axis=-1, keepdims=True)
    change = _SHARE * (wanted - colour) * jnp.exp(-distance / (2 * _REACH**2))
    return jnp.clip(jnp.where(jnp.isfinite(change), avatar + change, avatar), -1, 1)


def _distance(colour: jax.Array, other: jax.Array) -> jax.Array:
    return jnp.linalg.norm(colour - other)


def _median(image: jax.Array, place: tuple[float, float, float, float]) -> jax.Array:
    """The median colour [3] of what is not background in a place; NaN where that is too little."""
    top, bottom, left, right = (round(fraction * image.shape[0]) for fraction in place)
    pixels = image[top:bottom, left:right].reshape(-1, 3)
    person = pixels.min(axis=-1) < _WHITE
    median = jnp.nanmedian(jnp.where(person[:, None], pixels, jnp.nan), axis=0)
    return jnp.where(jnp.mean(person) >= _LEAST, median, jnp.nan)
