"""How typical a translation is: a warning for photos unlike those of training.

The cycle error grows where a translation has lost what the photo showed; the second quantity is the distance of avatars
from real ones. Both are compared with those of the run's own training photos: the result means the same for every run.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from bitmoji_jax.ops.image import resize

_CELLS = 4  # a side: palette and layout, whose covariance a few images show
_SHRINKAGE = 0.05  # of the mean variance, added to each, so that rare directions do not decide
_UNUSUAL = 0.05  # share of training photos that count as unusual


@dataclasses.dataclass(frozen=True, eq=False)
class Guard:
    """The statistics of a run's training images."""

    mean: np.ndarray
    """float32 [48], of real avatars as 4 x 4 cells of RGB in [0, 255]."""
    whitening: np.ndarray
    """float32 [48, 48]: maps deviations from the mean to uncorrelated ones of unit variance."""
    cycle_errors: np.ndarray
    """float32 [K], ascending: mean absolute cycle errors of training photos, in grey levels."""
    distances: np.ndarray
    """float32 [K], ascending: Mahalanobis distances of their avatars from real ones."""

    def typicality(self, photos: np.ndarray, avatars: np.ndarray, cycled: np.ndarray) -> np.ndarray:
        """Computes 1 where neither quantity is among the highest 5 % of training photos', from there down to 0.

        All are uint8 [N, S, S, 3]: photos as the generator saw them, G of the photos, F of the avatars. Returns float64
        [N], the lower of the two quantities; 0 above all training photos. 2.5 % of them are under 0.5.
        """
        errors, distances = _cycle_errors(photos, cycled), _distances(avatars, self.mean, self.whitening)
        both = ((self.cycle_errors, errors), (self.distances, distances))
        shares = [1 - np.searchsorted(usual, values) / len(usual) for usual, values in both]  # at least as high
        return np.clip(np.minimum(*shares) / _UNUSUAL, 0, 1)

    def arrays(self) -> dict[str, np.ndarray]:
        """The fields by name, to be saved with the weights."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def fit_guard(real_avatars: np.ndarray, photos: np.ndarray, avatars: np.ndarray, cycled: np.ndarray) -> Guard:
    """Fits the statistics to training images; 200 of each are enough.

    All are uint8 [N, S, S, 3]: two or more real avatars; photos, G of the photos, F of their avatars.
    """
    cells = np.asarray(_cells(real_avatars))
    mean = cells.mean(axis=0)
    covariance = np.cov(cells, rowvar=False)
    covariance += max(_SHRINKAGE * np.trace(covariance) / len(covariance), 1.0) * np.eye(len(covariance))
    whitening = np.linalg.cholesky(np.linalg.inv(covariance)).astype(np.float32)
    distances = np.sort(_distances(avatars, mean, whitening))
    return Guard(mean, whitening, np.sort(_cycle_errors(photos, cycled)), distances)


def guard_from_arrays(arrays: Mapping[str, np.ndarray]) -> Guard:
    """Makes the guard whose `arrays` these are; ValueError where they are not those of a guard."""
    cells, shapes = 3 * _CELLS**2, {name: array.shape for name, array in arrays.items()}
    counts = {shapes.pop("cycle_errors", None), shapes.pop("distances", None)}
    if shapes != {"mean": (cells,), "whitening": (cells, cells)} or len(counts) != 1 or None in counts:
        raise ValueError(f"not the arrays of a guard: {[(name, array.shape) for name, array in arrays.items()]}")
    return Guard(**{name: np.asarray(array, np.float32) for name, array in arrays.items()})


def _cycle_errors(photos: np.ndarray, cycled: np.ndarray) -> np.ndarray:
    return np.abs(photos.astype(np.float32) - cycled).mean(axis=(1, 2, 3))


def _distances(avatars: np.ndarray, mean: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    return np.linalg.norm((np.asarray(_cells(avatars)) - mean) @ whitening, axis=1)


@jax.jit
def _cells(images: jax.Array) -> jax.Array:
    return resize(images.astype(jnp.float32), _CELLS).reshape(len(images), -1)
