"""How usual a translation is: an alarm for photos that a run was not made for.

Two things can be had of any photo without labels: how well it comes back (the cycle error, which grows where a
translation has lost what was there), and how far the avatar lies from real avatars. Either is compared with what the
run makes of its own training photos, so that the result means the same for every run.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from bitmoji_jax.ops.image import resize

_CELLS = 4  # a side: palette and layout, which need few images to know how they vary
_SHRINKAGE = 0.05  # of the mean variance, added to each, so that rare directions do not decide
_USUAL = 0.05  # share of training photos that count as unusual


@dataclasses.dataclass(frozen=True, eq=False)
class Guard:
    """What is usual in a run."""

    mean: np.ndarray
    """float32 [48], of real avatars as 4 x 4 cells of RGB in [0, 255]."""
    whitening: np.ndarray
    """float32 [48, 48]: what turns their deviations from the mean into uncorrelated ones of unit variance."""
    cycle_errors: np.ndarray
    """float32 [K], ascending: mean absolute cycle errors of training photos, in grey levels."""
    distances: np.ndarray
    """float32 [K], ascending: Mahalanobis distances of their avatars from real ones."""

    def usualness(self, photos: np.ndarray, avatars: np.ndarray, cycled: np.ndarray) -> np.ndarray:
        """1 where neither number is among the highest 5 % of training photos', from there to 0 as it is the highest.

        Args:
          photos: uint8 [N, S, S, 3], as the generator saw them.
          avatars: uint8 [N, S, S, 3], G of them.
          cycled: uint8 [N, S, S, 3], F of the avatars.

        Returns:
          float64 [N]: the lower of the two. 0.5 is reached by 2.5 % of training photos.
        """
        parts = (
            _rarity(self.cycle_errors, _cycle_errors(photos, cycled)),
            _rarity(self.distances, _distances(avatars, self.mean, self.whitening)),
        )
        return np.clip(np.minimum(*parts) / _USUAL, 0, 1)

    def arrays(self) -> dict[str, np.ndarray]:
        """The fields by name, to be kept with the weights."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def fit_guard(real_avatars: np.ndarray, photos: np.ndarray, avatars: np.ndarray, cycled: np.ndarray) -> Guard:
    """Learns what is usual from training images; 200 of each are enough.

    Args:
      real_avatars: uint8 [M, S, S, 3], two or more.
      photos: uint8 [K, S, S, 3].
      avatars: uint8 [K, S, S, 3], G of them.
      cycled: uint8 [K, S, S, 3], F of the avatars.
    """
    cells = _cells(real_avatars)
    mean = cells.mean(axis=0)
    covariance = np.cov(cells, rowvar=False)
    covariance += max(_SHRINKAGE * np.trace(covariance) / len(covariance), 1.0) * np.eye(len(covariance))
    whitening = np.linalg.cholesky(np.linalg.inv(covariance)).astype(np.float32)
    return Guard(
        mean=mean,
        whitening=whitening,
        cycle_errors=np.sort(_cycle_errors(photos, cycled)),
        distances=np.sort(_distances(avatars, mean, whitening)),
    )


def guard_from_arrays(arrays: Mapping[str, np.ndarray]) -> Guard:
    """The guard whose `arrays` these are.

    Raises:
      ValueError: they are of no guard.
    """
    cells, shapes = 3 * _CELLS**2, {name: array.shape for name, array in arrays.items()}
    counts = {shapes.pop("cycle_errors", None), shapes.pop("distances", None)}
    if shapes != {"mean": (cells,), "whitening": (cells, cells)} or len(counts) != 1 or None in counts:
        raise ValueError(f"no guard has {[(name, array.shape) for name, array in arrays.items()]}")
    return Guard(**{name: np.asarray(array, np.float32) for name, array in arrays.items()})


def _rarity(usual: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The share of `usual` (ascending) that is at least as high as a value: 0 beyond all of them."""
    return (len(usual) - np.searchsorted(usual, values, side="left")) / len(usual)


def _cycle_errors(photos: np.ndarray, cycled: np.ndarray) -> np.ndarray:
    return np.abs(photos.astype(np.float32) - cycled).mean(axis=(1, 2, 3))


def _distances(avatars: np.ndarray, mean: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    return np.linalg.norm((_cells(avatars) - mean) @ whitening, axis=1)


def _cells(images: np.ndarray) -> np.ndarray:
    small = _resized_to_cells(images)
    return np.asarray(small).reshape(len(images), -1)


@jax.jit
def _resized_to_cells(images: jax.Array) -> jax.Array:
    return resize(images.astype(jnp.float32), _CELLS)
