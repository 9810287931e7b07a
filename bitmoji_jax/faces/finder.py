"""Faces of any size and rotation in a photo of any size."""

import dataclasses
import math

import numpy as np
from PIL import Image

from bitmoji_jax.faces.resample import apply, shrink, square_matrix, warp
from bitmoji_jax.models.face_networks import SIZES, run_network

_WINDOW, _MESH = SIZES["detector"], SIZES["mesh"]
_MIN_SCORE = 0.5  # of the detector, for the mesh to be measured
_MAX_MEASURED = 16  # detections of one scale
_MIN_WINDOW = 96  # pixels
_MARGIN = 1.5  # side of the window for faces that fill the photo, in longer sides of the photo
_SURE = 0.75  # confidence from which the search ends
_ROI = 1.5  # side of the mesh's image, in sizes of the face
_CONVERGED = 0.002  # mean movement of the points, in sides of that image
_EYES = (33, 263)  # outer corners, in the mesh
_CHEEKS = (234, 454)  # in the mesh, the one on the left of an upright image first


@dataclasses.dataclass(frozen=True, eq=False)
class Face:
    """A face in a photo."""

    points: np.ndarray
    """float32 [468, 2], the mesh in pixels of the photo, whose top left corner is (0, 0)."""
    confidence: float
    """That it is a face, and its points are upright, 0 to 1."""
    yaw: float
    """How far it is turned sideways, in degrees; 0 towards the camera."""

    @property
    def size(self) -> float:
        """The larger of the points' width and height, in pixels."""
        return float(np.ptp(self.points, axis=0).max())


def find_faces(photo: np.ndarray, every: bool = False) -> list[Face]:
    """Finds the faces in a photo, the most confident first.

    Searches the whole photo, then smaller and smaller overlapping windows of it; each upright and, where that finds
    nothing sure, upside down. The detector finds faces of 0.15 to 0.9 of a window, up to 90 degrees from upright.

    Args:
      photo: uint8 [H, W, 3], sRGB.
      every: search all windows, for all faces, even where there is a sure one.
    """
    faces: list[Face] = []
    long, short = max(photo.shape[:2]), min(photo.shape[:2])
    parts = [side for side in (short, short / 2, short / 4) if side >= _MIN_WINDOW and side < long]
    sides = [long, long * _MARGIN, *parts]
    factor = max(1, int(min(sides) / (2 * _WINDOW)))
    reduced = shrink(photo, factor)
    for side in sides:
        windows, corners = _windows(reduced, side / factor)
        for upside_down in (False, True):
            rows = suppress(_detect(windows, corners * factor, side, upside_down))
            faces = _merge([*faces, *(_measure(photo, row) for row in rows[:_MAX_MEASURED])])
            if sure := any(face.confidence >= _SURE for face in faces):
                break
        if sure and not every:
            break
    return faces


