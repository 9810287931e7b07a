"""From any photo to the crop that a generator was trained on."""

import dataclasses
import math
from typing import Literal

import numpy as np

from bitmoji_jax.errors import InputError
from bitmoji_jax.faces.cutout import person
from bitmoji_jax.faces.finder import Face, find_faces
from bitmoji_jax.faces.framing import crop_matrix
from bitmoji_jax.faces.resample import inside, square_matrix, warp

Reason = Literal["no face", "too small", "cut off", "turned", "unsure"]

_FACE_WIDTH = 0.63  # of the crop's side
_LEAST_WIDTH = 48  # pixels
_MOST_OUTSIDE = 0.15  # of the mesh's points
_MOST_YAW = 40  # degrees; of the photos trained on 99 of 100 are within 25
_LEAST_CONFIDENCE = 0.5
_CANDIDATE = 0.1  # least confidence of what may be a face at all


class FaceError(InputError):
    """A photo's face can't be used: the message says why and what to do, `reason` why in a word."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason: Reason = reason
        self.detail = detail

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
    """Finds the largest face in a photo, turns it upright and crops it as training photos are.

    Args:
      photo: uint8 [H, W, 3], sRGB, any H and W, the right way up or not.
      size: side of the result in pixels.
      cut_out: puts the person on white. Otherwise the photo's edge goes on where the crop leaves it.
      force: takes faces that can't be used too, with warnings; without any face the middle of the photo.
      all_faces: takes all, the largest first, and passes over those that can't be used.

    Returns:
      The faces; one unless `all_faces`.

    Raises:
      FaceError: there is no face, or it can't be used.
    """
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or 0 in photo.shape:
        raise ValueError(f"a photo is uint8 [H, W, 3], not {photo.dtype} {list(photo.shape)}")
    found = [face for face in find_faces(photo, every=all_faces) if face.confidence >= _CANDIDATE]
    # What is hardly a face doesn't stand before one that is, however large.
    found = [face for face in found if face.confidence >= _LEAST_CONFIDENCE] or found[:1]
    found.sort(key=lambda face: -face.size)
    if not found:
        error = FaceError("no face", "no face found: take a photo with one in it, looking at the camera and well lit")
        if not force:
            raise error
        return [_cut(photo, _middle(photo, size), np.full((468, 2), np.nan, np.float32), 0.0, size, cut_out, (error,))]
    if not all_faces:
        found = found[:1]
    judged = [(face, crop_matrix(face.points, size)) for face in found]
    aligned = []
    first: FaceError | None = None
    for face, matrix in judged:
        faults = _faults(face, matrix, size, photo)
        if faults and not force:
            first = first or faults[0]
            continue
        aligned.append(_cut(photo, matrix, face.points, face.confidence, size, cut_out, faults))
    if first and not aligned:
        raise first
    return aligned


def _faults(face: Face, matrix: np.ndarray, size: int, photo: np.ndarray) -> tuple[FaceError, ...]:
    """What makes a face unusable, the plainest first."""
    faults = []
    width = _FACE_WIDTH * size * math.sqrt(np.linalg.det(matrix[:, :2]))
    if width < _LEAST_WIDTH:
        faults.append(
            FaceError("too small", f"the face is {width:.0f} pixels wide, want {_LEAST_WIDTH}: take a larger picture")
        )
    outside = ((face.points < 0) | (face.points > photo.shape[1::-1])).any(axis=1).mean()
    if outside > _MOST_OUTSIDE:
        faults.append(
            FaceError("cut off", f"{outside:.0%} of the face is outside the photo: take one that shows all of it")
        )
    if abs(face.yaw) > _MOST_YAW:
        faults.append(
            FaceError("turned", f"the face is turned by {abs(face.yaw):.0f} degrees: take one that looks at the camera")
        )
    if face.confidence < _LEAST_CONFIDENCE:
        faults.append(
            FaceError("unsure", "this may be no human face, or much of it is hidden: take a clear photo of a person")
        )
    return tuple(faults)


def _middle(photo: np.ndarray, size: int) -> np.ndarray:
    height, width = photo.shape[:2]
    return square_matrix(np.array([width / 2, height / 2]), min(height, width), 0, size)


def _cut(
    photo: np.ndarray,
    matrix: np.ndarray,
    points: np.ndarray,
    confidence: float,
    size: int,
    cut_out: bool,
    warnings: tuple[FaceError, ...],
) -> AlignedFace:
    image = warp(photo, matrix, size)
    foreground = np.ones((size, size), np.float32)
    if cut_out:
        foreground = person(photo, matrix, size) * inside(matrix, size, photo.shape[1], photo.shape[0])
        alpha = foreground[..., None]
        image = np.rint(image * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return AlignedFace(image, foreground, confidence, matrix, points, warnings)
