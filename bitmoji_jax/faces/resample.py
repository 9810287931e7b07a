"""Squares of a photo, turned and scaled, without aliasing.

Coordinates are continuous: x to the right and y down from the picture's top left corner, so that the middle of the
first pixel is (0.5, 0.5). A matrix float64 [2, 3] takes (x, y, 1) of a square to the photo.
"""

import math

import numpy as np
from PIL import Image

_STRIP = 4_000_000  # pixels that are copied at a time


def square_matrix(centre: np.ndarray, side: float, angle: float, size: int) -> np.ndarray:
    """The matrix of a square of `size` pixels, by its centre, side and clockwise angle (radians) in the photo."""
    scale = side / size
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return np.concatenate([turn, (centre - turn @ (size / 2, size / 2))[:, None]], axis=1)


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [..., 2] of the square, in the photo."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def invert(matrix: np.ndarray) -> np.ndarray:
    """The matrix from the photo to the square."""
    inverse = np.linalg.inv(matrix[:, :2])
    return np.concatenate([inverse, -inverse @ matrix[:, 2:]], axis=1)


def warp(photo: np.ndarray, matrix: np.ndarray, size: int, *, draft: bool = False) -> np.ndarray:
    """The square of a photo uint8 [H, W, 3], as uint8 [size, size, 3]; outside the photo its edge goes on.

    Reads only the part that the square covers. A draft takes one bilinear sample a pixel where a final square takes up
    to four bicubic ones: it is good enough for networks, and four to ten times faster.
    """
    scale = math.sqrt(abs(np.linalg.det(matrix[:, :2])))  # photo pixels to a pixel of the square
    # First whole blocks of pixels are averaged, which leaves a scale below 1.5 or 2.
    reduce = max(1, round(scale) if draft else int(scale))
    samples = 1 if draft else math.ceil(max(1, scale / reduce))
    height, width = photo.shape[:2]
    corners = apply(matrix, size * np.array([[0, 0], [0, 1], [1, 0], [1, 1]]))
    margin = 3 * reduce
    low = np.floor(corners.min(axis=0) - margin).astype(int)
    high = np.ceil(corners.max(axis=0) + margin).astype(int)
    # What the square sees of the photo: at least its nearest pixel.
    left, right = np.clip([low[0], high[0]], 0, width)
    top, bottom = np.clip([low[1], high[1]], 0, height)
    left, top = min(left, width - 1), min(top, height - 1)
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    part = shrink(photo[top:bottom, left:right], reduce)
    before = np.maximum(-((low - (left, top)) // reduce), 0)
    after = np.maximum(-(((right, bottom) - high) // reduce), 0)
    part = np.pad(part, ((before[1], after[1]), (before[0], after[0]), (0, 0)), mode="edge")
    # From the samples' square to the part.
    inner = matrix.copy()
    inner[:, 2] -= (left, top)
    inner /= reduce
    inner[:, 2] += before
    inner[:, :2] /= samples
    side = size * samples
    image = Image.fromarray(part).transform(
        (side, side),
        Image.Transform.AFFINE,
        tuple(inner.ravel()),
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
    """How much of each pixel of the square lies in the photo: float32 [size, size] in [0, 1]."""
    centres = np.arange(size) + 0.5
    points = apply(matrix, np.stack(np.meshgrid(centres, centres), axis=-1))
    distance = np.minimum(points, (width, height) - points).min(axis=-1)
    scale = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    return np.clip(distance / scale + 0.5, 0, 1).astype(np.float32)
