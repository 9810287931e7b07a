import numpy as np
import pytest

from bitmoji_jax.metrics.images import paired_error


def flat(*levels: int) -> np.ndarray:
    """uint8 [N, 8, 8, 3], an image of one grey for each level."""
    return np.repeat(np.array(levels, np.uint8), 8 * 8 * 3).reshape(-1, 8, 8, 3)


PHOTOS, AVATARS, MEAN = flat(0, 100, 40), flat(30, 110, 250), np.full((8, 8, 3), 15.5)


def test_each_error_is_the_distance_from_the_true_avatar() -> None:
    error = paired_error(flat(30, 100, 251), PHOTOS, AVATARS, MEAN)
    np.testing.assert_array_equal(error.translated, [0, 10, 1])
    np.testing.assert_array_equal(error.copied, [30, 10, 210])
    np.testing.assert_array_equal(error.mean_avatar, [14.5, 94.5, 234.5])


def test_copying_the_photo_scores_as_the_photo() -> None:
    error = paired_error(PHOTOS, PHOTOS, AVATARS, MEAN)
    np.testing.assert_array_equal(error.translated, error.copied)


def test_differences_do_not_wrap_around() -> None:
    error = paired_error(flat(0), flat(0), flat(255), np.zeros((8, 8, 3)))
    assert (error.translated, error.copied, error.mean_avatar) == (255, 255, 255)


@pytest.mark.parametrize("position", range(4))
def test_shapes_that_do_not_fit_are_refused(position: int) -> None:
    arrays = [PHOTOS, PHOTOS, AVATARS, MEAN]
    arrays[position] = arrays[position][:1]
    with pytest.raises(ValueError, match=r"not three of \[N, S, S, 3\]"):
        paired_error(*arrays)
