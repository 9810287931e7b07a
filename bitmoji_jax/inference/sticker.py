"""Animated stickers: an avatar blinks, tilts its head and smiles, blinks again, and begins anew.

No network draws the frames. The mesh finds the points of the avatar's face; eyelids are painted, and the rest is the
avatar itself, moved smoothly.
"""

import io
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from bitmoji_jax.cache import use_compilation_cache
from bitmoji_jax.inference.picture import transparent
from bitmoji_jax.models.face_networks import SIZES, run_network
from bitmoji_jax.models.face_points import SELECTION
from bitmoji_jax.ops.batching import map_samples
from bitmoji_jax.ops.image import read_between

MOST_BYTES = 500_000
"""Size of a file that messengers take."""


class Pose(NamedTuple):
    """A frame of a sticker."""

    closed: float
    """How far the eyelids are down, 0 to 1."""
    smile: float
    """How far the mouth smiles and the head is tilted, 0 to 1."""
    milliseconds: int


POSES = [
    Pose(0, 0, 700),
    Pose(0.5, 0, 50),
    Pose(1, 0, 90),
    Pose(0.5, 0, 50),
    Pose(0, 0, 300),
    Pose(0, 0.2, 50),
    Pose(0, 0.55, 50),
    Pose(0, 0.85, 50),
    Pose(0, 1, 400),
    Pose(0.5, 1, 50),
    Pose(1, 1, 90),
    Pose(0.5, 1, 50),
    Pose(0, 1, 500),
    Pose(0, 0.85, 50),
    Pose(0, 0.55, 50),
    Pose(0, 0.2, 50),
]

_WEBP_SIDE = 512  # pixels, as messengers want
_QUALITIES = (80, 60, 40, 10)  # of WebP, the first with which the file is small enough
_PNG_STEP = 8  # grey levels between those that are kept: with all, files would be twice as large

# Lengths are fractions of the picture's side. Indices are of the points of models/face_points.py.
_EYES, _MOUTH, _CHIN, _BROWS = slice(0, 2), slice(3, 5), 7, slice(10, 12)
_CHEEKS = (0.58, 0.66, 0.35, 0.65)  # top, bottom, left, right

_BLUER = 0.7  # share of the red that skin has more than blue, which an eye's white has less than skin
_LEAST_RED = 20.0  # levels, of very pale skin
_WINDOW = (0.085, 0.05)  # half of the part of the picture in which an eye is looked for
_STEPS = 4  # of the window to the middle of the white in it
_LEAST_EYE = 8e-4  # white of an eye as a share of the picture
_HALF = (1.85, 2.1)  # half of an eye's width and height, in standard deviations of its white
_RING = (1.35, 1.7)  # radii of the skin around an eye, in halves of the eye
_LIKE_SKIN = 30.0  # levels, standard deviation of skin

_LID_ABOVE, _LID_ASIDE = 0.02, 1.2  # how far a lid goes beyond the white: a length, and in halves of the eye
_LID_SHADE = 0.96  # of the skin around
_LASHES, _LASHES_ASIDE = 0.015, 1.1  # thickness; end in halves of the eye
_LASHES_COLOUR = (38.0, 24.0, 24.0)

_SCALE = 0.9  # of the avatar, so that the tilted head has room
_TILT = np.radians(5)  # to the right
_PIVOT, _NECK = 0.02, 0.12  # of the tilt, below the chin; the neck, which bends, begins so far above it
_REACH = 0.05  # standard deviation of the surroundings that a point takes along
_MOUTH_SHIFT, _CHEEK_SHIFT, _BROW_SHIFT = (0.016, -0.024), (0.0, -0.008), (0.0, -0.012)  # outwards, down


def make_sticker(avatar: np.ndarray, format: Literal["webp", "png"] = "webp", exif: Image.Exif | None = None) -> bytes:
    """Makes a file of an avatar that moves, on a transparent background, for ever.

    Args:
      avatar: uint8 [S, S, 3].
      format: "webp", which has 512 pixels a side and the best quality that fits into `MOST_BYTES`, or "png" (APNG),
        which has S and 32 levels a channel.
      exif: metadata of the file.
    """
    frames = animate(avatar)
    return _to_webp(frames, exif) if format == "webp" else _to_png(frames, exif)


