"""The colours of skin and hair in a face with five known landmarks."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from bitmoji_jax.metrics.colour import delta_e, individual_typology_angle, median_colour, srgb_to_lab
from bitmoji_jax.ops.background import white_background
from bitmoji_jax.ops.image import check_images

# Places are in the face's own frame: the origin between the eyes; u to the right, in distances between the eyes; v
# down, in distances from the eyes to the mouth. A drawn face is shorter than a photographed one: with v scaled
# separately, the same numbers fit both.
_CHEEKS_U, _CHEEKS_V = 0.52, (0.28, 0.65)  # below the eyes, above moustache and beard
_HAIR_CENTRE_V, _HAIR_RADII = -0.2, (1.45, 1.85)  # of an ellipse around the head
_HAIR_LOWEST_V = -0.25  # above ears and the temples of glasses
_BROWS_V, _FACE_U = -0.75, 0.85

_FEWEST_PIXELS = 4
_LEAST_SHARE_OF_CHEEKS = 0.5  # inside the picture
_LEAST_HAIR = 0.12  # of the distance between the eyes times that from the eyes to the mouth
_HALF_A_LINE = 0.1  # lines thinner than twice this, in distances between the eyes, are outlines
_WHITE = 228  # threshold of a white background

# The least distance (ΔE) of hair from the skin's colour: a multiple of the variation of the skin, within limits. Blond
# hair on tanned skin in flat drawings needs the lower limit, the shading of photos needs the rest.
_SKIN_VARIATIONS, _LEAST_DIFFERENCE, _LARGEST_DIFFERENCE = 3.0, 5.0, 18.0


def skin_colour(images: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Measures the skin's colour: the median over both cheeks and the nose, sRGB 0 to 255; float64 [N, 3].

    NaN where an eye or a mouth corner is unknown, where the eyes coincide or the mouth is not below them, or where
    half of the cheeks is outside the picture. The landmark of the nose is not used. The median error is ΔE 0.5 on
    synthetic avatars; see benchmarks/NOTES.md.

    Not to be trusted: under a veil, a mask or large sunglasses; for photos as the skin's own colour without the light.

    Args:
      images: uint8 [N, S, S, 3], one face each, seen from the front.
      landmarks: [N, 5, 2], (x, y) as fractions of the image, NaN where unknown: left eye, right eye, nose, left and
        right mouth corner, "left" being the image's.

    Raises:
      ValueError: another shape or type.
    """
    return _median_of(lambda _, frame: _cheeks(frame), images, landmarks)


def hair_colour(images: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Measures the hair's colour: the median of the hair around the forehead, sRGB 0 to 255; float64 [N, 3].

    Hair is every pixel around the forehead that differs from the skin by a ΔE of 5 (more if the skin varies), in areas
    broader than an outline and not part of a white background. NaN where `skin_colour` is, and where there is almost no
    such hair: bald or shaven heads, hair of the skin's colour. The median error is ΔE 0.7 on synthetic avatars; see
    benchmarks/NOTES.md. Arguments and errors are those of `skin_colour`.

    Not to be trusted: with hats, whose colour it measures; with a background that is not white; for shaved hair.
    """
    return _median_of(_hair, images, landmarks)


def skin_ita(images: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Measures the individual typology angle of `skin_colour` in degrees, float64 [N]; NaN where that is NaN.

    Arguments and errors are those of `skin_colour`. Not to be trusted for a single photo, see
    `individual_typology_angle`.
    """
    return individual_typology_angle(srgb_to_lab(skin_colour(images, landmarks)))


class _Frame(NamedTuple):
    """A face's own frame: u and v of every pixel, the area of a unit square and the eyes' distance in pixels."""

    u: np.ndarray
    v: np.ndarray
    unit_area: float
    eye_distance: float


def _median_of(
    find: Callable[[np.ndarray, _Frame], np.ndarray], images: np.ndarray, landmarks: np.ndarray
) -> np.ndarray:
    """The median colour in the mask [S, S] that `find` makes of each image and its frame."""
    check_images(images)
    if landmarks.shape != (len(images), 5, 2):
        raise ValueError(f"landmarks have shape {landmarks.shape}, not [{len(images)}, 5, 2]")
    masks = np.zeros(images.shape[:3], bool)
    for mask, image, points in zip(masks, images, landmarks, strict=True):
        if frame := _face_frame(len(image), points):
            mask[:] = find(image, frame)
    return median_colour(images, masks)


def _cheeks(frame: _Frame) -> np.ndarray:
    """bool [S, S], empty if half of the cheeks is outside the picture."""
    inside = (np.abs(frame.u) <= _CHEEKS_U) & (frame.v >= _CHEEKS_V[0]) & (frame.v <= _CHEEKS_V[1])
    area = 2 * _CHEEKS_U * (_CHEEKS_V[1] - _CHEEKS_V[0]) * frame.unit_area
    return inside & (inside.sum() >= max(_FEWEST_PIXELS, _LEAST_SHARE_OF_CHEEKS * area))


def _hair(image: np.ndarray, frame: _Frame) -> np.ndarray:
    """bool [S, S], empty if there is almost none or no cheeks to compare it with."""
    cheeks = _cheeks(frame)
    if not cheeks.any():
        return cheeks
    u, v, unit_area, eye_distance = frame
    around_head = (u / _HAIR_RADII[0]) ** 2 + ((v - _HAIR_CENTRE_V) / _HAIR_RADII[1]) ** 2 <= 1
    beside_face = (v <= _BROWS_V) | ((v <= _HAIR_LOWEST_V) & (np.abs(u) >= _FACE_U))
    found = around_head & beside_face & _unlike_skin(image, cheeks) & ~white_background(image, _WHITE)
    side = 2 * max(1, round(_HALF_A_LINE * eye_distance)) + 1
    found = ndimage.binary_opening(found, np.ones((side, side), bool))
    return found & (found.sum() >= max(_FEWEST_PIXELS, _LEAST_HAIR * unit_area))


def _face_frame(size: int, points: np.ndarray) -> _Frame | None:
    """The frame of landmarks [5, 2] in an image of `size` pixels a side; None where they are no face."""
    left_eye, right_eye, _, *mouth = points.astype(np.float64) * size
    if not np.isfinite([left_eye, right_eye, *mouth]).all():
        return None
    across = right_eye - left_eye
    down = np.array([-across[1], across[0]])
    eye_distance = float(np.hypot(*across))
    origin = (left_eye + right_eye) / 2
    if not eye_distance:
        return None
    face_height = float((np.mean(mouth, axis=0) - origin) @ down / eye_distance)
    if face_height <= 0:
        return None
    centres = np.arange(size) + 0.5
    x, y = np.meshgrid(centres - origin[0], centres - origin[1])
    u = (x * across[0] + y * across[1]) / eye_distance**2
    v = (x * down[0] + y * down[1]) / (eye_distance * face_height)
    return _Frame(u, v, eye_distance * face_height, eye_distance)


def _unlike_skin(image: np.ndarray, cheeks: np.ndarray) -> np.ndarray:
    # Medians of 3 x 3 pixels: noise would split hair into areas no broader than an outline.
    labs = srgb_to_lab(ndimage.median_filter(image, size=(3, 3, 1)))
    skin = srgb_to_lab(np.median(image[cheeks], axis=0))
    difference = delta_e(labs, np.broadcast_to(skin, labs.shape))
    variation = float(np.median(difference[cheeks]))
    return difference > np.clip(_SKIN_VARIATIONS * variation, _LEAST_DIFFERENCE, _LARGEST_DIFFERENCE)
