"""Whether outputs are as varied as real avatars, from distances between the features [N, d] of both.

Any features will do that put alike images near each other; only features of one network can be compared.
"""

import numpy as np
from scipy.spatial import distance


def nearest_neighbour_ratio(outputs: np.ndarray, reals: np.ndarray, seed: int = 0) -> float:
    """How far an output is from the output nearest to it, over the same among real avatars: means of both.

    The test for memorised or repeated samples by nearest neighbours, turned on the outputs themselves (Borji, arXiv
    1802.03446, on measures of mode collapse). No unit, from 0: 0 is one avatar for everybody, 1 as varied as the real.

    Not to be trusted: above 1, where noise and artefacts are variety too; for modes that are missing altogether, since
    many outputs in half the modes lie almost as far apart (`coverage` sees those); when several photos of one person
    are among the inputs. The distance shrinks as a set grows, so the larger set is cut to the smaller's size.

    Args:
      outputs: features [N, d] of translated photos.
      reals: features [M, d] of real avatars.
      seed: draws who stays in the larger set.

    Raises:
      ValueError: not two matrices of one width with two rows or more, or all nearest neighbours of `reals` are copies.
    """
    _check(outputs, reals, 2)
    count = min(len(outputs), len(reals))
    rng = np.random.default_rng(seed)

    def spread(rows: np.ndarray) -> float:
        return float(_neighbour_distances(rows[rng.permutation(len(rows))[:count]], 1).mean())

    among_reals = spread(reals)
    if not among_reals:
        raise ValueError("every real avatar has a copy among the real avatars: nothing to compare with")
    return spread(outputs) / among_reals


def coverage(outputs: np.ndarray, reals: np.ndarray, neighbours: int = 5) -> float:
    """The share of real avatars with an output as near as their fifth nearest real avatar, or nearer.

    Source: Naeem et al., arXiv 2002.09797. No unit, 0 to 1: the share of the real modes that outputs reach. Fresh real
    avatars in the place of the outputs score 1 − 2⁻⁵ = 0.97 if they are as many; fewer outputs score less.

    Not to be trusted: as a measure of variety alone while outputs look unlike avatars (a large KID): they are then near
    to no real avatar however varied they are.

    Args:
      outputs: features [N, d] of translated photos.
      reals: features [M, d] of real avatars, M > neighbours.
      neighbours: the how-manieth nearest real avatar sets the distance.

    Raises:
      ValueError: not two matrices of one width, or too few rows, or `neighbours` is under 1.
    """
    if neighbours < 1:
        raise ValueError(f"neighbours is {neighbours}, not 1 or more")
    _check(outputs, reals, 1)
    if len(reals) <= neighbours:
        raise ValueError(f"{len(reals)} real avatars have no {neighbours} neighbours each")
    radii = _neighbour_distances(reals, neighbours)
    return float(np.mean(distance.cdist(reals, outputs).min(axis=1) <= radii))


def _check(outputs: np.ndarray, reals: np.ndarray, rows: int) -> None:
    if outputs.ndim != 2 or reals.ndim != 2 or outputs.shape[1] != reals.shape[1]:
        raise ValueError(f"features have shapes {outputs.shape} and {reals.shape}, not [N, d] and [M, d]")
    if min(len(outputs), len(reals)) < rows:
        raise ValueError(f"{len(outputs)} and {len(reals)} rows of features, not {rows} or more on each side")


def _neighbour_distances(rows: np.ndarray, neighbour: int) -> np.ndarray:
    """Each row's distance [N] from its n-th nearest other row; `rows` [N, d]."""
    distances = distance.cdist(rows, rows)
    np.fill_diagonal(distances, np.inf)
    return np.partition(distances, neighbour - 1, axis=1)[:, neighbour - 1]
