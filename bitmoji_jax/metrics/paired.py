"""The exact error of translations whose true avatar is known: those of the built-in synthetic set."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class PairedError:
    """Mean absolute differences from the true avatars, float64 [N], in grey levels of 0 to 255."""

    translated: np.ndarray
    copied: np.ndarray
    """Of the photo itself: the error of doing nothing."""
    mean_avatar: np.ndarray
    """Of the mean of all training avatars: the error of ignoring the photo."""


def paired_error(
    translated: np.ndarray, photos: np.ndarray, avatars: np.ndarray, mean_avatar: np.ndarray
) -> PairedError:
    """Compares translated photos, the photos and the mean training avatar with the photos' true avatars.

    Args:
      translated: uint8 [N, S, S, 3].
      photos: uint8 [N, S, S, 3].
      avatars: uint8 [N, S, S, 3], the true avatars in the order of the photos.
      mean_avatar: float [S, S, 3].

    Raises:
      ValueError: shapes that do not fit.
    """
    if not translated.shape == photos.shape == avatars.shape or mean_avatar.shape != avatars.shape[1:]:
        shapes = [array.shape for array in (translated, photos, avatars, mean_avatar)]
        raise ValueError(f"shapes are {shapes}, not three of [N, S, S, 3] and [S, S, 3]")

    def errors(images: np.ndarray) -> np.ndarray:
        return np.abs(images.astype(np.float64) - avatars).mean(axis=(1, 2, 3))

    return PairedError(errors(translated), errors(photos), errors(mean_avatar))
