"""Glasses, hats, hands and microphones drawn over a face, on the device.

Each function takes a photo [S, S, 3] in [-1, 1], a key, and the eyes [2, 2]: x and y as fractions, the image's left one
first. Lengths are in distances between the eyes; shapes are signed distances, negative inside, with edges of one pixel.
"""

import jax
import jax.numpy as jnp

from bitmoji_jax.data.roughen import draw
from bitmoji_jax.ops.spectacles import Frame, face_frame, paint, spectacles

# Glasses: half of the lens's width and height, roundness (1: an ellipse's corners), width of the rim.
_LENS_WIDTH, _LENS_HEIGHT, _ROUND, _RIM = (0.32, 0.46), (0.2, 0.42), (0.3, 1.0), (0.03, 0.09)
_DARK_SHARE = 0.35  # of glasses are sunglasses; the others are clear
# Hats: the lower edge above the eyes (the brow line is at about 0.48), half of the width and height of the crown.
_HAT_EDGE, _CROWN_WIDTH, _CROWN_HEIGHT = (0.45, 0.8), (1.05, 1.4), (0.8, 1.6)
_BRIM_WIDTH, _BRIM_HEIGHT = (0.9, 1.7), (0.05, 0.22)  # in crown widths; half of the height
_MICROPHONE_SHARE = 0.35  # of what is held before the chin; the others are hands


def _capsule(x: jax.Array, y: jax.Array, start: jax.Array, end: jax.Array, radius: jax.Array) -> jax.Array:
    """Returns the distance to a line from `start` to `end` [2] with round ends."""
    along = end - start
    share = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / jnp.maximum(along @ along, 1e-6)
    share = jnp.clip(share, 0, 1)
    return jnp.hypot(x - start[0] - share * along[0], y - start[1] - share * along[1]) - radius


def glasses(image: jax.Array, key: jax.Array, eyes: jax.Array) -> jax.Array:
    """Draws glasses at the eyes: two rounded rims, bridge and temples, dark or coloured, sometimes with dark lenses."""
    shape_key, colour_key, tint_key = jax.random.split(key, 3)
    x, y, pixel = face_frame(eyes, image.shape[0])
    width, height, roundness, rim, drop = draw(shape_key, _LENS_WIDTH, _LENS_HEIGHT, _ROUND, _RIM, (0, 0.08))
    lens, frame = spectacles(x, y, Frame(width, height, roundness * jnp.minimum(width, height), rim, drop))

    *bright, dark, coloured = draw(colour_key, *[(-1, 1)] * 3, (-1, -0.6), (0, 1))
    colour = jnp.where(coloured < 0.35, jnp.stack(bright), dark)
    is_dark, shade, warmth, opacity = draw(tint_key, (0, 1), (-1, -0.5), (0, 0.2), (0.5, 0.98))
    lens_colour = shade + warmth * jnp.array([1.0, 0.5, 0.0])
    image = paint(image, lens_colour, lens, pixel, jnp.where(is_dark < _DARK_SHARE, opacity, 0))
    return paint(image, colour, frame, pixel, jnp.ones(()))


def hat(image: jax.Array, key: jax.Array, eyes: jax.Array) -> jax.Array:
    """Draws a hat above the brow line: a crown in one colour, with or without a band and a brim."""
    shape_key, brim_key, colour_key = jax.random.split(key, 3)
    x, y, pixel = face_frame(eyes, image.shape[0])
    edge, width, height, power = draw(shape_key, _HAT_EDGE, _CROWN_WIDTH, _CROWN_HEIGHT, (2, 5))
    brim_width, brim_height, offset, has_brim, has_band, band = draw(
        brim_key, _BRIM_WIDTH, _BRIM_HEIGHT, (-0.3, 0.3), (0, 1), (0, 1), (0.1, 0.35)
    )
    colours = jax.random.uniform(colour_key, (2, 3), minval=-1, maxval=0.9)  # the crown's and the band's; no white

    above = -edge - y  # height over the lower edge
    radius = (jnp.abs(x / width) ** power + jnp.abs(above / height) ** power) ** (1 / power)
    crown = jnp.maximum((radius - 1) * jnp.minimum(width, height), -above)
    # Round to the sides: the outer parts are darker.
    shade = 1 - 0.45 * jnp.clip(jnp.abs(x / width), 0, 1)[..., None] ** 2
    image = paint(image, (colours[0] + 1) * shade - 1, crown, pixel, jnp.ones(()))
    strip = jnp.maximum(crown, above - band)
    image = paint(image, (colours[1] + 1) * shade - 1, strip, pixel, jnp.where(has_band < 0.4, 1.0, 0.0))
    reach, thickness = width * brim_width, brim_height
    brim = (jnp.hypot((x - offset) / reach, above / thickness) - 1) * thickness
    return paint(image, (colours[0] + 1) * 0.75 - 1, brim, pixel, jnp.where(has_brim < 0.7, 1.0, 0.0))


def held_up(image: jax.Array, key: jax.Array, eyes: jax.Array) -> jax.Array:
    """Draws a hand in the colour of the face, or a microphone, from a lower corner up to the chin or the cheek."""
    place_key, shape_key, hand_key = jax.random.split(key, 3)
    size = image.shape[0]
    x, y, pixel = face_frame(eyes, size)
    left, tip_x, tip_y, from_x = draw(place_key, (0, 1), (0.05, 0.9), (0.9, 1.6), (0.9, 2.3))
    x = jnp.where(left < 0.5, -x, x)
    tip, corner = jnp.stack([tip_x, tip_y]), jnp.stack([from_x, jnp.float32(3.0)])

    # Skin is what the middle of the face is like on average.
    patch = jnp.exp(-(jnp.square(x / 0.4) + jnp.square((y - 0.5) / 0.3)))
    skin = jnp.einsum("ij,ijc->c", patch, image) / jnp.maximum(patch.sum(), 1e-6)
    is_microphone, finger, spread, bend, light, metal = draw(
        shape_key, (0, 1), (0.09, 0.14), (0.8, 1.1), (-0.4, 0.4), (0.85, 1.15), (-0.95, -0.3)
    )
    ball = jnp.hypot(x - tip[0], y - tip[1]) - 2.2 * finger
    microphone = jnp.minimum(ball, _capsule(x, y, tip, corner, finger))

    direction = (corner - tip) / jnp.maximum(jnp.linalg.norm(corner - tip), 1e-6)
    direction = direction + bend * jnp.array([1.0, -1.0]) * direction[::-1]
    normal = jnp.array([-1.0, 1.0]) * direction[::-1]
    lengths = jax.random.uniform(hand_key, (4,), minval=-0.15, maxval=0.15)
    hand = _capsule(x, y, tip + 0.9 * direction, corner, 3.2 * finger)
    for i in range(4):
        root = tip + (i - 1.5) * 2 * spread * finger * normal
        hand = jnp.minimum(hand, _capsule(x, y, root + lengths[i] * direction, root + 0.9 * direction, finger))

    shape = jnp.where(is_microphone < _MICROPHONE_SHARE, microphone, hand)
    colour = jnp.where(is_microphone < _MICROPHONE_SHARE, metal, (skin + 1) * light - 1)
    # Darker towards the outline, so that fingers are seen apart.
    relief = 0.75 + 0.25 * jnp.clip(-shape / finger, 0, 1)
    return paint(image, (colour + 1) * relief[..., None] - 1, shape, pixel, jnp.ones(()))
