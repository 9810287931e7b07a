import numpy as np
import pytest

from bitmoji_jax.metrics.colour import (
    ITA_GROUPS,
    delta_e,
    individual_typology_angle,
    ita_group,
    median_colour,
    srgb_to_lab,
)

# Sharma, Wu and Dalal (2005), table 1: both colours and their difference.
SHARMA = np.array(
    [
        [50.0000, 2.6772, -79.7751, 50.0000, 0.0000, -82.7485, 2.0425],
        [50.0000, 3.1571, -77.2803, 50.0000, 0.0000, -82.7485, 2.8615],
        [50.0000, 2.8361, -74.0200, 50.0000, 0.0000, -82.7485, 3.4412],
        [50.0000, -1.3802, -84.2814, 50.0000, 0.0000, -82.7485, 1.0000],
        [50.0000, -1.1848, -84.8006, 50.0000, 0.0000, -82.7485, 1.0000],
        [50.0000, -0.9009, -85.5211, 50.0000, 0.0000, -82.7485, 1.0000],
        [50.0000, 0.0000, 0.0000, 50.0000, -1.0000, 2.0000, 2.3669],
        [50.0000, -1.0000, 2.0000, 50.0000, 0.0000, 0.0000, 2.3669],
        [50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0009, 7.1792],
        [50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0010, 7.1792],
        [50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0011, 7.2195],
        [50.0000, 2.4900, -0.0010, 50.0000, -2.4900, 0.0012, 7.2195],
        [50.0000, -0.0010, 2.4900, 50.0000, 0.0009, -2.4900, 4.8045],
        [50.0000, -0.0010, 2.4900, 50.0000, 0.0010, -2.4900, 4.8045],
        [50.0000, -0.0010, 2.4900, 50.0000, 0.0011, -2.4900, 4.7461],
        [50.0000, 2.5000, 0.0000, 50.0000, 0.0000, -2.5000, 4.3065],
        [50.0000, 2.5000, 0.0000, 73.0000, 25.0000, -18.0000, 27.1492],
        [50.0000, 2.5000, 0.0000, 61.0000, -5.0000, 29.0000, 22.8977],
        [50.0000, 2.5000, 0.0000, 56.0000, -27.0000, -3.0000, 31.9030],
        [50.0000, 2.5000, 0.0000, 58.0000, 24.0000, 15.0000, 19.4535],
        [50.0000, 2.5000, 0.0000, 50.0000, 3.1736, 0.5854, 1.0000],
        [50.0000, 2.5000, 0.0000, 50.0000, 3.2972, 0.0000, 1.0000],
        [50.0000, 2.5000, 0.0000, 50.0000, 1.8634, 0.5757, 1.0000],
        [50.0000, 2.5000, 0.0000, 50.0000, 3.2592, 0.3350, 1.0000],
        [60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644],
        [63.0109, -31.0961, -5.8663, 62.8187, -29.7946, -4.0864, 1.2630],
        [61.2901, 3.7196, -5.3901, 61.4292, 2.2480, -4.9620, 1.8731],
        [35.0831, -44.1164, 3.7933, 35.0232, -40.0716, 1.5901, 1.8645],
        [22.7233, 20.0904, -46.6940, 23.0331, 14.9730, -42.5619, 2.0373],
        [36.4612, 47.8580, 18.3852, 36.2715, 50.5065, 21.2231, 1.4146],
        [90.8027, -2.0831, 1.4410, 91.1528, -1.6435, 0.0447, 1.4441],
        [90.9257, -0.5406, -0.9208, 88.6381, -0.8985, -0.7239, 1.5381],
        [6.7747, -0.2908, -2.4247, 5.8714, -0.0985, -2.2286, 0.6377],
        [2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082],
    ]
)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((0, 0, 0), (0, 0, 0)),
        ((255, 255, 255), (100, 0, 0)),
        ((255, 0, 0), (53.2408, 80.0925, 67.2032)),
        ((0, 255, 0), (87.7347, -86.1827, 83.1793)),
        ((0, 0, 255), (32.2970, 79.1875, -107.8602)),
        ((192, 192, 192), (77.7043, 0, 0)),
        ((1, 1, 1), (0.2742, 0, 0)),  # 903.2963 / 12.92 / 255: both linear parts
    ],
)
def test_lab_of_colours_whose_values_are_published(rgb: tuple[int, ...], lab: tuple[float, ...]) -> None:
    np.testing.assert_allclose(srgb_to_lab(np.array(rgb, np.uint8)), lab, atol=6e-3)


