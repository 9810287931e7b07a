from collections.abc import Callable

import numpy as np
import pytest

from bitmoji_jax.metrics.images import (
    colour_inversion,
    compress_jpeg,
    cycle_psnr,
    does_nothing,
    high_frequency_hiding,
    nme,
    shadow_sensitivity,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 8, 8, 3), np.uint8)
FACE = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def flat(*values: int) -> np.ndarray:
    """One grey image [8, 8, 3] a value."""
    return np.stack([np.full((8, 8, 3), value, np.uint8) for value in values])


def test_nme_by_hand() -> None:
    # Every point 0.04 off, by 3-4-5 triangles, with eyes 0.4 apart; then one point of five 0.2 off.
    all_off = FACE + np.array([0.024, -0.032])
    one_off = FACE.copy()
    one_off[2, 0] += 0.2
    result = nme(np.stack([all_off, one_off, FACE]), np.stack([FACE] * 3))
    np.testing.assert_allclose(result.per_image, [0.1, 0.1, 0], atol=1e-12)
    assert result.mean == pytest.approx(0.2 / 3)
    assert result.images == 3


def test_nme_is_normalised_by_the_eyes_of_the_target_in_any_unit(rng: np.random.Generator) -> None:
    points, targets = FACE + rng.normal(0, 0.02, (3, 5, 2)), np.stack([FACE] * 3)
    assert nme(64 * points, 64 * targets).mean == pytest.approx(nme(points, targets).mean)
    smaller = 0.5 + (targets - 0.5) / 2
    # The same distances, over those of eyes half as far apart.
    assert nme(smaller, targets).mean == pytest.approx(nme(targets, smaller).mean / 2)


def test_unknown_points_do_not_count() -> None:
    points, targets = FACE[None] + 0.0, FACE[None] + 0.0
    points[0, 2] += [0.04, 0]
    points[0, 3] = np.nan
    targets[0, 4, 1] = np.nan
    assert nme(points, targets).mean == pytest.approx(0.1 / 3)


def test_images_without_both_eyes_do_not_count() -> None:
    targets = np.stack([FACE] * 5)
    points = targets + np.array([0.04, 0])
    targets[0, 0] = np.nan
    targets[1, 1, 0] = np.nan
    targets[2, 1] = targets[2, 0]
    points[3] = np.nan
    result = nme(points, targets)
    np.testing.assert_allclose(result.per_image, [np.nan] * 4 + [0.1])
    assert (result.mean, result.images) == (pytest.approx(0.1), 1)


@pytest.mark.filterwarnings("error")
def test_nme_of_nothing_known_is_unknown() -> None:
    result = nme(np.full((2, 5, 2), np.nan), np.full((2, 5, 2), np.nan))
    assert np.isnan(result.mean)
    assert result.images == 0


@pytest.mark.parametrize("shapes", [((2, 5, 2), (1, 5, 2)), ((2, 4, 2), (2, 4, 2)), ((5, 2), (5, 2))])
def test_nme_refuses_other_shapes(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="shapes"):
        nme(np.zeros(shapes[0]), np.zeros(shapes[1]))


@pytest.mark.parametrize(("after", "expected"), [((50, 50), 0), ((50, 40), 0.25), ((30, 30), 1), ((90, 90), 2)])
def test_shadow_sensitivity_is_the_change_out_over_the_change_in(after: tuple[int, int], expected: float) -> None:
    photos, shadowed = flat(200, 100), flat(180, 80)
    assert shadow_sensitivity(photos, shadowed, flat(50, 50), flat(*after)) == pytest.approx(expected)


def test_shadow_sensitivity_allows_avatars_of_another_size() -> None:
    avatars = np.zeros((2, 16, 16, 3), np.uint8)
    assert shadow_sensitivity(flat(9, 9), flat(5, 5), avatars, avatars + np.uint8(2)) == pytest.approx(0.5)


def test_shadow_sensitivity_refuses_photos_without_a_shadow() -> None:
    with pytest.raises(ValueError, match="without it"):
        shadow_sensitivity(IMAGES, IMAGES, IMAGES, IMAGES[::-1])
    with pytest.raises(ValueError, match="4 photos and 3 avatars"):
        shadow_sensitivity(IMAGES, IMAGES[::-1], IMAGES[:3], IMAGES[:3])


def test_psnr_of_known_errors() -> None:
    found = cycle_psnr(flat(0, 0, 200, 7), flat(255, 1, 210, 7))
    np.testing.assert_allclose(found, [0, 20 * np.log10(255), 20 * np.log10(25.5), np.inf])


def test_psnr_is_of_the_squares_of_one_image() -> None:
    images = np.zeros((1, 8, 8, 3), np.uint8)
    reconstructions = images.copy()
    reconstructions[0, :4] = 20
    assert cycle_psnr(images, reconstructions) == pytest.approx(10 * np.log10(255**2 / 200))


