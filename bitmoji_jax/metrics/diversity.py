"""The variety of outputs compared with that of real avatars, from distances between features [N, d] of one network."""

import numpy as np
from scipy.spatial import distance

from bitmoji_jax.metrics.kid import check_features


def nearest_neighbour_ratio(outputs: np.ndarray, reals: np.ndarray, seed: int = 0) -> float:
    """Divides the mean distance of an output from the nearest other output by that among real avatars.

    A test for mode collapse (Borji, arXiv 1802.03446). No unit: 0 is one avatar for everybody, 1 as varied as the real.
    The distance shrinks as a set grows, so the larger set is cut to the size of the smaller, by `seed`. ValueError for
    fewer than two rows on a side, other shapes, or if all nearest neighbours among the real avatars are copies.

    Not to be trusted: above 1, where noise counts as variety; for missing modes (see `coverage`).
    """
    check_features(outputs, reals, 2)
    count = min(len(outputs), len(reals))
    rng = np.random.default_rng(seed)

    def spread(rows: np.ndarray) -> float:
        return float(_neighbour_distances(rows[rng.permutation(len(rows))[:count]], 1).mean())

    among_reals = spread(reals)
    if not among_reals:
        raise ValueError("every real avatar has a copy among the real avatars: nothing to compare with")
    return spread(outputs) / among_reals


def coverage(outputs: np.ndarray, reals: np.ndarray, neighbours: int = 5) -> float:
    """Computes the share of real avatars with an output at least as near as their fifth (`neighbours`) real neighbour.

    Source: Naeem et al., arXiv 2002.09797. 0 to 1: the share of the real modes that outputs reach. As many other real
    avatars instead of the outputs score 1 − 2⁻⁵ = 0.97; fewer outputs score less. ValueError for other shapes, no
    outputs, no more real avatars than `neighbours`, or `neighbours` under 1.

    Not to be trusted: as variety alone while KID is large, when outputs are near no real avatar, however varied.
    """
    if neighbours < 1:
        raise ValueError(f"neighbours is {neighbours}, not 1 or more")
    check_features(outputs, reals, 1)
    if len(reals) <= neighbours:
        raise ValueError(f"{len(reals)} real avatars have no {neighbours} neighbours each")
    radii = _neighbour_distances(reals, neighbours)
    return float(np.mean(distance.cdist(reals, outputs).min(axis=1) <= radii))


def _neighbour_distances(rows: np.ndarray, neighbour: int) -> np.ndarray:
    """Computes each row's distance [N] from its n-th nearest other row, of rows [N, d]."""
    distances = distance.cdist(rows, rows)
    np.fill_diagonal(distances, np.inf)
    return np.partition(distances, neighbour - 1, axis=1)[:, neighbour - 1]
