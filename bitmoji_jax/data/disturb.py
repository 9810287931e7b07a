"""Faults of photos as people take them, put into a photo on the device: light, surroundings, framing, accessories.

A network that is to give the same avatar for the photo with and without them learns to look past them.
"""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from bitmoji_jax.data.accessories import glasses, hat, held_up
from bitmoji_jax.data.roughen import add_noise, blur, draw, jpeg, lower_resolution, sometimes
from bitmoji_jax.ops.batching import map_samples
from bitmoji_jax.ops.image import read_between

# How often each fault occurs.
_TILT_SHARE, _GLASSES_SHARE, _HAT_SHARE, _HELD_SHARE = 0.4, 0.05, 0.12, 0.1
_SHADOW_SHARE, _PATCH_SHADOW_SHARE, _LIGHT_SHARE = 0.65, 0.15, 0.6
_BACKDROP_SHARE, _CUT_SHARE = 0.2, 0.35
_FEW_PIXELS_SHARE, _BLUR_SHARE, _NOISE_SHARE, _JPEG_SHARE = 0.2, 0.3, 0.4, 0.3

# How strong they are.
_ANGLE, _SCALE = (-8.0, 8.0), (0.9, 1.1)  # degrees; errors of the face finder
_TURNED, _ZOOM, _OFFSET = (-7.0, 7.0), (0.93, 1.07), (-0.05, 0.05)  # what `displace` does; the last of the side
_DEPTH, _TINT = (0.2, 0.7), (0.0, 0.15)  # light that a shadow takes; how much less of it the blue loses
_EDGE = (-0.1, 0.35)  # of a shadow, from the centre: a part of the face stays lit, or its colour could not be told
_GAMMA, _GAIN, _BALANCE = (0.8, 1.25), (0.85, 1.15), (0.95, 1.05)  # the gain of all and of each channel
_CUT = (-0.19, 0.19)  # of the side, at each
_TIGHT_SHARE = 0.45  # of cuts leave only a face; the others are independent at each side
_ABOVE, _BESIDE, _BELOW = (0.3, 0.8), (0.9, 1.6), (1.4, 2.2)  # what they leave around the eyes, in eye distances
_WHITE_FILL_SHARE = 0.7  # of cuts; the others are grey
_TEXTURE_SHARE = 0.35  # of backdrops are a part of the photo itself, the others colours with noise
_FEWEST_PIXELS = 48.0
_BENDS, _BEND = 5, (0.0, 0.02)  # of the field along each side; standard deviation as a share of the image's side
_TURN, _NOD, _TURNING = 0.07, 0.03, (0.14, 0.24)  # of the side: largest shifts of a face; how far what moves reaches
_BLUR, _NOISE, _JPEG = (0.3 / 128, 1.3 / 128), (1.0, 10.0), (25.0, 85.0)  # share of the side; grey levels; quality

_NEARLY_WHITE = 0.93
"""The least value of the darkest channel of white surroundings: 246 of 255."""
_SOFT_EDGE = 0.7  # sigma in pixels between a person and another background

_USUAL_EYES = np.array([[0.375, 0.48], [0.625, 0.48]], np.float32)
"""Where alignment puts the eyes, for a photo without landmarks."""


def eyes_of(landmarks: jax.Array) -> jax.Array:
    """Returns the eyes [2, 2] of landmarks [5, 2], the usual ones where they are unknown."""
    return jnp.where(jnp.isnan(landmarks[:2]).any(), _USUAL_EYES, landmarks[:2])


def _grid(size: int) -> tuple[jax.Array, jax.Array]:
    """Returns x [1, S] and y [S, 1] of the centres of the pixels as fractions."""
    pixels = (jnp.arange(size) + 0.5) / size
    return pixels[None, :], pixels[:, None]


