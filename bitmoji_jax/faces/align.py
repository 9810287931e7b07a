"""From any photo to the crop that a generator was trained on."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal

import numpy as np

from bitmoji_jax.errors import InputError
from bitmoji_jax.faces.finder import Face, find_faces
from bitmoji_jax.faces.matte import on_white, person_matte
from bitmoji_jax.faces.resample import inside, square_matrix, warp

Reason = Literal["no face", "too small", "cut off", "turned", "unsure"]

_FACE_WIDTH = 0.63  # of the crop's side
_MIN_WIDTH = 48  # pixels
_MAX_OUTSIDE = 0.15  # of the mesh's points
_MAX_YAW = 40  # degrees; 99 % of the training photos are within 25
_MIN_CONFIDENCE = 0.5
_CANDIDATE = 0.1  # confidence below which a detection is ignored

# Points of the mesh, the one on the left of an upright image first.
_EYES = ((33, 133), (362, 263))  # corners
_MOUTH = (61, 291)  # corners
_NOSE = 4  # its tip

# Training photos are crops by the rule of CelebA-HQ (Karras et al., arXiv 1710.10196, appendix C): upright along the
# eyes and the perpendicular to eyes-to-mouth, sized by the larger of the two distances, centred a little below the
# eyes. Its constants are fitted to the mesh of training photos whose framing is known (benchmarks/NOTES.md).
_SIDE = 4.02  # in distances between the eyes
_MOUTH_SIDE = 0.923  # eyes-to-mouth distances in a distance between the eyes
_MOUTH_UPRIGHT = 0.823  # weight of eyes-to-mouth in the upright direction
_BELOW_EYES = 0.120  # the centre, in eyes-to-mouth distances along it
_ABOVE = 0.012  # the centre, in sides upwards

FAULTS: Mapping[Reason, str] = {
    "no face": "no face found: use a photo of a face that looks at the camera and is well lit",
    "too small": f"the face is {{}} px wide, under {_MIN_WIDTH}: use a larger photo",
    "cut off": "{}% of the face is outside the photo: use one with all of it",
    "turned": "the face is turned by {} degrees: use one that looks at the camera",
    "unsure": "this may not be a human face, or much of it is hidden: use a clear photo of a person",
}
"""What each fault is and what to do, with a place for the number that was measured."""


class FaceError(InputError):
    """A face cannot be used: the message says why and what to do, `reason` is the kind of fault."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)  # both, so that it can be pickled
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return self.detail


@dataclasses.dataclass(frozen=True, eq=False)
class AlignedFace:
    """A face in the framing of training photos."""

    image: np.ndarray
    """uint8 [size, size, 3]; on white if cut out."""
    foreground: np.ndarray
    """float32 [size, size] in [0, 1], how much of a pixel is the person; all 1 if not cut out."""
    confidence: float
    """That this is an upright human face, 0 to 1."""
    matrix: np.ndarray
    """float64 [2, 3], from the image's coordinates to the photo's; both are 0 at the top left corner of the picture."""
    points: np.ndarray
    """float32 [468, 2], the mesh in the photo's coordinates; NaN where there is no face."""
    warnings: tuple[FaceError, ...]
    """What would have been raised without `force`."""


