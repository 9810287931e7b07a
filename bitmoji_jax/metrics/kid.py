"""KID, the distance of two sets of images in the features of a network, and a low-pass filter against noise."""

import dataclasses

import numpy as np

from bitmoji_jax.ops.image import check_images

_LARGEST_SUBSET = 1000
_SMALLEST_SUBSET = 2
_SIZE_OVER_SIGMA = 32


@dataclasses.dataclass(frozen=True)
class Kid:
    """A squared distance without a unit, customarily given times 1000."""

    mean: float
    """About 0 for two samples of one distribution, and then as often below 0 as above it."""
    sd: float
    """Standard deviation over the subsets. They overlap, so it is not the error of `mean`; 0 if there is one subset."""
    subsets: int
    subset_size: int


def kid(
    features: np.ndarray, others: np.ndarray, *, subsets: int = 100, subset_size: int | None = None, seed: int = 0
) -> Kid:
    """Computes the kernel inception distance: the unbiased squared MMD under the kernel (x·y/d + 1)³, over subsets.

    Source: Bińkowski et al., arXiv 1801.01401, section 4; the estimate: Gretton et al., JMLR 2012, lemma 6. The kernel
    compares the first three moments of the features. All pairs are held in memory: 2.4 GB for 10,000 images a side.

    Not to be trusted: across networks, image sizes or ways of resizing; with fewer than about 100 images a side.

    Args:
      features: [N, d], finite, N at least 2.
      others: [M, d], the same.
      subsets: pairs of subsets, 1 or more, each drawn without replacement.
      subset_size: images of each side in a subset, from 2 to the smaller side; by default half of that, at most 1000.
        It changes `sd`, not the expected `mean`.
      seed: of the subsets.

    Raises:
      ValueError: an argument is not as above.
    """
    check_features(features, others, _SMALLEST_SUBSET)
    # The distance is a small difference of cubes, which float32 would lose.
    features, others = features.astype(np.float64), others.astype(np.float64)
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
    """Blurs images with a gaussian of σ = S/32 pixels (2 at 64, 4 at 128), both sides before a second KID.

    It removes noise and the artefacts of upsampling (0.7 % of a pattern of 4 pixels are left at 64 px, 73 % of one of
    16), so the KID after it measures palette, pose and the shapes of face and hair. The blur is of sRGB values, and the
    image is mirrored at its border. Images are uint8 [N, S, S, 3], and so is the result; ValueError otherwise.

    Not to be trusted: on lines and thin glasses, which are removed too.
    """
    check_images(images)
    from scipy import ndimage  # slow to import, and training imports this module before its first step

    sigma = images.shape[1] / _SIZE_OVER_SIGMA
    blurred = ndimage.gaussian_filter(images.astype(np.float32), sigma, mode="reflect", axes=(1, 2))
    return np.rint(blurred).astype(np.uint8)


def check_features(features: np.ndarray, others: np.ndarray, rows: int) -> None:
    """Raises ValueError unless both are finite matrices of one width, [N, d] and [M, d], with N and M >= rows."""
    if features.ndim != 2 or others.ndim != 2 or features.shape[1] != others.shape[1] or not features.shape[1]:
        raise ValueError(f"features have shapes {features.shape} and {others.shape}, not [N, d] and [M, d]")
    if min(len(features), len(others)) < rows:
        raise ValueError(f"{len(features)} and {len(others)} rows of features, not {rows} or more on each side")
    if not (np.isfinite(features).all() and np.isfinite(others).all()):
        raise ValueError("some features are not finite")


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _mean_of_pairs(kernel: np.ndarray) -> float:
    """The mean without the diagonal: comparing a row with itself would bias the estimate."""
    count = len(kernel)
    return (kernel.sum() - np.trace(kernel)) / (count * (count - 1))
