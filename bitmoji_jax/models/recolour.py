"""The last step from photo to avatar: skin and hair take the colours of the photo.

Networks learn from unpaired images that nearly everybody has the commonest colours. The framing of photos and avatars
is the same for all, so that fixed places of the picture are cheeks and hair.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bitmoji_jax.ops.image import resize

SIZE = 64
"""Side in pixels at which colours are measured."""


class Place(NamedTuple):
    """A part of the picture, as fractions of its side, and which of its pixels count most."""

    top: float
    bottom: float
    left: float
    right: float
    light: float
    """Weight of light pixels, by standard deviations of brightness; below 0: of dark ones."""


CHEEKS = Place(0.55, 0.68, 0.33, 0.67, light=2.0)  # shadows do not change the lightest pixels
HAIR = Place(0.05, 0.20, 0.20, 0.80, light=-1.0)  # foreheads and highlights are lighter than hair

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
WHITE, WHITE_SLOPE = 0.9, 40.0  # of the darkest channel: half-way from a person's pixels to white ones
NEAR, STEPS = 0.3, 2  # distance of colours that count as one, of a range from -1 to 1; how often their mean is taken
SMALLEST = 1e-3

# Mean of the cheeks of 800 bitmojis, and how much of a photo's difference from it is that of a person, where its light
# adds a variance of 0.006 to each channel: C (C + 0.006 I)^-1, with C the covariance of the cheeks.
USUAL_SKIN = np.array([0.822, 0.35, 0.044], np.float32)
SKIN_GAIN = np.array([[0.659, 0.269, 0.037], [0.269, 0.404, 0.277], [0.037, 0.277, 0.677]], np.float32)

HAIR_SHARE = 0.75  # of the way from the avatar's colour to the photo's, whose highlights count too
REACH = 0.25  # distance from the colour at which a pixel takes 60 % of the change
# Grid of the surroundings of a pixel; share of them with the colour from which a pixel takes the whole change. Where a
# line borders on skin, pixels between them may have the colour of hair.
AROUND, AROUND_SHARE = 16, 0.4
LEAST = 0.2  # share of a place that must not be white
UNLIKE_SKIN, ALIKE = 0.35, 0.6  # least distance of hair from skin, or it is a forehead; largest of hair from hair


def recolour(avatar: jax.Array, photo: jax.Array) -> jax.Array:
    """Moves the colours of skin and of hair to those of the photo.

    Skin becomes the likeliest colour of a bitmoji's, given the photo's: light that makes a face grey, red or blue is
    mostly taken out, how dark it is stays.

    Args:
      avatar: float32 [S, S, 3] in [-1, 1].
      photo: float32 [H, H, 3] in [-1, 1], framed like it, any H.

    Returns:
      float32 [S, S, 3] in [-1, 1]. Pixels change as far as they and their surroundings have the colour of the avatar's
      cheeks, or of the hair above its forehead; lines, eyes and mouth stay.
    """
    small, photo = (resize(image[None], SIZE)[0] for image in (avatar, photo))
    (skin, has_skin), (hair, has_hair) = (colour_in(small, place) for place in (CHEEKS, HAIR))
    (photo_skin, photo_has_skin), (photo_hair, photo_has_hair) = (colour_in(photo, place) for place in (CHEEKS, HAIR))
    skins = has_skin & photo_has_skin
    are_hair = (_distance(hair, skin) > UNLIKE_SKIN) & (_distance(photo_hair, photo_skin) > UNLIKE_SKIN)
    hairs = skins & has_hair & photo_has_hair & are_hair & (_distance(hair, photo_hair) < ALIKE)
    avatar = _moved(avatar, skin, skins * (likely_skin(photo_skin) - skin))
    return _moved(avatar, hair, hairs * HAIR_SHARE * (photo_hair - hair))


def repaint(avatar: jax.Array, skin: jax.Array, hair: jax.Array) -> jax.Array:
    """Moves the colours of skin and of hair to those that are wanted, [3] each in [-1, 1], as `recolour` does.

    A network that is told colours paints with nearly these.
    """
    small = resize(avatar[None], SIZE)[0]
    (old_skin, has_skin), (old_hair, has_hair) = (colour_in(small, place) for place in (CHEEKS, HAIR))
    hairs = has_skin & has_hair & (_distance(old_hair, old_skin) > UNLIKE_SKIN)
    avatar = _moved(avatar, old_skin, has_skin * (skin - old_skin))
    return _moved(avatar, old_hair, hairs * (hair - old_hair))


def likely_skin(colour: jax.Array) -> jax.Array:
    """Returns the likeliest skin colour [3] of a bitmoji's, given that of a photo's cheeks, both from -1 to 1."""
    usual = jnp.asarray(USUAL_SKIN)
    return usual + jnp.asarray(SKIN_GAIN) @ (colour - usual)


def colour_in(image: jax.Array, place: Place) -> tuple[jax.Array, jax.Array]:
    """Measures the commonest colour of a person in a place of a picture, float32 [`SIZE`, `SIZE`, 3] in [-1, 1].

    Returns:
      The colour [3], and whether enough of the place is not white.
    """
    pixels = image[box(place)].reshape(-1, 3)
    person = jax.nn.sigmoid(WHITE_SLOPE * (WHITE - pixels.min(axis=-1)))
    brightness = pixels @ LUMA
    brightness -= _mean(person, brightness[:, None])[0]
    deviation = jnp.sqrt(_mean(person, jnp.square(brightness)[:, None])[0] + SMALLEST)
    colour = _mean(person * jax.nn.sigmoid(place.light * brightness / deviation), pixels)
    for _ in range(STEPS):  # mean shift
        distance = jnp.sum(jnp.square(pixels - colour), axis=-1)
        colour = _mean(person * jnp.exp(-distance / (2 * NEAR**2)), pixels)
    return colour, jnp.mean(person) >= LEAST


def box(place: Place) -> tuple[slice, slice]:
    """Returns the rows and columns of a place in a picture of `SIZE` pixels."""
    top, bottom, left, right = (round(fraction * SIZE) for fraction in place[:4])
    return slice(top, bottom), slice(left, right)


def _mean(weights: jax.Array, values: jax.Array) -> jax.Array:
    """The weighted mean [C] of values [N, C]; 0 where no weight is."""
    return weights @ values / (jnp.sum(weights) + SMALLEST)


def _moved(avatar: jax.Array, colour: jax.Array, change: jax.Array) -> jax.Array:
    distance = jnp.sum(jnp.square(avatar - colour), axis=-1, keepdims=True)
    near = jnp.exp(-distance / (2 * REACH**2))
    around = resize(resize(near[None], AROUND), len(avatar))[0]
    return jnp.clip(avatar + change * near * jnp.minimum(around / AROUND_SHARE, 1), -1, 1)


def _distance(colour: jax.Array, other: jax.Array) -> jax.Array:
    return jnp.linalg.norm(colour - other)
