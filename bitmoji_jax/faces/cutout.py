"""The person in a crop, apart from the background."""

import numpy as np
from PIL import Image

from bitmoji_jax.faces import segmentation
from bitmoji_jax.faces.layers import load_params
from bitmoji_jax.faces.resample import warp

_MARGIN = 1.3  # what the network sees, in sides of the crop


def person(photo: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """How much of each pixel of a crop is the person: float32 [size, size] in [0, 1].

    Args:
      photo: uint8 [H, W, 3].
      matrix: from the crop to the photo.
      size: side of the crop in pixels.
    """
    wide = matrix.copy()
    wide[:, :2] *= _MARGIN * size / segmentation.SIZE
    wide[:, 2] = matrix @ (size / 2, size / 2, 1) - wide[:, :2] @ np.full(2, segmentation.SIZE / 2)
    seen = warp(photo, wide, segmentation.SIZE)
    matte = np.array(segmentation.segment_batch(load_params("segmentation"), seen[None])[0])
    low = segmentation.SIZE * (1 - 1 / _MARGIN) / 2
    box = (low, low, segmentation.SIZE - low, segmentation.SIZE - low)
    resized = Image.fromarray(matte).resize((size, size), Image.Resampling.BILINEAR, box)
    return np.clip(np.asarray(resized), 0, 1)
