import numpy as np
import pytest

from bitmoji_jax.metrics.diversity import coverage, nearest_neighbour_ratio

BOTH = pytest.mark.parametrize("score", [nearest_neighbour_ratio, coverage])


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def modes(rng: np.random.Generator, numbers: list[int], each: int) -> np.ndarray:
    """Clouds of width 1 around centres 100 apart; [len(numbers) * each, 4]."""
    centres = np.repeat(np.array(numbers) * 100.0, each)
    return np.column_stack([centres, *np.zeros((3, len(centres)))]) + rng.normal(size=(len(centres), 4))


def test_points_on_a_line_by_hand() -> None:
    reals = np.array([[0.0], [2.0], [6.0]])  # nearest neighbours: 2, 2, 4
    outputs = np.array([[10.0], [11.0], [13.0]])  # 1, 1, 2
    assert nearest_neighbour_ratio(outputs, reals) == pytest.approx((4 / 3) / (8 / 3))
    # Second neighbours lie 6, 4 and 6 away; outputs 10, 8 and 4.
    assert coverage(outputs, reals, neighbours=2) == pytest.approx(1 / 3)


def test_one_output_for_everybody_scores_0(rng: np.random.Generator) -> None:
    reals = modes(rng, [0, 1, 2, 3], 20)
    assert nearest_neighbour_ratio(np.repeat(reals[:1], 80, axis=0), reals) == 0
    # It lies among the five neighbours of a few real ones.
    assert coverage(np.repeat(reals[:1], 80, axis=0), reals) <= 20 / 80


def test_a_tight_cloud_is_near_collapse(rng: np.random.Generator) -> None:
    reals = rng.normal(size=(200, 4))
    ratio = nearest_neighbour_ratio(5 + 0.1 * rng.normal(size=(200, 4)), reals)
    assert ratio == pytest.approx(0.1, rel=0.15)


def test_half_the_modes_are_seen_by_coverage_not_by_distances(rng: np.random.Generator) -> None:
    reals, outputs = modes(rng, [0, 1, 2, 3], 50), modes(rng, [0, 1], 100)
    assert coverage(outputs, reals) == pytest.approx(0.5, abs=0.02)
    assert nearest_neighbour_ratio(outputs, reals) > 0.7


def test_fresh_samples_score_as_documented(rng: np.random.Generator) -> None:
    pairs = [rng.normal(size=(2, 300, 6)) for _ in range(10)]
    assert np.mean([nearest_neighbour_ratio(*pair) for pair in pairs]) == pytest.approx(1, abs=0.03)
    assert np.mean([coverage(*pair) for pair in pairs]) == pytest.approx(1 - 2**-5, abs=0.01)


def test_the_ratio_hardly_depends_on_the_size_of_a_set(rng: np.random.Generator) -> None:
    reals, many = rng.normal(size=(100, 2)), rng.normal(size=(1600, 2))
    # As they stand, neighbours among 1600 are 4 times as near as among 100.
    assert nearest_neighbour_ratio(many, reals) == pytest.approx(1, abs=0.25)
    assert nearest_neighbour_ratio(reals, many) == pytest.approx(1, abs=0.25)
    assert nearest_neighbour_ratio(many, reals) == nearest_neighbour_ratio(many, reals)
    assert nearest_neighbour_ratio(many, reals, seed=1) != nearest_neighbour_ratio(many, reals)


def test_scale_cancels_order_does_not_matter(rng: np.random.Generator) -> None:
    outputs, reals = rng.normal(size=(2, 40, 3))
    ratio = nearest_neighbour_ratio(outputs, reals)
    assert nearest_neighbour_ratio(7 * outputs[::-1], 7 * reals) == pytest.approx(ratio)
    assert coverage(7 * outputs[::-1], 7 * reals) == coverage(outputs, reals)


@BOTH
@pytest.mark.parametrize("shape", [(20, 3), (20,), (20, 4, 1)])
def test_shapes_that_differ_are_refused(score: type, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shapes"):
        score(np.zeros(shape), np.zeros((20, 4)))


def test_too_few_or_equal_rows_are_refused(rng: np.random.Generator) -> None:
    points = rng.normal(size=(5, 2))
    with pytest.raises(ValueError, match="2 or more"):
        nearest_neighbour_ratio(points[:1], points)
    with pytest.raises(ValueError, match="copy"):
        nearest_neighbour_ratio(points, np.zeros((5, 2)))
    with pytest.raises(ValueError, match="no 5 neighbours"):
        coverage(points, points)
    with pytest.raises(ValueError, match="1 or more"):
        coverage(points, points, neighbours=0)
    with pytest.raises(ValueError, match="1 or more"):
        coverage(points[:0], points, neighbours=1)
