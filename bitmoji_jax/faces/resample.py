"""Squares of a photo, turned and scaled without aliasing.

Coordinates are continuous: x to the right and y down from the top left corner; the centre of the first pixel is
(0.5, 0.5). A matrix, float64 [2, 3], maps (x, y, 1) of a square to the photo.
"""

import math

import numpy as np
from PIL import Image

_STRIP = 4_000_000  # pixels that are copied at once


def square_matrix(centre: np.ndarray, side: float, angle: float, size: int) -> np.ndarray:
    """The matrix of a square of `size` pixels, by its centre, side and clockwise angle (radians) in the photo."""
    scale = side / size
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return np.column_stack([turn, centre - turn @ (size / 2, size / 2)])


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Maps points [..., 2] of the square to the photo."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def warp(photo: np.ndarray, matrix: np.ndarray, size: int, *, draft: bool = False) -> np.ndarray:
    """Resamples a square of a photo uint8 [H, W, 3] to uint8 [size, size, 3]; outside, the photo's edge is repeated.

    Only the part under the square is read. A draft takes one bilinear sample a pixel, which is good enough for networks
    and faster; otherwise up to four bicubic ones are averaged.
    """
    scale = _scale(matrix)
    # First whole blocks of pixels are averaged, which leaves a scale below 1.5 for a draft, else below 2.
    reduce = max(1, round(scale) if draft else int(scale))
    samples = 1 if draft else math.ceil(max(1, scale / reduce))
    end = np.array(photo.shape[1::-1])
    corners = apply(matrix, size * np.array([[0, 0], [0, 1], [1, 0], [1, 1]]))
    low = np.floor(corners.min(axis=0) - 3 * reduce).astype(int)
    high = np.ceil(corners.max(axis=0) + 3 * reduce).astype(int)
    # The part of the photo in this box, at least its nearest pixel; and what the box has beside it, in blocks.
    first = np.clip(low, 0, end - 1)
    last = np.clip(high, first + 1, end)
    before = np.maximum(-((low - first) // reduce), 0)
    after = np.maximum(-((last - high) // reduce), 0)
    part = shrink(photo[first[1] : last[1], first[0] : last[0]], reduce)
    part = np.pad(part, ((before[1], after[1]), (before[0], after[0]), (0, 0)), mode="edge")
    to_part = np.column_stack([matrix[:, :2] / (reduce * samples), (matrix[:, 2] - first) / reduce + before])
    image = Image.fromarray(part).transform(
        (size * samples, size * samples),
        Image.Transform.AFFINE,
        tuple(to_part.ravel()),
        Image.Resampling.BILINEAR if draft else Image.Resampling.BICUBIC,
    )
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS) if samples > 1 else image)


def shrink(photo: np.ndarray, factor: int) -> np.ndarray:
    """Averages blocks of `factor` pixels a side: uint8 [H, W, 3] -> uint8 [ceil(H/factor), ceil(W/factor), 3]."""
    if factor == 1:
        return photo
    rows = factor * max(1, _STRIP // (factor * photo.shape[1]))
    return np.concatenate(
        [np.asarray(Image.fromarray(photo[i : i + rows]).reduce(factor)) for i in range(0, len(photo), rows)]
    )


def inside(matrix: np.ndarray, size: int, width: int, height: int) -> np.ndarray:
    """Computes how much of each pixel of the square lies in the photo: float32 [size, size] in [0, 1]."""
    centres = np.arange(size) + 0.5
    points = apply(matrix, np.stack(np.meshgrid(centres, centres), axis=-1))
    distance = np.minimum(points, (width, height) - points).min(axis=-1)
    return np.clip(distance / _scale(matrix) + 0.5, 0, 1).astype(np.float32)


def _scale(matrix: np.ndarray) -> float:
    """Pixels of the photo along one of the square."""
    return math.sqrt(abs(np.linalg.det(matrix[:, :2])))
