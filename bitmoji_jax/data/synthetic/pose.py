"""The pose of the head in a photo: which point of the canvas a pixel shows, and the layers and textures there."""

import numpy as np
from scipy import ndimage

from bitmoji_jax.data.synthetic.face import landmarks_on_canvas
from bitmoji_jax.data.synthetic.layers import View, canvas_grid
from bitmoji_jax.data.synthetic.spec import AvatarSpec, Nuisance

# The window of an unposed photo, and the wider one that is rasterised: a posed photo sees past the edge.
VIEW, SOURCE = View(38.0, 16.5, 188.0), View(17.0, -6.5, 230.0)
_MIDDLE = np.array([132.0, 112.0], np.float32)
_NARROWING = 1.10  # a photographed head is narrower than an avatar's


def photo_landmarks(spec: AvatarSpec, nuisance: Nuisance) -> np.ndarray:
    """Returns eyes, nose, mouth corners, image-left first: float32 [5, 2], (x, y) as fractions of the image."""
    points = landmarks_on_canvas(spec, photo=True)
    # `_unturn` goes from the photo to the canvas; it moves points little, so its inverse is found by iteration.
    guess = points.copy()
    for _ in range(12):
        guess = guess + points - np.stack(_unturn(nuisance, guess[:, 0], guess[:, 1]), -1)
    angle = nuisance.rotation
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = (guess - _MIDDLE) / [_NARROWING, 1] * nuisance.scale @ turn.T + _MIDDLE
    return ((moved - VIEW[:2]) / VIEW.side + nuisance.shift).astype(np.float32)


def canvas_of_pixels(nuisance: Nuisance, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the canvas point that each pixel of the photo shows: two float32 [pixels, pixels]."""
    x, y = canvas_grid(VIEW, pixels)
    dx = x - nuisance.shift[0] * VIEW.side - _MIDDLE[0]
    dy = y - nuisance.shift[1] * VIEW.side - _MIDDLE[1]
    angle = nuisance.rotation
    cos, sin = np.cos(angle) / nuisance.scale, np.sin(angle) / nuisance.scale
    flat_x = (_MIDDLE[0] + (cos * dx + sin * dy) * _NARROWING).astype(np.float32)
    flat_y = (_MIDDLE[1] - sin * dx + cos * dy).astype(np.float32)
    return _unturn(nuisance, flat_x, flat_y)


def _unturn(nuisance: Nuisance, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Undoes the turn of the head (near points move more than far ones) and the narrowing of its jaw."""
    dx = x - 132
    near = np.exp(-((dx / 52) ** 2) - ((y - 118) / 62) ** 2)
    dx = dx - 34 * np.float32(np.sin(nuisance.yaw)) * near
    jaw = np.clip((y - 120) / 66, 0, 1) * np.exp(-((np.clip(y - 186, 0, None) / 20) ** 2))
    narrow = 0.13 * jaw * jaw * np.exp(-np.square(np.square(dx / 75)))
    # The library's neck is thin.
    below = np.clip((y - 174) / 14, 0, 1)
    widen = 0.26 * below * below * (3 - 2 * below) * np.exp(-np.square(np.square(dx / 60)))
    return 132 + dx * (1 + narrow) * (1 - widen), y


class Grain:
    """Value noise over the canvas, in [0, 1]: one random tile, read at several scales."""

    def __init__(self, rng: np.random.Generator) -> None:
        tile = ndimage.gaussian_filter(rng.standard_normal((64, 64)).astype(np.float32), 1.0, mode="wrap")
        self._tile = np.clip(0.5 + 0.22 * tile / tile.std(), 0, 1)

    def fine(self, x: np.ndarray, y: np.ndarray, scale: float) -> np.ndarray:
        """Reads the nearest neighbours: sharp grain about `scale` canvas units across."""
        return self._tile[(y / scale).astype(np.int32) & 63, (x / scale).astype(np.int32) & 63]

    def smooth(self, x: np.ndarray, y: np.ndarray, scale: float) -> np.ndarray:
        """Reads bilinearly: smooth patches about `2 * scale` canvas units across."""
        column, row = np.asarray(x, np.float32) / scale + 640, np.asarray(y, np.float32) / scale + 640
        row, column = np.broadcast_arrays(row, column)
        return _bilinear(self._tile, row, column, mask=63)


class Canvas:
    """The canvas points of a photo's pixels: `x` and `y` float32 [N, N], and `unit`, the side of a pixel."""

    def __init__(self, x: np.ndarray, y: np.ndarray, pixels: int, grain: Grain) -> None:
        self.x, self.y, self.pixels, self.grain = x, y, pixels, grain
        self.unit = VIEW.side / pixels

    def sample(self, layers: np.ndarray, dx: np.ndarray | float = 0.0, dy: np.ndarray | float = 0.0) -> np.ndarray:
        """Reads layers [M, M, C] of `SOURCE` bilinearly, displaced by (dx, dy) units: [C, N, N]."""
        last = layers.shape[0] - 1
        column = np.clip((self.x + dx - SOURCE.x) * (layers.shape[0] / SOURCE.side) - 0.5, 0, last - 1e-3)
        row = np.clip((self.y + dy - SOURCE.y) * (layers.shape[0] / SOURCE.side) - 0.5, 0, last - 1e-3)
        return np.moveaxis(_bilinear(layers, row[..., None], column[..., None]), -1, 0)

    def bump(self, cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
        """Returns a soft spot of height 1 around (cx, cy): [N, N]."""
        return np.exp(-(((self.x - cx) / rx) ** 2) - ((self.y - cy) / ry) ** 2)


def _bilinear(image: np.ndarray, row: np.ndarray, column: np.ndarray, mask: int = -1) -> np.ndarray:
    """Interpolates image [M, M, ...] at rows and columns [N, N, ...], with an axis of 1 for the channels, if any.

    A `mask` of M - 1, for an M that is a power of 2, repeats the image.
    """
    i, j = row.astype(np.int32), column.astype(np.int32)
    v, u = row - i, column - j
    i, j = i.reshape(i.shape[:2]), j.reshape(j.shape[:2])
    i0, i1, j0, j1 = i & mask, (i + 1) & mask, j & mask, (j + 1) & mask
    top = image[i0, j0] * (1 - u) + image[i0, j1] * u
    bottom = image[i1, j0] * (1 - u) + image[i1, j1] * u
    return top * (1 - v) + bottom * v
