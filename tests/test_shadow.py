import numpy as np
import pytest

from bitmoji_jax.metrics.shadow import cast_shadow

SIZES = [16, 33, 64, 128]


def linear(values: np.ndarray) -> np.ndarray:
    encoded = values / 255
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def grey(size: int, count: int = 2, level: int = 200) -> np.ndarray:
    return np.full((count, size, size, 3), level, np.uint8)


def part(images: np.ndarray, x: float, y: float, half: float = 0.06) -> np.ndarray:
    """The square of half a side `half` around (x, y), fractions of the image."""
    size = images.shape[1]
    rows = slice(int((y - half) * size), int(np.ceil((y + half) * size)))
    return images[:, rows, int((x - half) * size) : int(np.ceil((x + half) * size))]


@pytest.mark.parametrize("size", SIZES)
def test_the_same_photos_give_the_same_bytes_and_stay_as_they_are(size: int) -> None:
    photos = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8)
    before = photos.copy()
    np.testing.assert_array_equal(cast_shadow(photos), cast_shadow(photos))
    np.testing.assert_array_equal(photos, before)


@pytest.mark.parametrize("size", SIZES)
def test_it_only_darkens(size: int) -> None:
    photos = np.random.default_rng(0).integers(0, 256, (4, size, size, 3), np.uint8)
    shadowed = cast_shadow(photos)
    assert shadowed.dtype == np.uint8
    assert shadowed.shape == photos.shape
    assert (shadowed <= photos).all()
    assert (shadowed < photos).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("size", SIZES)
def test_one_cheek_keeps_half_of_its_light_and_the_other_all_of_it(size: int) -> None:
    shadowed = linear(cast_shadow(grey(size))) / linear(np.array(200))
    left, right = part(shadowed, 0.33, 0.6), part(shadowed, 0.67, 0.6)
    assert 0.35 < left[0].mean() < 0.55
    assert right[0].min() == 1
    assert left[1].min() == 1
    assert 0.35 < right[1].mean() < 0.55


@pytest.mark.parametrize("size", SIZES)
def test_corners_and_upper_border_stay(size: int) -> None:
    photos = grey(size)
    shadowed = cast_shadow(photos)
    corner = max(1, size // 8)
    for rows in (slice(None, corner), slice(-corner, None)):
        for columns in (slice(None, corner), slice(-corner, None)):
            np.testing.assert_array_equal(shadowed[:, rows, columns], photos[:, rows, columns])


def test_sides_alternate_as_mirror_images() -> None:
    even, odd = cast_shadow(grey(64))
    np.testing.assert_array_equal(even, odd[:, ::-1])


def test_the_edge_is_soft() -> None:
    row = cast_shadow(grey(128, 1))[0, 64, :, 0].astype(int)
    across = row[40:90]
    steps = np.abs(np.diff(across))
    assert steps.max() < 0.5 * (across.max() - across.min())
    assert (steps > 0).sum() >= 4


def test_the_background_stays_white_and_teeth_do_not() -> None:
    photos = grey(64, 1, 255)
    photos[:, 10:60, 14:50] = 150
    photos[:, 44:48, 20:28] = 255  # within the face, in the shadow
    shadowed = cast_shadow(photos)[0]
    assert (shadowed[:10] == 255).all()
    assert (shadowed[10:60, :14] == 255).all()
    assert (shadowed[44:48, 20:28] < 200).all()


def test_hues_stay() -> None:
    photos = np.broadcast_to(np.array([220, 160, 120], np.uint8), (1, 64, 64, 3)).copy()
    before, after = linear(photos[0, 38, 20]), linear(cast_shadow(photos)[0, 38, 20])
    np.testing.assert_allclose(after / before, (after / before).mean(), rtol=0.02)


def test_no_photos_give_none() -> None:
    assert cast_shadow(np.zeros((0, 64, 64, 3), np.uint8)).shape == (0, 64, 64, 3)


@pytest.mark.parametrize(
    "photos",
    [
        np.zeros((1, 64, 64, 3), np.float32),
        np.zeros((64, 64, 3), np.uint8),
        np.zeros((1, 64, 32, 3), np.uint8),
        np.zeros((1, 64, 64, 4), np.uint8),
    ],
)
def test_bad_input_is_refused(photos: np.ndarray) -> None:
    with pytest.raises(ValueError, match="not uint8"):
        cast_shadow(photos)
