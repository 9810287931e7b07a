"""The person in a crop, separated from the background."""

import numpy as np
from PIL import Image
from scipy import ndimage

from bitmoji_jax.faces.resample import apply, inside, warp
from bitmoji_jax.models.face_networks import SIZES, run_network

_SIZE = SIZES["segmentation"]
# Probabilities between which the matte goes from background to person: without, doubtful pixels stay as grey clouds.
_BACKGROUND, _PERSON = 0.4, 0.8
# Side of the network's view, in sides of the crop: shoulders are found better with more of the surroundings.
_WIDE = 1.3
_ENOUGH_INSIDE = 0.8  # least share of the wide view inside the photo; the crop is 0.59 of it
_FACE = 0.2  # half the side of the square about the centre that is surely face, in sides of the crop


def person_matte(photo: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Computes how much of each pixel of a crop is the person in its middle: float32 [size, size] in [0, 1].

    `matrix` maps the crop, `size` pixels a side, to the photo, uint8 [H, W, 3].
    """
    share_inside = inside(_view(matrix, size, _WIDE, 32), 32, photo.shape[1], photo.shape[0]).mean()
    margin = _WIDE if share_inside > _ENOUGH_INSIDE else 1.0
    image = warp(photo, _view(matrix, size, margin, _SIZE), _SIZE, draft=True)
    share = np.clip((run_network("segmentation", image) - _BACKGROUND) / (_PERSON - _BACKGROUND), 0, 1)
    matte = _connected_to_face(share * share * (3 - 2 * share))
    edge = _SIZE * (1 - 1 / margin) / 2
    box = (edge, edge, _SIZE - edge, _SIZE - edge)
    return np.clip(np.asarray(Image.fromarray(matte).resize((size, size), Image.Resampling.BILINEAR, box)), 0, 1)


def on_white(image: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """Replaces the background of an image, uint8 [S, S, 3], by white; `matte` is that of `person_matte`, [S, S]."""
    alpha = matte[..., None]
    return np.rint(image * alpha + 255 * (1 - alpha)).astype(np.uint8)


def _view(matrix: np.ndarray, size: int, margin: float, pixels: int) -> np.ndarray:
    """The matrix of a square of `pixels` with the centre of a crop of `size`, and `margin` times its side."""
    turn = matrix[:, :2] * (margin * size / pixels)
    centre = apply(matrix, np.full(2, size / 2))
    return np.column_stack([turn, centre - turn @ np.full(2, pixels / 2)])


def _connected_to_face(matte: np.ndarray) -> np.ndarray:
    """Sets to 0 what is not connected to the face in the middle: other people, and mistakes."""
    parts, _ = ndimage.label(matte > 0)
    low, high = (round(len(matte) * (0.5 + offset * _FACE)) for offset in (-1, 1))
    face = np.unique(parts[low:high, low:high])
    return np.where(np.isin(parts, face[face > 0]), matte, 0).astype(np.float32)
