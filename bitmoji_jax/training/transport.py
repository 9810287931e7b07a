"""Fits T: where the avatar of a photo should have the points of its face (models/face_points.py, `Transport`).

It is the linear map that takes the points of photos, as a distribution, to those of avatars, and moves them as little
as possible: who has the widest mouth of the photos has the widest of the avatars.
"""

import jax
import numpy as np

from bitmoji_jax.data.pipeline import Dataset
from bitmoji_jax.models.face_points import MIRRORED, POINTS, from_eyes, measure
from bitmoji_jax.models.networks import Params
from bitmoji_jax.ops.image import to_float
from bitmoji_jax.training.measure_images import measure_images, spread

_SAMPLE = 1024  # images of each domain
_LEAST_VARIANCE = 1e-4
"""Added to the variance of photos in every direction: (1 % of the side) squared. Where alignment leaves less, as at the
eyes, what remains is mostly error, and must not become as large as the differences between avatars."""


def optimal_transport(photos: np.ndarray, avatars: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the parameters of a `Transport` from points of photos [N, POINTS, 2] to those of avatars [M, POINTS, 2].

    It is the optimal transport between two normal distributions with the means and covariances of both sets, each taken
    together with its mirror image: A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2 for covariances A and B.
    """
    (source, a), (target, b) = (_moments(points) for points in (photos, avatars))
    root = _root(a + _LEAST_VARIANCE * np.eye(len(a)))
    inverse = np.linalg.inv(root)
    matrix = inverse @ _root(root @ b @ root) @ inverse
    fitted = {"matrix": matrix, "source": source, "target": target}
    return {name: array.astype(np.float32) for name, array in fitted.items()}


def fit_transport(dataset: Dataset) -> Params:
    """Measures the points of up to 1,024 training photos and as many avatars, and fits the network t to them."""
    compiled = jax.jit(lambda images: from_eyes(measure(to_float(images)))[0])
    sizes = dataset.sizes()
    photos, avatars = (
        measure_images(dataset, split, spread(np.arange(sizes[split]), _SAMPLE), compiled)
        for split in ("trainA", "trainB")
    )
    return {"params": optimal_transport(photos, avatars)}


def _moments(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mirrored = (points * (-1, 1))[:, MIRRORED]
    both = np.concatenate([points, mirrored]).reshape(-1, 2 * POINTS).astype(np.float64)
    return both.mean(axis=0), np.cov(both.T)


def _root(matrix: np.ndarray) -> np.ndarray:
    """The square root of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    root: np.ndarray = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root
