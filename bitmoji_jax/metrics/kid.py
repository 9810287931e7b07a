"""KID, the distance of two sets of images as a network's features see it, and a low-pass that blinds it to noise."""

import dataclasses

import numpy as np

from bitmoji_jax.ops.image import check_images

_LARGEST_SUBSET = 1000
_SMALLEST_SUBSET = 2
_SIZE_OVER_SIGMA = 32


@dataclasses.dataclass(frozen=True)
class Kid:
    """Squared distances without a unit, customarily printed times 1000."""

    mean: float
    """About 0 for two samples of one distribution, and then as often below 0 as above."""
    sd: float
    """Standard deviation over the subsets. They overlap, so it is not the error of `mean`; 0 if there is one subset."""
    subsets: int
    subset_size: int


def kid(
    features: np.ndarray, others: np.ndarray, *, subsets: int = 100, subset_size: int | None = None, seed: int = 0
) -> Kid:
    """Kernel inception distance: the unbiased squared MMD under the kernel (x·y/d + 1)³, over random subsets.

    Source: Bińkowski et al., arXiv 1801.01401, section 4; the estimate: Gretton et al., JMLR 2012, lemma 6. The kernel
    compares the first three moments of the features. All pairs are held in memory: 2.4 GB for 10,000 images a side.

    Not to be trusted: across different networks, image sizes or ways of resizing, which move it more than a better
    generator does; with under some 100 images a side, where `sd` swallows what is looked for; as a sum of faults, since
    features may see fine noise before they see anything else (see `low_pass`).

    Args:
      features: [N, d].
      others: [M, d]; swapping the sides or reordering the images changes only which subsets are drawn.
      subsets: how many pairs of subsets are drawn, each without replacement.
      subset_size: images of each side in a subset. By default half the smaller side, so that the subsets differ, but
        at least 2 and at most 1000. It does not shift `mean`, it widens or narrows `sd`.
      seed: the same seed draws the same subsets.

    Raises:
      ValueError: not two matrices of one width and two rows or more, or a subset of under 2 images or more than a
        side has, or no subsets, or features that are not finite.
    """
    features, others = _feature_pair(features, others)
    smaller = min(len(features), len(others))
    if subset_size is None:
        subset_size = min(max(smaller // 2, _SMALLEST_SUBSET), _LARGEST_SUBSET)
    if not _SMALLEST_SUBSET <= subset_size <= smaller:
        raise ValueError(f"subset_size is {subset_size}, not from {_SMALLEST_SUBSET} to {smaller}, the smaller side")
    if subsets < 1:
        raise ValueError(f"subsets is {subsets}, not 1 or more")
    rng = np.random.default_rng(seed)
    within, within_others, across = _kernel(features, features), _kernel(others, others), _kernel(features, others)
    distances = []
    for _ in range(subsets):
        rows = rng.choice(len(features), subset_size, replace=False)
        columns = rng.choice(len(others), subset_size, replace=False)
        distances.append(
            _mean_of_pairs(within[np.ix_(rows, rows)])
            + _mean_of_pairs(within_others[np.ix_(columns, columns)])
            - 2 * across[np.ix_(rows, columns)].mean()
        )
    return Kid(float(np.mean(distances)), float(np.std(distances)), subsets, subset_size)


def low_pass(images: np.ndarray) -> np.ndarray:
    """Gaussian blur of σ = S/32 pixels (2 at 64, 4 at 128), applied to both sides before the second KID.

    It removes what upsampling and noise add: of a pattern of period 4 pixels 0.7 % are left at 64 px. It keeps a period
    of half the image at 93 %, of a quarter at 73 %, of an eighth at 29 %. So the KID after it sees palette, pose and
    the shapes of face and hair; not to be trusted on lines and thin glasses, which it removes too. It works on sRGB
    values, as the networks do, and mirrors the image at its border.

    Args:
      images: uint8 [N, S, S, 3].

    Returns:
      uint8 [N, S, S, 3], rounded to the nearest.

    Raises:
      ValueError: another shape or type.
    """
    check_images(images)
    sigma = images.shape[1] / _SIZE_OVER_SIGMA
    from scipy import ndimage  # slow to import, and this module is in the way of the first step of training

    blurred = ndimage.gaussian_filter(images.astype(np.float32), sigma, mode="reflect", axes=(1, 2))
    return np.rint(blurred).astype(np.uint8)


def _feature_pair(features: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64: the cubes of float32 features lose the small differences the distance is made of."""
    if features.ndim != 2 or others.ndim != 2 or features.shape[1] != others.shape[1] or not features.shape[1]:
        raise ValueError(f"features have shapes {features.shape} and {others.shape}, not [N, d] and [M, d]")
    if min(len(features), len(others)) < _SMALLEST_SUBSET:
        raise ValueError(f"{len(features)} and {len(others)} rows of features, not 2 or more on each side")
    if not (np.isfinite(features).all() and np.isfinite(others).all()):
        raise ValueError("some features are not finite")
    return features.astype(np.float64), others.astype(np.float64)


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _mean_of_pairs(kernel: np.ndarray) -> float:
    """The mean without the diagonal: a row compared with itself is what biases the plain estimate."""
    count = len(kernel)
    return (kernel.sum() - np.trace(kernel)) / (count * (count - 1))