def align(
    photo: np.ndarray, *, size: int, cut_out: bool = True, force: bool = False, all_faces: bool = False
) -> list[AlignedFace]:
    """Finds the largest face in a photo, turns it upright and crops it like the training photos.

    Args:
      photo: uint8 [H, W, 3], sRGB, any H and W, in any orientation.
      size: side of the result in pixels.
      cut_out: puts the person on white. Otherwise the photo's edge is repeated where the crop leaves it.
      force: accepts faces with faults, with warnings; where there is no face, the middle of the photo.
      all_faces: takes all faces, the largest first, and leaves out those with faults.

    Returns:
      The faces; one unless `all_faces`.

    Raises:
      FaceError: there is no face, or none without faults.
      ValueError: `photo` is no such array.
    """
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or 0 in photo.shape:
        raise ValueError(f"a photo is uint8 [H, W, 3], not {photo.dtype} {list(photo.shape)}")
    found = [face for face in find_faces(photo, every=all_faces) if face.confidence >= _CANDIDATE]
    # A doubtful face is used only where there is no other, even if it is larger.
    found = [face for face in found if face.confidence >= _MIN_CONFIDENCE] or found[:1]
    found.sort(key=lambda face: -face.size)
    if not found:
        error = FaceError("no face", FAULTS["no face"])
        if not force:
            raise error
        height, width = photo.shape[:2]
        middle = square_matrix(np.array([width / 2, height / 2]), min(height, width), 0, size)
        return [_crop(photo, Face(np.full((468, 2), np.nan, np.float32), 0.0, 0.0), middle, size, cut_out, (error,))]
    aligned = []
    refused: list[FaceError] = []
    for face in found if all_faces else found[:1]:
        matrix = crop_matrix(face.points, size)
        faults = _faults(face, matrix, size, photo)
        if faults and not force:
            refused.extend(faults)
        else:
            aligned.append(_crop(photo, face, matrix, size, cut_out, faults))
    if not aligned:
        raise refused[0]
    return aligned


def crop_matrix(points: np.ndarray, size: int) -> np.ndarray:
    """Computes the matrix, float64 [2, 3], from a crop of `size` pixels in the training framing to the photo.

    `points` are those of a face's mesh in the photo, float [468, 2 or 3].
    """
    left, right, _, *mouth = five_points(points)
    eyes = (left + right) / 2
    across, down = right - left, np.mean(mouth, axis=0) - eyes
    x = across + _MOUTH_UPRIGHT * np.array([down[1], -down[0]])
    angle = math.atan2(x[1], x[0])
    side = _SIDE * max(math.hypot(*across), _MOUTH_SIDE * math.hypot(*down))
    up = np.array([math.sin(angle), -math.cos(angle)])
    return square_matrix(eyes + _BELOW_EYES * down + _ABOVE * side * up, side, angle, size)


def five_points(points: np.ndarray) -> np.ndarray:
    """Reduces the points of a mesh, float [468, 2 or 3], to the landmarks of a dataset: float64 [5, 2].

    They are the middles of the eyes, the tip of the nose and the corners of the mouth, the left ones first.
    """
    points = points[:, :2].astype(np.float64)
    eyes = [points[list(corners)].mean(axis=0) for corners in _EYES]
    return np.stack([*eyes, points[_NOSE], *points[list(_MOUTH)]])


def _faults(face: Face, matrix: np.ndarray, size: int, photo: np.ndarray) -> tuple[FaceError, ...]:
    """What makes a face unusable, the most evident first."""
    width = _FACE_WIDTH * size * math.sqrt(np.linalg.det(matrix[:, :2]))
    outside = ((face.points < 0) | (face.points > photo.shape[1::-1])).any(axis=1).mean()
    yaw, unsure = abs(face.yaw), face.confidence < _MIN_CONFIDENCE
    checks: tuple[tuple[bool, Reason, float], ...] = (
        (width < _MIN_WIDTH, "too small", width),
        (outside > _MAX_OUTSIDE, "cut off", 100 * outside),
        (yaw > _MAX_YAW, "turned", yaw),
        (unsure, "unsure", face.confidence),
    )
    return tuple(FaceError(reason, FAULTS[reason].format(f"{value:.0f}")) for failed, reason, value in checks if failed)


def _crop(
    photo: np.ndarray, face: Face, matrix: np.ndarray, size: int, cut_out: bool, warnings: tuple[FaceError, ...]
) -> AlignedFace:
    image = warp(photo, matrix, size)
    foreground = np.ones((size, size), np.float32)
    if cut_out:
        foreground = person_matte(photo, matrix, size) * inside(matrix, size, photo.shape[1], photo.shape[0])
        image = on_white(image, foreground)
    return AlignedFace(image, foreground, face.confidence, matrix, face.points, warnings)
