"""Squares of a photo."""

import numpy as np
import pytest
import skimage.data

from benchmarks.alignment import invert
from bitmoji_jax.faces import resample
from bitmoji_jax.faces.resample import apply, inside, shrink, square_matrix, warp


def test_a_square_has_its_centre_side_and_angle() -> None:
    matrix = square_matrix(np.array([50.0, 30.0]), 20, np.pi / 2, 10)
    np.testing.assert_allclose(apply(matrix, np.array([5.0, 5.0])), [50, 30])
    # Clockwise: the square's top left corner is at the top right of the photo.
    np.testing.assert_allclose(apply(matrix, np.array([[0.0, 0.0], [10.0, 0.0]])), [[60, 20], [60, 40]])
    points = np.random.default_rng(0).normal(size=(7, 2))
    np.testing.assert_allclose(apply(invert(matrix), apply(matrix, points)), points)


@pytest.mark.parametrize("draft", [False, True])
def test_a_square_at_its_own_scale_is_a_slice(draft: bool) -> None:
    photo = skimage.data.astronaut()
    matrix = square_matrix(np.array([200.0, 150.0]), 64, 0, 64)
    np.testing.assert_array_equal(warp(photo, matrix, 64, draft=draft), photo[118:182, 168:232])


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_quarter_turn_is_exact(turns: int) -> None:
    photo = skimage.data.astronaut()
    matrix = square_matrix(np.array([200.0, 150.0]), 64, turns * np.pi / 2, 64)
    expected = np.rot90(photo[118:182, 168:232], turns)
    assert np.abs(warp(photo, matrix, 64).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("factor", [3, 5.5, 16])
def test_reduction_averages_what_is_too_fine(factor: float) -> None:
    rng = np.random.default_rng(0)
    photo = np.repeat(rng.integers(0, 2, (600, 600, 1), dtype=np.uint8) * 255, 3, axis=2)
    small = warp(photo, square_matrix(np.array([300.0, 300.0]), 32 * factor, 0.3, 32), 32)
    # Of white noise an average over factor² pixels is left; without it the deviation would stay at 127.
    assert small.std() < 2 * 127.5 / factor
    assert abs(small.mean() - 127.5) < 10


def test_a_scaled_square_stays_where_it_is() -> None:
    y, x = np.mgrid[:500, :400]
    photo = np.stack([x / 2, y / 2, 0 * x], axis=-1).round().astype(np.uint8)
    for side in (40, 130, 290):
        matrix = square_matrix(np.array([190.0, 230.0]), side, 0.4, 50)
        where = apply(matrix, np.stack(np.meshgrid(np.arange(50) + 0.5, np.arange(50) + 0.5), axis=-1))
        error = warp(photo, matrix, 50)[..., :2] - (where - 0.5) / 2
        # Pillow doesn't round what it interpolates, but cuts it off: half a level is lost.
        assert np.abs(error[5:-5, 5:-5].mean(axis=(0, 1)) + 0.4).max() < 0.25
        assert error[5:-5, 5:-5].std() < 0.7


@pytest.mark.parametrize("centre", [(-300.0, -10.0), (50.0, 900.0), (1000.0, 1000.0), (0.0, 0.0)])
@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (90, 1), (60, 80)])
def test_outside_the_photo_its_edge_goes_on(shape: tuple[int, int], centre: tuple[float, float]) -> None:
    photo = np.full((*shape, 3), 77, np.uint8)
    for side in (10, 400):
        matrix = square_matrix(np.array(centre), side, 0.7, 16)
        assert (warp(photo, matrix, 16) == 77).all()


def test_inside_is_the_part_of_a_pixel_in_the_photo() -> None:
    share = inside(square_matrix(np.array([0.25, 8.0]), 8, 0, 8), 8, 16, 16)
    np.testing.assert_allclose(share[4], [0, 0, 0, 0.25, 1, 1, 1, 1])


def test_shrink_in_strips_is_shrink_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = skimage.data.astronaut()[:500]
    whole = shrink(photo, 3)
    np.testing.assert_allclose(whole[5, 7], photo[15:18, 21:24].mean(axis=(0, 1)), atol=0.51)
    monkeypatch.setattr(resample, "_STRIP", 20_000)
    np.testing.assert_array_equal(shrink(photo, 3), whole)