def test_lab_takes_any_shape_and_keeps_the_unknown() -> None:
    colours = np.array([[[255.0, 255, 255], [np.nan] * 3]])
    labs = srgb_to_lab(colours)
    assert labs.shape == (1, 2, 3)
    assert np.isnan(labs[0, 1]).all()
    np.testing.assert_allclose(labs[0, 0], [100, 0, 0], atol=6e-3)


@pytest.mark.parametrize(
    "colours", [np.zeros(4), np.zeros((3, 2)), np.float64(3), np.array([0, 0, 256]), np.array([-1, 0, 0])]
)
def test_lab_refuses_arrays_that_are_no_colours(colours: np.ndarray) -> None:
    with pytest.raises(ValueError, match="colours"):
        srgb_to_lab(colours)


def test_delta_e_of_the_published_pairs() -> None:
    first, second, expected = SHARMA[:, :3], SHARMA[:, 3:6], SHARMA[:, 6]
    np.testing.assert_allclose(delta_e(first, second), expected, atol=6e-5)
    np.testing.assert_allclose(delta_e(second, first), expected, atol=6e-5)


def test_delta_e_of_greys_and_of_the_unknown() -> None:
    black, white, unknown = np.array([0.0, 0, 0]), np.array([100.0, 0, 0]), np.full(3, np.nan)
    assert delta_e(black, white) == pytest.approx(100)
    assert delta_e(white, white) == 0
    assert np.isnan(delta_e(white, unknown))


@pytest.mark.parametrize("shapes", [((2, 3), (3,)), ((2, 3), (3, 3)), ((2, 2), (2, 2)), ((), ())])
def test_delta_e_refuses_shapes_that_differ(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="shapes"):
        delta_e(np.zeros(shapes[0]), np.zeros(shapes[1]))


def test_ita_by_hand() -> None:
    labs = np.array([[60.0, 9, 10], [50, 9, 10], [40, 9, 10], [50 + 10 * np.sqrt(3), 0, 10], [70, 5, 0]])
    np.testing.assert_allclose(individual_typology_angle(labs), [45, 0, -45, 60, 90], atol=1e-9)


def test_pale_skin_with_a_touch_of_blue_is_not_dark() -> None:
    angle = float(individual_typology_angle(np.array([75.0, 3, -0.5])))
    assert angle > 90
    assert ita_group(angle) == "light"


@pytest.mark.parametrize(
    ("angle", "group"),
    [
        (80, "light"),
        (41.1, "light"),
        (41, "medium"),
        (10, "medium"),
        (9.9, "dark"),
        (-80, "dark"),
    ],
)
def test_ita_groups(angle: float, group: str) -> None:
    assert ita_group(angle) == group
    assert group in ITA_GROUPS


def test_no_skin_has_no_group() -> None:
    assert ita_group(float(individual_typology_angle(srgb_to_lab(np.full(3, np.nan))))) == "unknown"


def test_ita_refuses_arrays_that_are_no_colours() -> None:
    with pytest.raises(ValueError, match="colours"):
        individual_typology_angle(np.zeros((3, 2)))


def test_median_colour_is_that_inside_the_mask() -> None:
    images = np.full((2, 3, 3, 3), 250, np.uint8)
    masks = np.zeros((2, 3, 3), bool)
    masks[0, 0] = True
    images[0, 0] = [[10, 60, 7], [20, 40, 7], [200, 50, 7]]
    np.testing.assert_array_equal(median_colour(images, masks), [[20, 50, 7], [np.nan] * 3])


def test_median_colour_ignores_outliers() -> None:
    images = np.full((1, 5, 5, 3), 90, np.uint8)
    images[0, :2] = 255
    np.testing.assert_array_equal(median_colour(images, np.ones((1, 5, 5), bool)), [[90, 90, 90]])


def test_median_colour_of_no_images() -> None:
    assert median_colour(np.zeros((0, 4, 4, 3)), np.zeros((0, 4, 4), bool)).shape == (0, 3)


def test_median_colour_refuses_masks_that_do_not_fit() -> None:
    images = np.zeros((2, 4, 4, 3), np.uint8)
    for shape in ((2, 4, 5), (1, 4, 4), (4, 4)):
        with pytest.raises(ValueError, match="shapes"):
            median_colour(images, np.ones(shape, bool))
    with pytest.raises(ValueError, match="not bool"):
        median_colour(images, np.ones((2, 4, 4), np.uint8))
