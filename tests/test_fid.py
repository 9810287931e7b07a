import numpy as np
import pytest

from bitmoji_jax.evaluation.fid import fid


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def with_moments(rng: np.random.Generator, count: int, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Samples whose own mean and covariance are those given, but for rounding."""
    x = rng.normal(size=(count, len(mean)))
    x -= x.mean(axis=0)
    white = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def covariance_of_axes(rng: np.random.Generator, *variances: float) -> tuple[np.ndarray, np.ndarray]:
    axes = np.linalg.qr(rng.normal(size=(len(variances), len(variances))))[0]
    return axes, axes @ np.diag(variances) @ axes.T


def test_gaussians_with_common_axes_are_the_closed_form(rng: np.random.Generator) -> None:
    axes, covariance = covariance_of_axes(rng, 4.0, 1.0, 0.25)
    mean, other_mean = np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 2.5])
    x = with_moments(rng, 50, mean, covariance)
    y = with_moments(rng, 70, other_mean, axes @ np.diag([1.0, 9.0, 0.25]) @ axes.T)
    # Where the covariances commute, it is the squared distance of means and of standard deviations.
    assert fid(x, y) == pytest.approx((4 + 0.25) + ((2 - 1) ** 2 + (1 - 3) ** 2), rel=1e-12)


def test_gaussians_of_two_dimensions_with_other_axes_are_the_closed_form(rng: np.random.Generator) -> None:
    a, b = np.array([[2.0, 0.6], [0.6, 1.0]]), np.array([[0.5, -0.3], [-0.3, 3.0]])
    # A 2 × 2 matrix with eigenvalues p, q >= 0 has (√p + √q)² = p + q + 2 √(pq): trace and determinant suffice.
    trace_of_root = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    expected = np.trace(a) + np.trace(b) - 2 * trace_of_root
    x, y = (with_moments(rng, 40, np.zeros(2), covariance) for covariance in (a, b))
    assert fid(x, y) == pytest.approx(expected, rel=1e-10)


def test_one_feature_is_compared_by_hand() -> None:
    x, y = np.array([[0.0], [2.0]]), np.array([[1.0], [5.0], [9.0]])
    assert fid(x, y) == pytest.approx((5 - 1) ** 2 + (4 - np.sqrt(2)) ** 2)  # variances 2 and 16, divided by N − 1


def test_large_samples_of_known_gaussians_come_close(rng: np.random.Generator) -> None:
    x = rng.normal(0, 1, size=(20_000, 8))
    y = rng.normal(0.5, 2, size=(20_000, 8))
    assert fid(x, y) == pytest.approx(8 * (0.25 + 1), rel=0.02)


def test_equal_sets_are_at_zero_and_a_shift_adds_its_square(rng: np.random.Generator) -> None:
    x = rng.normal(size=(60, 40)) * np.linspace(0, 5, 40)
    assert 0 <= fid(x, x) < 1e-10
    assert 0 <= fid(x, x[::-1]) < 1e-10
    shift = rng.normal(size=40)
    assert fid(x, x + shift) == pytest.approx(np.square(shift).sum(), rel=1e-10)


def test_the_sides_can_be_swapped(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(30, 12)), rng.gamma(2, size=(50, 12))
    assert fid(x, y) == pytest.approx(fid(y, x), rel=1e-12)


def test_fewer_images_than_features_work_and_are_still_exact(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(5, 300)), 2 * rng.normal(size=(7, 300)) + 0.1
    assert 0 <= fid(x, x) < 1e-10
    shift = fid(x, x + 0.1)
    assert shift == pytest.approx(300 * 0.01, rel=1e-10)
    # Scaled about its mean by 3, a set's deviations grow by twice themselves.
    mean = x.mean(axis=0)
    expected = 4 * np.trace(np.cov(x, rowvar=False))
    assert fid(x, 3 * (x - mean) + mean) == pytest.approx(expected, rel=1e-10)
    assert np.isfinite(fid(x, y))
    assert fid(x, y) > 0


def test_features_that_never_fire_change_nothing(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(20, 4)), rng.gamma(2, size=(20, 4))
    dead = np.zeros((20, 3))
    assert fid(np.hstack([x, dead]), np.hstack([y, dead])) == pytest.approx(fid(x, y), rel=1e-12)


def test_fewer_images_make_it_larger(rng: np.random.Generator) -> None:
    few, some, many = (fid(*rng.normal(size=(2, count, 32))) for count in (40, 160, 640))
    assert few > 2 * some > 4 * many > 0


def test_a_large_common_mean_does_not_cost_the_digits(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(2, 40, 6))
    assert fid(x + 1e5, y + 1e5) == pytest.approx(fid(x, y), rel=1e-8)


def test_float32_features_are_compared_in_float64(rng: np.random.Generator) -> None:
    x, y = rng.normal(10, 1, size=(2, 40, 6)).astype(np.float32)
    assert fid(x, y) == pytest.approx(fid(x.astype(np.float64), y.astype(np.float64)), rel=1e-12)


@pytest.mark.parametrize(
    ("shape", "other"), [((4,), (4,)), ((4, 3), (4, 2)), ((4, 0), (4, 0)), ((1, 3), (4, 3)), ((4, 3), (0, 3))]
)
def test_other_shapes_are_refused(shape: tuple[int, ...], other: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="not"):
        fid(np.zeros(shape), np.zeros(other))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        fid(np.zeros((4, 3)), np.array([[value, 0, 0], [0, 0, 0]]))
