import numpy as np
import pytest

from bitmoji_jax.metrics.kid import kid, low_pass


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def by_loops(x: np.ndarray, y: np.ndarray) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (sum(float(p) * float(q) for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    within_x = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_y = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_x + within_y - 2 * sum(kernel(a, b) for a in x for b in y) / (n * m)


def squared_mmd_of_gaussians(mean_x: np.ndarray, sd_x: float, mean_y: np.ndarray, sd_y: float) -> float:
    """The kernel expands into 1 + 3 x·y/d + 3 (x·y)²/d² + (x·y)³/d³, so it compares the first three moments."""
    width = len(mean_x)
    unit = np.eye(width)

    def moments(mean: np.ndarray, sd: float) -> list[np.ndarray]:
        cube = np.einsum("i,j,k->ijk", mean, mean, mean)
        mixed = np.einsum("i,jk->ijk", mean, unit) + np.einsum("j,ik->ijk", mean, unit)
        mixed += np.einsum("k,ij->ijk", mean, unit)
        return [mean, np.outer(mean, mean) + sd**2 * unit, cube + sd**2 * mixed]

    steps = [np.square(a - b).sum() for a, b in zip(moments(mean_x, sd_x), moments(mean_y, sd_y), strict=True)]
    return sum(weight * step / width**n for n, (weight, step) in enumerate(zip((3, 3, 1), steps, strict=True), 1))


def test_one_subset_of_everything_is_the_formula_by_loops(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(7, 3)), rng.normal(0.5, 2, size=(7, 3))
    result = kid(x, y, subset_size=7, subsets=1)
    assert result.mean == pytest.approx(by_loops(x, y), rel=1e-12)
    assert (result.sd, result.subsets, result.subset_size) == (0, 1, 7)


def test_the_larger_side_is_drawn_from_too() -> None:
    # Rows alike within a side: whichever are drawn, the distance is that of one row from the other.
    x, y = np.full((4, 2), 1.0), np.full((9, 2), 3.0)
    result = kid(x, y)
    assert result.mean == pytest.approx((1 + 1) ** 3 + (9 + 1) ** 3 - 2 * (3 + 1) ** 3)
    assert result.sd == pytest.approx(0, abs=1e-9)
    assert result.subset_size == 2


def test_samples_of_one_distribution_average_to_0(rng: np.random.Generator) -> None:
    values = [
        kid(rng.normal(size=(60, 8)), rng.normal(size=(60, 8)), subset_size=60, subsets=1).mean for _ in range(300)
    ]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error
    assert min(values) < 0 < max(values)


def test_gaussians_have_the_distance_of_their_moments(rng: np.random.Generator) -> None:
    mean_x, mean_y = np.array([0.0, 0.5, 0.0, -0.5]), np.array([1.0, 0.5, 0.0, 0.0])
    expected = squared_mmd_of_gaussians(mean_x, 1.0, mean_y, 1.5)
    values = [
        kid(rng.normal(mean_x, 1.0, (200, 4)), rng.normal(mean_y, 1.5, (200, 4)), subset_size=200, subsets=1).mean
        for _ in range(200)
    ]
    assert abs(np.mean(values) - expected) < 3 * np.std(values) / np.sqrt(len(values))
    assert np.std(values) / np.sqrt(len(values)) < 0.05 * expected


def test_subsets_average_to_the_estimate_from_all(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(100, 6)), rng.normal(0.3, 1, size=(150, 6))
    whole = by_loops(x, y)
    for size in (10, 50):
        drawn = kid(x, y, subsets=1000, subset_size=size)
        assert abs(drawn.mean - whole) < 4 * drawn.sd / np.sqrt(1000)
    assert kid(x, y, subset_size=10).sd > 2 * kid(x, y, subset_size=50).sd


def test_order_and_sides_do_not_matter(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(50, 5)), rng.normal(0.2, 1, size=(50, 5))
    whole = kid(x, y, subset_size=50, subsets=1).mean
    assert kid(x[::-1], y[rng.permutation(50)], subset_size=50, subsets=1).mean == pytest.approx(whole)
    assert kid(y, x, subset_size=50, subsets=1).mean == pytest.approx(whole)


def test_the_seed_decides_the_subsets(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(40, 5)), rng.normal(size=(40, 5))
    assert kid(x, y) == kid(x, y)
    assert kid(x, y, seed=1) != kid(x, y)


def test_float32_features_lose_nothing(rng: np.random.Generator) -> None:
    x, y = rng.normal(30, 1, (20, 4)).astype(np.float32), rng.normal(30, 1, (20, 4)).astype(np.float32)
    assert kid(x, y) == kid(x.astype(np.float64), y.astype(np.float64))


@pytest.mark.parametrize(("counts", "size"), [((2, 9), 2), ((400, 401), 200), ((2100, 2500), 1000)])
def test_by_default_a_subset_is_half_the_smaller_side_within_bounds(counts: tuple[int, int], size: int) -> None:
    assert kid(np.zeros((counts[0], 1)), np.zeros((counts[1], 1)), subsets=1).subset_size == size


@pytest.mark.parametrize("shapes", [((5, 3), (5, 4)), ((5, 3), (5,)), ((5, 3, 1), (5, 3, 1)), ((5, 0), (5, 0))])
def test_kid_refuses_shapes_that_do_not_fit(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="shapes"):
        kid(np.zeros(shapes[0]), np.zeros(shapes[1]))


def test_kid_refuses_too_few_rows_and_impossible_subsets() -> None:
    x = np.zeros((5, 3))
    with pytest.raises(ValueError, match="2 or more"):
        kid(x, x[:1])
    for size in (1, 6):
        with pytest.raises(ValueError, match="subset_size"):
            kid(x, x, subset_size=size)
    with pytest.raises(ValueError, match="subsets is 0"):
        kid(x, x, subsets=0)
    with pytest.raises(ValueError, match="not finite"):
        kid(x, np.full((5, 3), np.nan))


def tiles(size: int, side: int) -> np.ndarray:
    """A chessboard of 28 and 228 in squares of `side` pixels, uint8 [1, size, size, 3]."""
    row, column = np.indices((size, size)) // side
    return np.repeat(np.where((row + column) % 2, 228, 28).astype(np.uint8)[None, ..., None], 3, axis=-1)


@pytest.mark.parametrize("side", [1, 2])
def test_low_pass_removes_a_checkerboard(side: int) -> None:
    inner = low_pass(tiles(64, side))[:, 8:-8, 8:-8]
    assert np.abs(inner.astype(int) - 128).max() <= 1


def test_low_pass_keeps_a_constant() -> None:
    colour = np.array([3, 140, 255], np.uint8)
    images = np.broadcast_to(colour, (2, 16, 16, 3))
    np.testing.assert_array_equal(low_pass(images), images)


@pytest.mark.parametrize("size", [32, 64, 128])
@pytest.mark.parametrize(("periods", "kept"), [(2, 0.926), (4, 0.735), (8, 0.291)])
def test_low_pass_keeps_the_documented_share_of_a_wave_at_every_size(size: int, periods: int, kept: float) -> None:
    # A cosine with an extremum at both borders goes on when it is mirrored.
    wave = np.cos(np.pi * 2 * periods * (np.arange(size) + 0.5) / size)
    images = np.rint(128 + 100 * np.broadcast_to(wave[:, None, None], (1, size, size, 3))).astype(np.uint8)
    found = 2 * np.mean((low_pass(images)[0, :, 0, 0] - 128.0) * wave) / 100
    assert found == pytest.approx(kept, abs=0.015)


def test_low_pass_rounds_to_the_nearest(rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (4, 64, 64, 3), np.uint8)
    assert low_pass(images).mean() == pytest.approx(images.mean(), abs=0.05)


def test_low_pass_mixes_no_images_and_no_channels() -> None:
    images = np.zeros((3, 16, 16, 3), np.uint8)
    images[1, :, :, 2] = 200
    np.testing.assert_array_equal(low_pass(images), images)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 8, 8, 3)),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((1, 8, 9, 3), np.uint8),
        np.zeros((1, 8, 8, 1), np.uint8),
    ],
)
def test_low_pass_refuses_other_shapes_and_types(images: np.ndarray) -> None:
    with pytest.raises(ValueError, match="not uint8"):
        low_pass(images)
