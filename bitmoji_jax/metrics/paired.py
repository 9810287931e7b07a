"""The exact error on test photos whose true avatar is known: the built-in synthetic set."""

import dataclasses
from collections.abc import Callable

import numpy as np

from bitmoji_jax.data.pipeline import Dataset


@dataclasses.dataclass(frozen=True)
class PairedError:
    """Mean absolute differences from the true avatar, in grey levels of 0 to 255, over pixels, channels and images."""

    translated: float
    copied: float
    """The photo itself in place of an avatar: what doing nothing scores."""
    mean_avatar: float
    """The mean of all training avatars for everybody: what ignoring the photo scores."""
    images: int


def paired_error(translate: Callable[[np.ndarray], np.ndarray], dataset: Dataset) -> PairedError:
    """Compares the translated test photos with their partners.

    Args:
      translate: uint8 photos [N, S, S, 3] -> uint8 avatars of that shape.
      dataset: one with `paired_test`.
    """
    pairs = dataset.test_pairs()
    photos = np.stack([dataset.read("testA", i)["image"] for i, _ in pairs])
    avatars = np.stack([dataset.read("testB", i)["image"] for _, i in pairs])
    translated = translate(photos)
    count = len(dataset.splits["trainB"])
    mean_avatar = sum(dataset.read("trainB", i)["image"].astype(np.float64) for i in range(count)) / count

    def error(images: np.ndarray) -> float:
        return float(np.abs(images.astype(np.float64) - avatars).mean())

    return PairedError(error(translated), error(photos), error(mean_avatar), len(photos))
