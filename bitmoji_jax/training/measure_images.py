"""Measures images of a dataset a few at a time, for what is fitted when the reader's stage begins."""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from bitmoji_jax.data.pipeline import Dataset

_BATCH = 4  # more take longer for each: their maps exceed a CPU's caches


def spread(indices: np.ndarray, most: int) -> np.ndarray:
    """Returns at most `most` of the indices [N], evenly spread."""
    return indices[np.unique(np.linspace(0, len(indices) - 1, min(len(indices), most)).astype(int))]


def measure_images(
    dataset: Dataset, split: str, indices: Sequence[int] | np.ndarray, compiled: Callable[[np.ndarray], jax.Array]
) -> np.ndarray:
    """Applies a compiled function of uint8 images [B, S, S, 3] to those of a split: [N, ...], N of `indices`."""
    found = []
    for start in range(0, len(indices), _BATCH):
        images = np.stack([dataset.read(split, int(index))["image"] for index in indices[start : start + _BATCH]])
        padded = np.pad(images, ((0, _BATCH - len(images)), (0, 0), (0, 0), (0, 0)))
        found.append(np.asarray(compiled(padded))[: len(images)])
    return np.concatenate(found)
