"""FID, the Fréchet distance of two sets of images as Inception-v3 sees them."""

import numpy as np
from scipy import linalg


def fid(features: np.ndarray, others: np.ndarray) -> float:
    """Fréchet distance of the normal distributions of two sets of features: |m − m'|² + tr(C + C' − 2 (C C')^½).

    Source: Heusel et al., arXiv 1706.08500, equation 6; C are the unbiased covariances. It is FID only of features that
    `inception.Inception` gives with its published weights. A squared distance in the features' unit: 0 for equal means
    and covariances, without an upper bound.

    Not to be trusted: between different numbers of images, since fewer make it larger (Chong & Forsyth,
    arXiv 1911.07023), so compare only at equal N; with under 2,049 images a side, where the covariances of 2048
    features lack full rank (10,000 or more are customary; for less see `kid`); across different image sizes or ways of
    resizing and compressing, which move it more than a better generator does (Parmar et al., arXiv 2104.11222); as a
    measure of drawings, of which a network trained on photos sees what it will.

    Args:
      features: [N, d].
      others: [M, d]; the order of the images and of the sides does not matter.

    Raises:
      ValueError: not two matrices of one width and two rows or more, or features that are not finite.
    """
    if features.ndim != 2 or others.ndim != 2 or features.shape[1] != others.shape[1] or not features.shape[1]:
        raise ValueError(f"features have shapes {features.shape} and {others.shape}, not [N, d] and [M, d]")
    if min(len(features), len(others)) < 2:
        raise ValueError(f"{len(features)} and {len(others)} rows of features, not 2 or more on each side")
    if not (np.isfinite(features).all() and np.isfinite(others).all()):
        raise ValueError("some features are not finite")
    mean, root = _mean_and_root(features.astype(np.float64))
    other_mean, other_root = _mean_and_root(others.astype(np.float64))
    # With C = RᵀR and C' = SᵀS the eigenvalues of C C' are the squared singular values of R Sᵀ: no square root is taken
    # of a product whose small eigenvalues, of which few images have many, are nothing but rounding.
    trace_of_root = linalg.svdvals(root @ other_root.T).sum()
    distance = np.square(mean - other_mean).sum() + np.square(root).sum() + np.square(other_root).sum()
    return max(float(distance - 2 * trace_of_root), 0.0)  # rounding alone goes below


def _mean_and_root(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean [d] and an R [min(N, d), d] with RᵀR the covariance, which is never squared and so keeps its digits."""
    mean = features.mean(axis=0)
    (root,) = linalg.qr((features - mean) / np.sqrt(len(features) - 1), mode="r")
    return mean, root[: features.shape[1]]  # the rows below are 0
