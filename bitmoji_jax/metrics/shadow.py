"""A cast shadow drawn into photos, to measure how much of it a translation keeps (`shadow_sensitivity`)."""

import numpy as np

from bitmoji_jax.ops.background import white_background
from bitmoji_jax.ops.image import check_images

# Lengths are fractions of the image's side.
_LIGHT_LEFT = 0.42  # in linear light, where the shadow is deepest
_EDGE, _LEAN, _HALF_PENUMBRA = 0.51, 0.22, 0.02
_HEAD = (0.5, 0.5, 0.40, 0.46)  # centre (x, y) and radii of an ellipse
_NECK = (0.5, 1.0, 0.26, 0.32)
_FADE = 0.15  # of the radii
_BACKGROUND = 228  # threshold of a white background
_WHITE_FROM, _WHITE_TO = 0.9, 0.98


def cast_shadow(photos: np.ndarray) -> np.ndarray:
    """Draws a shadow over one side of the face: the image's left in even photos, the right in odd ones.

    Where it is deepest, 42 % of the light is left, in linear light, as if one of two lamps were blocked. Its edge runs
    down the middle of the face, leans by 12° and is 4 % of the image wide. It ends softly around head and neck of a
    face framed as by `prepare`. A white background stays white.

    Photos are uint8 [N, S, S, 3], and so is the result, with no value larger than before; ValueError otherwise.

    Not to be trusted: as light, since it ignores the shape of nose and cheeks; for faces framed in another way.
    """
    check_images(photos)
    left = _depth(photos.shape[1])
    shadowed = np.empty_like(photos)
    for index, photo in enumerate(photos):
        depth = left if index % 2 == 0 else left[:, ::-1]
        # Not only the background's mask: the pixels at its edge are mixtures of both.
        whiteness = _smooth_step(photo.min(axis=-1) / 255, _WHITE_FROM, _WHITE_TO)
        depth = depth * (1 - whiteness * white_background(photo, _BACKGROUND))
        light = _decode(photo / 255) * (1 - (1 - _LIGHT_LEFT) * depth[..., None])
        shadowed[index] = np.minimum(np.rint(255 * _encode(light)), photo)
    return shadowed


def _depth(size: int) -> np.ndarray:
    """float64 [S, S]: 0 outside the shadow on the left side, 1 where it is deepest."""
    centres = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid(centres, centres)
    edge = _EDGE + _LEAN * (0.5 - y)
    on_left = 1 - _smooth_step(x, edge - _HALF_PENUMBRA, edge + _HALF_PENUMBRA)
    on_person = [
        1 - _smooth_step(np.hypot((x - centre_x) / radius_x, (y - centre_y) / radius_y), 1 - _FADE, 1 + _FADE)
        for centre_x, centre_y, radius_x, radius_y in (_HEAD, _NECK)
    ]
    return on_left * np.maximum(*on_person)


def _smooth_step(values: np.ndarray, low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray:
    """Rises smoothly from 0 at `low` to 1 at `high`."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return share**2 * (3 - 2 * share)


def _decode(encoded: np.ndarray) -> np.ndarray:
    """Converts sRGB values of 0 to 1 to linear light (IEC 61966-2-1)."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def _encode(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