def _tilt(photo: tuple[jax.Array, jax.Array], key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Rotates and scales an image and points [P, 2] about the centre; what comes in from outside is white."""
    image, points = photo
    degrees, scale = draw(key, _ANGLE, _SCALE)
    places, points = _turn(image.shape[0], points, degrees, scale, jnp.zeros(2))
    return _sample(image, places), points


def displace(image: jax.Array, points: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Turns a photo [S, S, 3] and points [P, 2] by up to 7 degrees, scales them by up to 7 %, shifts them by up to 5 %.

    The photo's border goes on outside.
    """
    degrees, scale, right, down = draw(key, _TURNED, _ZOOM, _OFFSET, _OFFSET)
    places, points = _turn(image.shape[0], points, degrees, scale, jnp.stack([right, down]))
    return _sample(image, places, "nearest"), points


def _turn(
    size: int, points: jax.Array, degrees: jax.Array, scale: jax.Array, shift: jax.Array
) -> tuple[list[jax.Array], jax.Array]:
    """Rotates and scales about the centre, then shifts: rows and columns [S, S] to read, and points [P, 2]."""
    cosine, sine = jnp.cos(jnp.radians(degrees)), jnp.sin(jnp.radians(degrees))
    turn = jnp.stack([jnp.stack([cosine, -sine]), jnp.stack([sine, cosine])])
    x, y = (fractions - 0.5 - offset for fractions, offset in zip(_grid(size), shift, strict=True))
    columns, rows = ((a * x + b * y) / scale + 0.5 for a, b in ((cosine, sine), (-sine, cosine)))
    return [rows * size - 0.5, columns * size - 0.5], (points - 0.5) @ turn.T * scale + 0.5 + shift


def _shadow(image: jax.Array, key: jax.Array) -> jax.Array:
    """Casts a shadow with a straight edge, hard or soft, over one side of the image."""
    angle, edge, hardness, depth, tint = draw(key, (0, 2 * np.pi), _EDGE, (np.log(6), np.log(100)), _DEPTH, _TINT)
    x, y = _grid(image.shape[0])
    beyond = (x - 0.5) * jnp.cos(angle) + (y - 0.5) * jnp.sin(angle) - edge
    return _darken(image, jax.nn.sigmoid(beyond * jnp.exp(hardness)), depth, tint)


def _patch_shadow(image: jax.Array, key: jax.Array) -> jax.Array:
    """Casts the shadow of something small, an ellipse, over a part of the face."""
    angle, x0, y0, width, height, hardness, depth, tint = draw(
        key, (0, np.pi), *[(0.25, 0.75)] * 2, *[(0.08, 0.3)] * 2, (np.log(2), np.log(20)), _DEPTH, _TINT
    )
    x, y = _grid(image.shape[0])
    along = (x - x0) * jnp.cos(angle) + (y - y0) * jnp.sin(angle)
    across = (y - y0) * jnp.cos(angle) - (x - x0) * jnp.sin(angle)
    inside = 1 - jnp.hypot(along / width, across / height)
    return _darken(image, jax.nn.sigmoid(inside * jnp.exp(hardness)), depth, tint)


def _darken(image: jax.Array, shadow: jax.Array, depth: jax.Array, tint: jax.Array) -> jax.Array:
    """Takes the share `depth` of the light where `shadow` [S, S] is 1, of green and blue a little less."""
    taken = depth * (1 - tint * jnp.array([0.0, 0.5, 1.0]))
    return (image + 1) * (1 - shadow[..., None] * taken) - 1


def _shade(image: jax.Array, keys: Iterator[jax.Array]) -> jax.Array:
    """Casts both kinds of shadow, each with a probability of its own; takes two keys."""
    for share, fault in ((_SHADOW_SHARE, _shadow), (_PATCH_SHADOW_SHARE, _patch_shadow)):
        image = sometimes(share, fault, image, next(keys))
    return image


def cast_shadows(photo: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Casts shadows on the person of a photo [S, S, 3], or none; white surroundings stay white.

    Returns the photo with the shadows, and without; in both, the light has changed alike.
    """
    keys = iter(jax.random.split(key, 3))
    shaded = _shade(photo, keys)
    around = _soften(_white_around(photo))
    both = sometimes(_LIGHT_SHARE, _light, jnp.concatenate([shaded, photo]), next(keys))
    shaded, lit = (photo + (1 - around) * (each - photo) for each in jnp.split(both, 2))
    return shaded, lit


def _light(image: jax.Array, key: jax.Array) -> jax.Array:
    """Changes exposure, contrast and white balance: a gain for all and for each channel, then gamma; clipped."""
    gamma, gain, *balance = draw(key, _GAMMA, _GAIN, *[_BALANCE] * 3)
    light = jnp.clip((image + 1) / 2 * gain * jnp.stack(balance), 1e-3, 1)
    return 2 * light**gamma - 1


def _white_around(image: jax.Array) -> jax.Array:
    """Finds the nearly white pixels that nearly white pixels connect with the border, as bool [S, S].

    As `ops.background.white_background`, whose warning about persons in white holds here too.
    """
    white = image.min(-1) > _NEARLY_WHITE
    border = jnp.ones_like(white).at[1:-1, 1:-1].set(False)

    def grow(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        reached, _ = state
        around = jnp.pad(reached, 1)
        grown = around[2:, 1:-1] | around[:-2, 1:-1] | around[1:-1, 2:] | around[1:-1, :-2]
        grown = white & (reached | grown)
        return grown, jnp.any(grown != reached)

    return jax.lax.while_loop(lambda state: state[1], grow, (white & border, jnp.bool_(True)))[0]


def _soften(mask: jax.Array) -> jax.Array:
    """Widens a mask [S, S] by a pixel, so that it covers edges mixed with white, and blurs it: [S, S, 1] in [0, 1]."""
    rows = jnp.pad(mask, 1)
    rows = rows[2:] | rows[1:-1] | rows[:-2]
    wide = rows[:, 2:] | rows[:, 1:-1] | rows[:, :-2]
    return blur(wide.astype(jnp.float32)[..., None], jnp.float32(_SOFT_EDGE))


def _backdrop(image: jax.Array, key: jax.Array) -> jax.Array:
    """Draws a background [S, S, 3]: two colours with coarse and fine noise, or an enlarged part of the image."""
    colour_key, coarse_key, fine_key, choice_key = jax.random.split(key, 4)
    size = image.shape[0]
    texture, angle, strength, saturation, row, column, gain = draw(
        choice_key, (0, 1), (0, 2 * np.pi), (0, 1), (0.1, 1), (0.2, 0.75), (0.15, 0.6), (0.5, 1.2)
    )
    colours = jax.random.uniform(colour_key, (2, 3), minval=-1, maxval=1)
    greys = colours.mean(-1, keepdims=True)
    colours = greys + saturation * (colours - greys)
    x, y = _grid(size)
    share = ((x - 0.5) * jnp.cos(angle) + (y - 0.5) * jnp.sin(angle))[..., None] / 1.4 + 0.5
    painted = colours[0] + share * (colours[1] - colours[0])
    for noise_key, cells, deviation in ((coarse_key, 8, 0.4), (fine_key, size // 4, 0.25)):
        noise = jax.random.normal(noise_key, (cells, cells, 4)) * deviation * strength
        noise = noise[..., :1] + 0.4 * saturation * noise[..., 1:]  # of brightness, and less of colour
        painted += jax.image.resize(noise, image.shape, "cubic")

    quarter = size // 4
    corner = [(share * size).astype(jnp.int32) for share in (row, column)]
    part = jax.lax.dynamic_slice(image, (*corner, 0), (quarter, quarter, 3))
    part = (jax.image.resize(part[::-1], image.shape, "linear") + 1) * gain - 1
    return jnp.clip(jnp.where(texture < _TEXTURE_SHARE, part, painted), -1, 1)


def _cut(photo: tuple[jax.Array, jax.Array], key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cuts straight strips off the sides, or off all around a face; fills them with white or grey."""
    image, eyes = photo
    left, right, top, bottom, tight, above, before, beyond, below, fill, grey = draw(
        key, *[_CUT] * 4, (0, 1), _ABOVE, _BESIDE, _BESIDE, _BELOW, (0, 1), (-1, 1)
    )
    (eyes_x, eyes_y), distance = eyes.mean(0), jnp.linalg.norm(eyes[1] - eyes[0])
    loose = jnp.stack([left, 1 - right, top, 1 - bottom])
    portrait = jnp.stack([eyes_x, eyes_x, eyes_y, eyes_y]) + distance * jnp.stack([-before, beyond, -above, below])
    left, right, top, bottom = jnp.where(tight < _TIGHT_SHARE, portrait, loose)
    x, y = _grid(image.shape[0])
    kept = (x > left) & (x < right) & (y > top) & (y < bottom)
    return jnp.where(kept[..., None], image, jnp.where(fill < _WHITE_FILL_SHARE, 1.0, grey)), eyes


def bend(image: jax.Array, key: jax.Array) -> jax.Array:
    """Bends the person in an image [S, S, 3] in [-1, 1]; what comes in from outside is white.

    Eyes, nose and mouth are shifted within the head, as in a head that is turned: up to 7 % of the side to the left or
    right, 3 % up or down. A smooth random field with a standard deviation of up to 2 % of the side moves the rest.
    """
    size = image.shape[0]
    level_key, field_key = jax.random.split(key)
    turn, nod, reach, level = draw(level_key, (-_TURN, _TURN), (-_NOD, _NOD), _TURNING, _BEND)
    x, y = _grid(size)
    inner = jnp.exp(-(jnp.square(x - 0.5) + jnp.square(y - 0.6)) / (2 * jnp.square(reach)))
    field = jax.random.normal(field_key, (_BENDS, _BENDS, 2)) * level
    shift = jax.image.resize(field, (size, size, 2), "cubic") + inner[..., None] * jnp.stack([nod, turn])
    pixels = jnp.arange(size)
    return _sample(image, [pixels[:, None] + size * shift[..., 0], pixels[None, :] + size * shift[..., 1]])


def _sample(image: jax.Array, places: list[jax.Array], outside: str = "constant") -> jax.Array:
    """Reads an image at rows and columns [S, S] between its pixels; it is white outside, or `outside` says how."""
    return 1 + read_between(image - 1, places, outside)


def disturb_alike(photos: jax.Array) -> jax.Array:
    """Disturbs photos [N, S, S, 3] without known landmarks in the same way at each call: for sample grids."""
    keys = jax.random.split(jax.random.key(0), len(photos))
    unknown = jnp.full((len(photos), 5, 2), jnp.nan)
    return map_samples(lambda row: disturb_photo(*row), (photos, unknown, keys))


def disturb_photo(image: jax.Array, landmarks: jax.Array, key: jax.Array, *, with_glasses: bool = True) -> jax.Array:
    """Puts faults into a photo of a person, cut out on white or not; each with a probability of its own.

    Accessories come first, so that shadow and light fall on them; the person's light leaves white surroundings white.
    Then come other surroundings, cut sides, and what a camera and a file lose.

    Args:
      image: float32 [S, S, 3] in [-1, 1], S a multiple of 8 and at least 32.
      landmarks: float32 [5, 2], x and y as fractions, the eyes first; NaN where unknown.
      key: random key.
      with_glasses: whether glasses are among the accessories.

    Returns:
      float32 [S, S, 3] in [-1, 1].
    """
    keys = iter(jax.random.split(key, 13))
    size = image.shape[0]
    eyes = eyes_of(landmarks)
    image, eyes = sometimes(_TILT_SHARE, _tilt, (image, eyes), next(keys))
    for share, accessory in (
        (_HELD_SHARE, held_up),
        (_GLASSES_SHARE if with_glasses else 0.0, glasses),
        (_HAT_SHARE, hat),
    ):
        image = sometimes(share, partial(accessory, eyes=eyes), image, next(keys))

    shaded = _shade(image, keys)
    lit = sometimes(_LIGHT_SHARE, _light, shaded, next(keys))
    around = _soften(_white_around(image))
    image += (1 - around) * (lit - image)

    def put_behind(image: jax.Array, key: jax.Array) -> jax.Array:
        return image + around * (_backdrop(image, key) - image)

    image = sometimes(_BACKDROP_SHARE, put_behind, image, next(keys))
    image, _ = sometimes(_CUT_SHARE, _cut, (image, eyes), next(keys))

    def reduce(image: jax.Array, key: jax.Array) -> jax.Array:
        return lower_resolution(image, draw(key, (min(_FEWEST_PIXELS, size), size))[0])

    def roughen(image: jax.Array, key: jax.Array) -> jax.Array:
        level_key, noise_key = jax.random.split(key)
        return add_noise(image, draw(level_key, _NOISE)[0], noise_key)

    image = sometimes(_FEW_PIXELS_SHARE, reduce, image, next(keys))
    image = sometimes(_BLUR_SHARE, lambda image, key: blur(image, size * draw(key, _BLUR)[0]), image, next(keys))
    image = sometimes(_NOISE_SHARE, roughen, image, next(keys))
    image = sometimes(_JPEG_SHARE, lambda image, key: jpeg(image, draw(key, _JPEG)[0]), image, next(keys))
    return jnp.clip(image, -1, 1)
