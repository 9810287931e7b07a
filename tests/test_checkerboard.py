import numpy as np
import pytest
from scipy import ndimage

from bitmoji_jax.metrics.checkerboard import checkerboard

SIZE = 64
SD = 8.0
ROUNDING = 2 / 12  # of the images to uint8, and the one that is added


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def images_of(values: np.ndarray) -> np.ndarray:
    """uint8 [N, S, S, 3] around 128."""
    return np.clip(np.rint(128 + values), 0, 255).astype(np.uint8)


def noise(rng: np.random.Generator, count: int = 100) -> np.ndarray:
    return rng.normal(0, SD, (count, SIZE, SIZE, 3))


def board(side: int) -> np.ndarray:
    """±1 in squares of `side` pixels; [S, S, 1]."""
    row, column = np.indices((SIZE, SIZE)) // side
    return np.where((row + column) % 2, -1.0, 1.0)[..., None]


def test_white_noise_has_none(rng: np.random.Generator) -> None:
    result = checkerboard(images_of(noise(rng)))
    assert result.period_2 == pytest.approx(1, abs=0.03)
    assert result.period_4 == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("amplitude", [1, 2, 4])
def test_a_checkerboard_of_period_2_adds_what_is_documented(rng: np.random.Generator, amplitude: float) -> None:
    result = checkerboard(images_of(noise(rng) + amplitude * board(1)))
    added = 2 / 3 * SIZE * amplitude**2 / (SD**2 + ROUNDING)
    assert result.period_2 == pytest.approx(1 + added, rel=0.1)
    assert result.period_4 == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("amplitude", [2, 4])
def test_a_checkerboard_of_period_4_adds_what_is_documented(rng: np.random.Generator, amplitude: float) -> None:
    result = checkerboard(images_of(noise(rng) + amplitude * board(2)))
    added = 1 / 3 * SIZE * amplitude**2 / (SD**2 + ROUNDING)
    assert result.period_4 == pytest.approx(1 + added, rel=0.1)
    assert result.period_2 == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("side", [1, 2])
def test_stripes_along_either_axis_are_found(rng: np.random.Generator, side: int) -> None:
    stripes = np.where(np.arange(SIZE) // side % 2, -4.0, 4.0)[:, None, None]
    upright, lying = (
        checkerboard(images_of(noise(rng) + pattern))
        for pattern in (np.broadcast_to(stripes, (SIZE, SIZE, 1)).swapaxes(0, 1), stripes)
    )
    for result in (upright, lying):
        assert (result.period_2 if side == 1 else result.period_4) > 2
        assert (result.period_4 if side == 1 else result.period_2) == pytest.approx(1, abs=0.03)


def test_other_periods_are_none(rng: np.random.Generator) -> None:
    # Of squares that are no multiple of 4, some harmonic is at S/2 in truth.
    for side in (4, 8):
        result = checkerboard(images_of(noise(rng) + 4 * board(side)))
        assert result.period_2 == pytest.approx(1, abs=0.1)
        assert result.period_4 == pytest.approx(1, abs=0.1)


def test_pictures_with_edges_and_smooth_shades_have_none(rng: np.random.Generator) -> None:
    # Ellipses of random place, size and colour on a slope: flat parts, sharp edges, borders that do not match.
    row, column = np.indices((SIZE, SIZE))
    pictures = np.zeros((100, SIZE, SIZE, 3))
    for picture in pictures:
        picture += rng.uniform(-1, 1, 3) * row[..., None] + rng.uniform(-1, 1, 3) * column[..., None]
        for _ in range(6):
            y, x, height, width = rng.uniform((0, 0, 4, 4), (SIZE, SIZE, 24, 24))
            picture[((row - y) / height) ** 2 + ((column - x) / width) ** 2 < 1] = rng.uniform(-100, 100, 3)
    blurred = ndimage.gaussian_filter(pictures, 0.7, axes=(1, 2))
    for values in (pictures, blurred):
        result = checkerboard(images_of(values))
        assert 0.5 < result.period_2 < 1.2
        assert 0.8 < result.period_4 < 1.2
    assert checkerboard(images_of(blurred + 2 * board(1))).period_2 > 3


def test_brightness_does_not_count_in_the_smallest_images(rng: np.random.Generator) -> None:
    result = checkerboard(images_of(100 + rng.normal(0, 1, (1000, 16, 16, 3))))
    assert result.period_2 == pytest.approx(1, abs=0.03)
    assert result.period_4 == pytest.approx(1, abs=0.03)


def test_flat_images_have_none() -> None:
    result = checkerboard(np.full((3, SIZE, SIZE, 3), 77, np.uint8))
    assert (result.period_2, result.period_4) == (pytest.approx(1), pytest.approx(1))


def test_copied_pixels_are_below_1(rng: np.random.Generator) -> None:
    copied = noise(rng)[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2)
    assert checkerboard(images_of(copied)).period_2 < 0.2


def test_a_wrong_kernel_after_inserted_zeros_is_found(rng: np.random.Generator) -> None:
    # A stride-2 transposed convolution whose 3-wide kernel overlaps unevenly: 1 input at every other pixel, 2 between.
    values = ndimage.gaussian_filter(rng.normal(0, 200, (100, SIZE // 2, SIZE // 2, 3)), 2, axes=(1, 2)) + 60
    inserted = np.zeros((100, SIZE, SIZE, 3))
    inserted[:, ::2, ::2] = values
    even, uneven = (
        checkerboard(images_of(ndimage.convolve1d(ndimage.convolve1d(inserted, kernel, axis=1), kernel, axis=2)))
        for kernel in ([0.5, 1, 0.5], [0.6, 1, 0.6])
    )
    assert uneven.period_2 > 3 > 1.2 > even.period_2


@pytest.mark.parametrize(
    "images", [np.zeros((1, 16, 16, 3)), np.zeros((1, 16, 20, 3), np.uint8), np.zeros((16, 16, 3), np.uint8)]
)
def test_other_shapes_and_types_are_refused(images: np.ndarray) -> None:
    with pytest.raises(ValueError, match="not uint8"):
        checkerboard(images)


@pytest.mark.parametrize("shape", [(0, 16, 16, 3), (1, 12, 12, 3), (1, 18, 18, 3)])
def test_sizes_without_those_frequencies_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        checkerboard(np.zeros(shape, np.uint8))