def test_hiding_is_the_growth_of_the_error() -> None:
    assert high_frequency_hiding(flat(100, 100), flat(102, 96), flat(110, 92)) == pytest.approx(3)
    assert high_frequency_hiding(flat(100, 100), flat(102, 96), flat(98, 104)) == pytest.approx(1)
    with pytest.raises(ValueError, match="equal the images"):
        high_frequency_hiding(IMAGES, IMAGES, IMAGES)


def test_a_photo_hidden_in_the_lowest_bits_does_not_survive_jpeg(rng: np.random.Generator) -> None:
    photos = rng.integers(0, 256, (4, 4, 4, 3), np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    posterised = photos // 32 * 32 + 16
    hiding = 128 + photos // 32  # a grey avatar with the top 3 bits of the photo in its lowest

    def reveal(avatars: np.ndarray) -> np.ndarray:
        return avatars % 8 * 32 + 16

    compressed = np.stack([compress_jpeg(avatar, 75) for avatar in hiding])
    np.testing.assert_array_equal(reveal(hiding), posterised)
    assert high_frequency_hiding(photos, reveal(hiding), reveal(compressed)) > 5
    # The same reconstruction out of an avatar that shows all there is.
    shown = np.stack([compress_jpeg(avatar, 75) for avatar in posterised])
    assert high_frequency_hiding(photos, posterised, shown) < 2


def test_inversion_of_a_negative_and_of_the_same() -> None:
    same, negative = colour_inversion(IMAGES, IMAGES), colour_inversion(IMAGES, 255 - IMAGES)
    assert (same.value, same.raised) == (pytest.approx(1), False)
    assert (negative.value, negative.raised) == (pytest.approx(-1), True)


def test_inversion_sees_light_and_dark_not_contrast_hue_or_noise(rng: np.random.Generator) -> None:
    duller = (IMAGES // 3 + 90).astype(np.uint8)
    assert colour_inversion(IMAGES, duller).value > 0.99
    unrelated = rng.integers(0, 256, (200, 8, 8, 3), np.uint8)
    assert abs(colour_inversion(unrelated, unrelated[::-1]).value) < 0.05
    assert not colour_inversion(unrelated, unrelated[::-1]).raised


def test_inversion_weighs_channels_by_luma() -> None:
    # Pure blue has a larger sum of channels than dark grey, and is darker: luma 29 and 60.
    photo, avatar = np.zeros((2, 1, 2, 2, 3), np.uint8)
    photo[0, 0, :, 2], photo[0, 1] = 255, 60
    avatar[0, 0], avatar[0, 1] = 10, 200
    assert colour_inversion(photo, avatar).value == pytest.approx(1)


def test_inversion_is_that_of_most_images() -> None:
    mixed = np.concatenate([IMAGES[:3], 255 - IMAGES[3:]])
    assert colour_inversion(IMAGES, mixed).value == pytest.approx(1)
    mixed = np.concatenate([IMAGES[:1], 255 - IMAGES[1:]])
    assert colour_inversion(IMAGES, mixed).value == pytest.approx(-1)


@pytest.mark.filterwarnings("error")
def test_inversion_leaves_images_of_one_grey_out() -> None:
    avatars = np.concatenate([255 - IMAGES[:1], flat(3, 4, 5)])
    assert colour_inversion(IMAGES, avatars).value == pytest.approx(-1)
    silent = colour_inversion(IMAGES, flat(1, 2, 3, 4))
    assert np.isnan(silent.value)
    assert not silent.raised


def test_does_nothing_of_the_same_of_noise_and_of_something_else() -> None:
    same = does_nothing(IMAGES, IMAGES)
    assert (same.value, same.raised) == (0, True)
    close = does_nothing(flat(100, 100), flat(104, 90))
    assert (close.value, close.raised) == (7, True)
    far = does_nothing(flat(100, 100), flat(130, 90))
    assert (far.value, far.raised) == (20, False)
    assert does_nothing(flat(100, 100), flat(130, 90), threshold=30).raised


def test_differences_do_not_wrap_around() -> None:
    assert does_nothing(flat(0), flat(255)).value == does_nothing(flat(255), flat(0)).value == 255
    assert shadow_sensitivity(flat(255), flat(0), flat(0), flat(255)) == 1


@pytest.mark.parametrize(
    "score",
    [
        cycle_psnr,
        colour_inversion,
        does_nothing,
        lambda a, b: high_frequency_hiding(a, b, a),
        lambda a, b: high_frequency_hiding(a, a[::-1], b),
        lambda a, b: shadow_sensitivity(a, b, a, a),
        lambda a, b: shadow_sensitivity(a, a[::-1], a, b),
    ],
)
@pytest.mark.parametrize(
    ("others", "message"),
    [
        (IMAGES[:3], "shapes differ"),
        (IMAGES[..., :1], "shapes differ"),
        (IMAGES[:, :, :4], "shapes differ"),
        (IMAGES.astype(np.float32), "not uint8"),
    ],
)
def test_images_that_do_not_fit_are_refused(score: Callable, others: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score(IMAGES, others)


@pytest.mark.parametrize("images", [IMAGES[:0], IMAGES[0], IMAGES[..., :1]])
def test_arrays_that_are_no_images_are_refused(images: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"not uint8|no images"):
        does_nothing(images, images)