def animate(avatar: np.ndarray) -> np.ndarray:
    """Draws an avatar, uint8 [S, S, 3], in all `POSES`: uint8 [F, S, S, 4], with an alpha channel.

    Eyes that are not found stay open.
    """
    side = SIZES["mesh"]
    face = np.asarray(Image.fromarray(avatar).resize((side, side), Image.Resampling.BILINEAR))
    points = SELECTION @ (run_network("mesh", face)[:468, :2] / side)
    use_compilation_cache()
    return np.asarray(_draw_all(transparent(avatar), points))


def _to_webp(frames: np.ndarray, exif: Image.Exif | None) -> bytes:
    size = (_WEBP_SIDE, _WEBP_SIDE)
    pictures = [Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS) for frame in frames]
    for quality in _QUALITIES:
        file = _save(pictures, "webp", exif, quality=quality, kmin=0, kmax=0)  # no keyframes: a fifth smaller
        if len(file) <= MOST_BYTES:
            break
    return file


def _to_png(frames: np.ndarray, exif: Image.Exif | None) -> bytes:
    levels = np.minimum((frames.astype(np.int32) + _PNG_STEP // 2) // _PNG_STEP * _PNG_STEP, 255)
    levels *= levels[..., 3:] > 0
    return _save([Image.fromarray(frame) for frame in levels.astype(np.uint8)], "png", exif)


def _save(pictures: list[Image.Image], format: str, exif: Image.Exif | None, **how: int) -> bytes:
    buffer = io.BytesIO()
    durations = [pose.milliseconds for pose in POSES]
    more = {} if exif is None else {"exif": exif}
    first, *others = pictures
    first.save(buffer, format, save_all=True, append_images=others, duration=durations, loop=0, **more, **how)
    return buffer.getvalue()


class _Eye(NamedTuple):
    """Arrays of an eye."""

    middle: jax.Array  # [2]
    half: jax.Array  # [2]: half of width and height
    lid: jax.Array  # [3]: the colour of its lid, 0 to 255
    found: jax.Array  # bool []


@jax.jit
def _draw_all(avatar: jax.Array, points: jax.Array) -> jax.Array:
    """An avatar uint8 [S, S, 4] with its points [POINTS, 2], in all `POSES`: uint8 [F, S, S, 4]."""
    picture = avatar.astype(jnp.float32)
    eyes = [_find_eye(picture, point) for point in points[_EYES]]
    found = eyes[0].found & eyes[1].found

    def draw(pose: jax.Array) -> jax.Array:
        closed, smile = pose
        with_lids = picture
        for eye in eyes:
            with_lids = _paint_lid(with_lids, eye, closed)
        x, y = _sources(points, smile, len(picture))
        return _sample(jnp.where(found & (closed > 0), with_lids, picture), x, y)

    return map_samples(draw, jnp.array([pose[:2] for pose in POSES], jnp.float32))


def _centres(size: int) -> tuple[jax.Array, jax.Array]:
    """x [1, size] and y [size, 1] of the pixels of a picture."""
    centres = (jnp.arange(size) + 0.5) / size
    return centres[None, :], centres[:, None]


def _find_eye(picture: jax.Array, near: jax.Array) -> _Eye:
    """Finds the eye of a picture [S, S, 4], 0 to 255, near a point [2]: the mesh is off by up to a half of it."""
    size = len(picture)
    x, y = _centres(size)
    rgb = picture[..., :3]
    top, bottom, left, right = (round(size * fraction) for fraction in _CHEEKS)
    skin = jnp.median(rgb[top:bottom, left:right].reshape(-1, 3), axis=0)
    red = skin[0] - skin[2]
    bluer = (rgb[..., 2] - rgb[..., 0] + red) * rgb[..., 2] / 255 / (_BLUER * jnp.maximum(red, _LEAST_RED))
    whiteness = jnp.square(jnp.clip(bluer, 0, 1))

    middle, half = near, jnp.ones(2)
    for _ in range(_STEPS):
        white = whiteness * (abs(x - middle[0]) < _WINDOW[0]) * (abs(y - middle[1]) < _WINDOW[1])
        area = jnp.sum(white) + 1e-6
        middle = jnp.stack([jnp.sum(white * x), jnp.sum(white * y)]) / area
        variance = jnp.stack([jnp.sum(white * (x - middle[0]) ** 2), jnp.sum(white * (y - middle[1]) ** 2)]) / area
        half = jnp.array(_HALF) * jnp.sqrt(variance) + 1e-6
    radius = jnp.hypot((x - middle[0]) / half[0], (y - middle[1]) / half[1])
    ring = (radius > _RING[0]) & (radius < _RING[1])
    # Not brows, nor rims of glasses: the colour of the cheeks, as it is around the eye.
    like_skin = ring * jnp.exp(-jnp.sum(jnp.square(rgb - skin), axis=-1) / (2 * _LIKE_SKIN**2))
    around = (jnp.einsum("yx,yxc->c", like_skin, rgb) + 1e-3 * skin) / (jnp.sum(like_skin) + 1e-3)
    return _Eye(middle, half, _LID_SHADE * around, area > _LEAST_EYE * size**2)


def _paint_lid(picture: jax.Array, eye: _Eye, closed: jax.Array) -> jax.Array:
    """Paints the lid of an eye, and lashes at its edge, which comes down from the eye's upper to its lower edge."""
    size = len(picture)
    x, y = _centres(size)
    u, v = (x - eye.middle[0]) / eye.half[0], (y - eye.middle[1]) / eye.half[1]
    pixels = size * eye.half[1]  # in half of the eye's height
    edge = jnp.maximum(1 - u**2, 0) * (2 * closed - 1)
    top = -(1 - (u / _LID_ASIDE) ** 2) * (1 + _LID_ABOVE / eye.half[1])
    picture = _paint(picture, eye.lid, jnp.minimum(edge - v, v - top) * pixels, abs(u) < _LID_ASIDE)
    thickness = _LASHES * jnp.clip(1.25 - u**2, 0.25, 1)
    return _paint(
        picture, jnp.array(_LASHES_COLOUR), thickness * size / 2 - abs(v - edge) * pixels, abs(u) < _LASHES_ASIDE
    )


def _paint(picture: jax.Array, colour: jax.Array, depth: jax.Array, allowed: jax.Array) -> jax.Array:
    """Paints where `depth`, the distance from an edge in pixels, is above 0, smoothly at the edge."""
    share = (jnp.clip(depth + 0.5, 0, 1) * allowed)[..., None]
    return picture.at[..., :3].set(picture[..., :3] * (1 - share) + colour * share)


def _sources(points: jax.Array, smile: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Where in the avatar each pixel of a frame comes from: x and y [size, size]."""
    x, y = _centres(size)
    x, y = 0.5 + (x - 0.5) / _SCALE, 1 + (y - 1) / _SCALE  # from the middle of the lower edge

    pivot_x, chin = points[_CHIN]
    pivot_y = chin + _PIVOT
    up = jnp.clip((1 - y) / (1 - chin + _NECK), 0, 1)
    angle = _TILT * smile * up**2 * (3 - 2 * up)
    cos, sin, dx, dy = jnp.cos(angle), jnp.sin(angle), x - pivot_x, y - pivot_y
    x, y = pivot_x + dx * cos + dy * sin, pivot_y + dy * cos - dx * sin

    mouth, brows = points[_MOUTH], points[_BROWS]
    cheeks = (mouth + points[_EYES]) / 2
    outwards = jnp.array([[-1.0, 1.0], [1.0, 1.0]])
    shift_x, shift_y = jnp.zeros_like(x), jnp.zeros_like(y)
    for places, shift in ((mouth, _MOUTH_SHIFT), (cheeks, _CHEEK_SHIFT), (brows, _BROW_SHIFT)):
        for (place_x, place_y), (along_x, along_y) in zip(places, outwards * jnp.array(shift) * smile, strict=True):
            near = jnp.exp(-((x - place_x) ** 2 + (y - place_y) ** 2) / (2 * _REACH**2))
            shift_x, shift_y = shift_x + along_x * near, shift_y + along_y * near
    return x - shift_x, y - shift_y


def _sample(picture: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """Samples a picture [S, S, 4], 0 to 255, between its pixels; transparent outside. uint8 [S, S, 4]."""
    alpha = picture[..., 3:]
    mixed = jnp.concatenate([picture[..., :3] * alpha / 255, alpha], axis=-1)  # so that transparent colours count not
    frame = read_between(mixed, [place * len(picture) - 0.5 for place in (y, x)])
    alpha = frame[..., 3:]
    colour = frame[..., :3] * 255 / jnp.maximum(alpha, 1)
    return jnp.clip(jnp.round(jnp.concatenate([colour, alpha], axis=-1)), 0, 255).astype(jnp.uint8)