def _windows(photo: np.ndarray, side: float) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping squares of a photo, uint8 [N, 128, 128, 3], black outside it; and their corners (x, y), [N, 2]."""
    scale = _WINDOW / side
    height, width = (max(1, round(length * scale)) for length in photo.shape[:2])
    small = np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR))
    missing = [max(0, _WINDOW - length) for length in (height, width)]
    top, left = (pixels // 2 for pixels in missing)
    padded = np.pad(small, ((top, missing[0] - top), (left, missing[1] - left), (0, 0)))
    ys, xs = (
        np.linspace(0, length - _WINDOW, math.ceil(2 * length / _WINDOW) - 1).round().astype(int)
        for length in padded.shape[:2]
    )
    corners = [(x, y) for y in ys for x in xs]
    windows = np.stack([padded[y : y + _WINDOW, x : x + _WINDOW] for x, y in corners])
    return windows, (np.array(corners) - (left, top)) / scale


def _detect(windows: np.ndarray, corners: np.ndarray, side: float, upside_down: bool) -> np.ndarray:
    """Rows of `detector` above `_MIN_SCORE`, [N, 17], in pixels of the photo, as `corners` [M, 2] and `side` are."""
    if upside_down:
        windows = windows[:, ::-1, ::-1]
    found = np.stack([run_network("detector", window) for window in windows])
    window, anchor = np.nonzero(found[..., 0] > _MIN_SCORE)
    rows = found[window, anchor]
    points = rows[:, 1:].reshape(-1, 8, 2)
    placed = (1 - points if upside_down else points) * side + corners[window, None]
    placed[:, 1] = points[:, 1] * side  # the box's size
    return np.concatenate([rows[:, :1], placed.reshape(-1, 16)], axis=1)


def _measure(photo: np.ndarray, row: np.ndarray) -> Face:
    """Measures the mesh of a detected face; each pass crops by the points of the one before, until they converge."""
    eyes = row[7:9] - row[5:7]
    centre, side, angle = row[1:3], _ROI * row[3:5].max(), math.atan2(eyes[1], eyes[0])
    last = np.full((468, 2), np.inf)
    for _ in range(4):
        matrix = square_matrix(centre, side, angle, _MESH)
        found = run_network("mesh", warp(photo, matrix, _MESH, draft=True))
        points, logit = found[:468], float(found[468, 0])
        placed = apply(matrix, points[:, :2])
        if np.abs(placed - last).mean() < _CONVERGED * side:
            break
        last = placed
        centre, side, angle = _region(placed)
    # Logits of faces are mostly over 13, of the same faces upside down under 11.
    confidence = 1 / (1 + math.exp(np.clip((10 - logit) / 3, -50, 50)))
    x, _, z = points[_CHEEKS[1]] - points[_CHEEKS[0]]
    return Face(placed.astype(np.float32), confidence, yaw=math.degrees(math.atan2(z, x)))


def _region(points: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Centre, side and angle of the image for the next pass, by the mesh's points [468, 2] in the photo."""
    across = points[_EYES[1]] - points[_EYES[0]]
    angle = math.atan2(across[1], across[0])
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    upright = points @ turn
    low, high = upright.min(axis=0), upright.max(axis=0)
    return turn @ ((low + high) / 2), max(_ROI * float((high - low).max()), 1.0), angle


def _merge(faces: list[Face]) -> list[Face]:
    """Keeps the most confident of faces in the same place; the most confident first."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.confidence):
        middle = face.points.mean(axis=0)
        if all(np.linalg.norm(middle - other.points.mean(axis=0)) > 0.5 * max(face.size, other.size) for other in kept):
            kept.append(face)
    return kept


def suppress(rows: np.ndarray, overlap: float = 0.3) -> np.ndarray:
    """Merges rows of the same face (weighted non-maximum suppression): the average by score, with the best score.

    Args:
      rows: float [N, 17] as of `detector`, of one picture, in any unit of length.
      overlap: intersection over union from which two boxes are the same face's.

    Returns:
      float [M, 17], the best score first.
    """
    rows = rows[np.argsort(-rows[:, 0], kind="stable")]
    merged = [rows[:0]]
    while len(rows):
        same = _overlap(rows[0], rows) >= overlap
        same[0] = True  # even a box that has no area
        row = np.average(rows[same], axis=0, weights=rows[same, 0])
        row[0] = rows[0, 0]
        merged.append(row[None])
        rows = rows[~same]
    return np.concatenate(merged)


def _overlap(row: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Intersection over union of the box of `row` [17] with those of `rows` [N, 17]: [N]."""
    low = np.maximum(row[1:3] - row[3:5] / 2, rows[:, 1:3] - rows[:, 3:5] / 2)
    high = np.minimum(row[1:3] + row[3:5] / 2, rows[:, 1:3] + rows[:, 3:5] / 2)
    shared = np.maximum(high - low, 0).prod(axis=1)
    return shared / np.maximum(row[3:5].prod() + rows[:, 3:5].prod(axis=1) - shared, 1e-12)
