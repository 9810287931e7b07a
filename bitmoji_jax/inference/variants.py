"""Variants of an avatar to choose from: people choose their avatar, and no single one is always the best.

The first is drawn from the photo as it is; the second from the mirrored photo, and mirrored back; the third from the
photo enlarged about its middle. They are the same person with other hair, brows or mouth.
"""

import numpy as np
from PIL import Image

VARIANTS = (1, 2, 3)

_MIRRORED, _LARGER = VARIANTS[1:]
_SCALE = 1.1


def vary(crops: np.ndarray, variant: int) -> np.ndarray:
    """Returns the photos that a variant is drawn from, of crops uint8 [N, H, H, 3]; ValueError for another number."""
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant}: it is one of {VARIANTS}")
    if variant == _LARGER:
        return np.array([_enlarged(crop) for crop in crops], np.uint8).reshape(crops.shape)
    return _mirrored(crops) if variant == _MIRRORED else crops


def restore(avatars: np.ndarray, variant: int) -> np.ndarray:
    """Returns avatars [N, S, S, 3] of what `vary` returned as they belong to the photo."""
    return _mirrored(avatars) if variant == _MIRRORED else avatars


def _mirrored(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(images[:, :, ::-1])


def _enlarged(crop: np.ndarray) -> np.ndarray:
    size = len(crop)
    edge = size * (1 - 1 / _SCALE) / 2
    box = (edge, edge, size - edge, size - edge)
    return np.asarray(Image.fromarray(crop).resize((size, size), Image.Resampling.BILINEAR, box))
