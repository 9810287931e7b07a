"""Fits h, which tells the hats of photos (models/read_hat.py), to the training photos whose `hat` is labelled.

It is a logistic regression. Hats are rare, so that those that are labelled have a fixed share of all weight together.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bitmoji_jax.data.pipeline import Dataset
from bitmoji_jax.models.networks import Params
from bitmoji_jax.models.read_hat import FEATURES, hat_features
from bitmoji_jax.ops.image import resize, to_float
from bitmoji_jax.training.measure_images import measure_images, spread

_FEWEST, _MOST = 8, 4096  # photos with, and without, that are needed; that are used
_HATS_SHARE = 0.1  # of the weight: with it one in 200 bareheaded persons is given a hat
_RIDGE = 100.0  # weight of the squares of the numbers that are learned, for features with a variance of 1
_STEPS = 12  # of Newton's method; it takes six to nine


def fit_hats(dataset: Dataset, size: int) -> Params:
    """Measures labelled training photos and their mirror images, and fits the network h to them.

    They are reduced to `size` pixels, as networks see photos. Where fewer than eight are labelled with a hat, or fewer
    without, no photo will count as one with a hat.
    """
    rows = dataset.splits["trainA"]
    labels = [rows[index].get("attributes", {}).get("hat") for index in range(len(rows))]
    worn, bare = (spread(np.array([i for i, known in enumerate(labels) if known == label]), _MOST) for label in (1, 0))
    if min(len(worn), len(bare)) < _FEWEST:
        return {"params": {"kernel": np.zeros(FEATURES, np.float32), "bias": np.float32(-1)}}

    @jax.jit
    def measured(images: jax.Array) -> jax.Array:
        photos = resize(to_float(images), size)
        return jnp.stack([hat_features(photos), hat_features(photos[:, :, ::-1])], axis=1)

    features = measure_images(dataset, "trainA", [*worn, *bare], measured).reshape(-1, FEATURES)
    return {"params": logistic_regression(features, np.repeat([True, False], [2 * len(worn), 2 * len(bare)]))}


def logistic_regression(features: np.ndarray, worn: np.ndarray) -> dict[str, np.ndarray]:
    """Returns kernel [C] and bias [] of the logit of `worn`, bool [N], that fit features [N, C]."""
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    x = np.column_stack([(features - mean) / deviation, np.ones(len(features))]).astype(np.float64)
    weight = len(worn) * np.where(worn, _HATS_SHARE / worn.sum(), (1 - _HATS_SHARE) / (~worn).sum())
    ridge = np.append(np.full(features.shape[1], _RIDGE), 1e-6)
    numbers = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        share = 1 / (1 + np.exp(-x @ numbers))
        gradient = x.T @ (weight * (share - worn)) + ridge * numbers
        numbers -= np.linalg.solve((x.T * (weight * share * (1 - share))) @ x + np.diag(ridge), gradient)
    kernel = numbers[:-1] / deviation
    return {"kernel": kernel.astype(np.float32), "bias": np.float32(numbers[-1] - kernel @ mean)}
