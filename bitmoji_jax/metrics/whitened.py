"""Points of photos and avatars compared without their proportions: each against what is usual in its own domain."""

import numpy as np

_FEWEST = 3  # images, below which a correlation says nothing
_SAME = 1e-9  # standard deviation of coordinates that are the same but for rounding


def from_eyes(landmarks: np.ndarray) -> np.ndarray:
    """Places nose and mouth corners from the middle of both eyes: float64 [N, 6], x and y of each.

    Landmarks are [N, 5, 2], the eyes first, fractions of the image, and so are the results; NaN where a point is
    unknown. ValueError for another shape.

    The eyes themselves are the origin and not compared: alignment puts those of photos in one place, so that what
    varies in them is error; and where an avatar's face is in its frame is no trait of a person.
    """
    if landmarks.ndim != 3 or landmarks.shape[1:] != (5, 2):
        raise ValueError(f"landmarks have shape {landmarks.shape}, not [N, 5, 2]")
    landmarks = landmarks.astype(np.float64)
    return (landmarks[:, 2:] - landmarks[:, :2].mean(axis=1, keepdims=True)).reshape(len(landmarks), -1)


def whiten(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Subtracts the mean of each coordinate of `reference` and divides by its standard deviation: float64 [N, D].

    Points are [N, D], those of the reference [M, D], NaN where unknown. The reference is of real images of the domain,
    so that outputs that are all alike stay alike and are not stretched. ValueError for other shapes, for fewer than
    three images whose points are known, and for a coordinate that is the same in all of them.
    """
    if points.ndim != 2 or points.shape[1:] != reference.shape[1:]:
        raise ValueError(f"shapes are {points.shape} and {reference.shape}, not [N, D] and [M, D]")
    known = reference[np.isfinite(reference).all(axis=1)]
    if len(known) < _FEWEST:
        raise ValueError(f"they are known for {len(known)} images, {_FEWEST} or more are needed")
    if not (known.std(axis=0) > _SAME).all():
        raise ValueError("they are in one place in all images")
    return (points - known.mean(axis=0)) / known.std(axis=0)


def own_and_other_distances(targets: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes the distance of each target from its own row of `found`, and its mean distance from all other rows.

    The distance of two rows is the root of the mean square over their D coordinates. Both arguments are [N, D] of
    `whiten`, both results float64 [N]; NaN where a target or its own row is unknown, or there is no other row.
    ValueError for other shapes.

    Not to be trusted: the first alone, since rows of zeros are nearer to all targets than rows that vary and are wrong
    (1 against 1.41 where all coordinates are normal): divide it by the second.
    """
    _check(targets, found)
    own = np.sqrt(np.square(targets - found).mean(axis=1))
    known = np.isfinite(own)
    count = known.sum()
    others = np.full(len(own), np.nan)
    if count > 1:
        a, b = targets[known], found[known]
        squares = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T
        distances = np.sqrt(np.maximum(squares, 0) / a.shape[1])
        others[known] = (distances.sum(axis=1) - own[known]) / (count - 1)
    return own, others


def correlations(targets: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Computes Pearson's correlation of each coordinate over the images: float64 [D], -1 to 1, of two [N, D].

    Images with an unknown coordinate are left out; a coordinate that does not vary has a correlation of 0, since it
    says nothing about the image. NaN for fewer than three images; ValueError for other shapes.

    Not to be trusted: above that of the regressor with labels; for small groups, whose standard error is 1 / sqrt(N).
    """
    _check(targets, found)
    known = np.isfinite(targets).all(axis=1) & np.isfinite(found).all(axis=1)
    if known.sum() < _FEWEST:
        return np.full(targets.shape[1], np.nan)
    a, b = (values[known] - values[known].mean(axis=0) for values in (targets, found))
    scale = np.sqrt(np.square(a).mean(axis=0) * np.square(b).mean(axis=0))
    return np.where(scale > _SAME, (a * b).mean(axis=0) / np.maximum(scale, _SAME), 0.0)


def _check(targets: np.ndarray, found: np.ndarray) -> None:
    if targets.shape != found.shape or targets.ndim != 2:
        raise ValueError(f"shapes are {targets.shape} and {found.shape}, not one of [N, D]")
