import dataclasses

import numpy as np
import pytest

from bitmoji_jax.inference.guard import Guard, fit_guard, guard_from_arrays

RNG = np.random.default_rng(0)


def avatars(count: int, rng: np.random.Generator) -> np.ndarray:
    """Discs of many sizes and colours on white: uint8 [count, 32, 32, 3]."""
    y, x = np.mgrid[:32, :32] - 15.5
    radius, colour = rng.uniform(6, 12, (count, 1, 1, 1)), rng.uniform(60, 220, (count, 1, 1, 3))
    return np.where((x**2 + y**2)[None, ..., None] < radius**2, colour, 255).astype(np.uint8)


def shifted(images: np.ndarray, by: np.ndarray) -> np.ndarray:
    return np.clip(images.astype(int) + by[:, None, None, None], 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def guard() -> Guard:
    photos = RNG.integers(60, 180, (200, 32, 32, 3), dtype=np.uint8)
    # Image k comes back k / 4 grey levels too light.
    return fit_guard(avatars(200, RNG), photos, avatars(200, RNG), shifted(photos, np.arange(200) // 4))


def test_the_cycle_error_alone_decides_where_the_avatar_is_usual(guard: Guard) -> None:
    photos = np.full((4, 32, 32, 3), 100, np.uint8)
    usual = avatars(200, np.random.default_rng(1))
    # The avatar nearest to the mean of real ones.
    cells = usual.reshape(200, 4, 8, 4, 8, 3).mean(axis=(2, 4)).reshape(200, -1)
    middle = usual[[np.linalg.norm((cells - guard.mean) @ guard.whitening, axis=1).argmin()] * 4]
    off = np.array([0, 30, 48, 60])
    found = guard.typicality(photos, middle, shifted(photos, off))
    # 200 errors 0, 0, 0, 0, 1, ..., 49: of those 8 are at least 48, which is 4 %, or 0.8 of the unusual 5 %.
    np.testing.assert_allclose(found, [1, 1, 0.8, 0])


def test_an_avatar_unlike_real_ones_is_unusual_however_well_the_photo_comes_back(guard: Guard) -> None:
    photos = np.full((2, 32, 32, 3), 100, np.uint8)
    odd = np.stack([np.full((32, 32, 3), 90, np.uint8), 255 - avatars(1, np.random.default_rng(2))[0]])
    np.testing.assert_array_equal(guard.typicality(photos, odd, photos), 0)


def test_new_avatars_of_the_same_kind_are_usual_in_19_of_20_cases(guard: Guard) -> None:
    photos = np.full((400, 32, 32, 3), 100, np.uint8)
    found = guard.typicality(photos, avatars(400, np.random.default_rng(3)), photos)
    assert np.mean(found < 1) == pytest.approx(0.05, abs=0.04)


def test_images_that_are_all_the_same_can_be_fitted() -> None:
    same = np.full((5, 32, 32, 3), 200, np.uint8)
    of_one = fit_guard(same, same, same, same)
    np.testing.assert_array_equal(of_one.typicality(same, same, same), 1)
    np.testing.assert_array_equal(of_one.typicality(same, same - 50, same), 0)


def test_its_arrays_make_an_equal_guard_and_others_are_refused(guard: Guard) -> None:
    again = guard_from_arrays(guard.arrays())
    for field in dataclasses.fields(Guard):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(guard, field.name))
    for wrong in (
        {},
        {"mean": guard.mean},
        guard.arrays() | {"mean": guard.mean[1:]},
        guard.arrays() | {"distances": guard.distances[1:]},
        guard.arrays() | {"more": guard.mean},
    ):
        with pytest.raises(ValueError, match="not the arrays of a guard"):
            guard_from_arrays(wrong)
