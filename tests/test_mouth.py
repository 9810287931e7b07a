import numpy as np
import pytest

from bitmoji_jax.metrics.mouth import lips_apart, shows_teeth

SIZE = 160
LEFT, RIGHT = (0.4, 0.7), (0.6, 0.7)


def points(opening: float, width: float = 40.0, turned: float = 0.0) -> np.ndarray:
    """Mesh points [469, 3] of a mouth in pixels, turned by an angle; all others are at the origin."""
    mesh = np.zeros((469, 3), np.float32)
    turn = np.array([[np.cos(turned), np.sin(turned)], [-np.sin(turned), np.cos(turned)]])
    for index, (x, y) in {13: (0, 0), 14: (0, opening), 61: (-width / 2, 0), 291: (width / 2, 0)}.items():
        mesh[index, :2] = np.array([x, y]) @ turn + 90
    mesh[14, 2] = 30  # the depth does not count
    return mesh


@pytest.mark.parametrize("turned", [0.0, 0.4])
def test_the_opening_over_the_width_decides_and_the_middle_is_unsure(turned: float) -> None:
    mouths = np.stack([points(opening, turned=turned) for opening in (0.0, 1.5, 1.7, 3.9, 4.1, 12.0)])
    np.testing.assert_array_equal(lips_apart(mouths), [0, 0, np.nan, np.nan, 1, 1])
    np.testing.assert_array_equal(lips_apart(mouths / 192), lips_apart(mouths))


def test_points_of_another_shape_are_refused() -> None:
    for wrong in (np.zeros((2, 5, 2)), np.zeros((469, 3))):
        with pytest.raises(ValueError, match="468"):
            lips_apart(wrong)


def bitmoji(teeth: bool, skin: tuple[int, int, int] = (255, 238, 238), tilted: float = 0.0) -> np.ndarray:
    """A white image with a face whose mouth is a black line, or a line with a row of white teeth below."""
    image = np.full((SIZE, SIZE, 3), 255, np.uint8)
    image[20:140, 30:130] = skin
    for x in np.linspace(LEFT[0], RIGHT[0], 64) * SIZE:
        y = LEFT[1] * SIZE + tilted * (x - LEFT[0] * SIZE)
        image[round(y) - 1 : round(y) + 1, round(x)] = 0
        if teeth:
            image[round(y) + 1 : round(y) + 4, round(x)] = 255
    return image


def landmarks(tilted: float = 0.0) -> np.ndarray:
    right = (RIGHT[0], RIGHT[1] + tilted * (RIGHT[0] - LEFT[0]))
    return np.array([(0.37, 0.5), (0.63, 0.5), (0.5, 0.6), LEFT, right], np.float32)


@pytest.mark.parametrize("tilted", [0.0, 0.25, -0.25])
def test_an_open_mouth_shows_white_teeth_between_its_corners(tilted: float) -> None:
    images = np.stack(
        [bitmoji(True, tilted=tilted), bitmoji(False, tilted=tilted), bitmoji(True, (60, 40, 30), tilted)]
    )
    np.testing.assert_array_equal(shows_teeth(images, np.stack([landmarks(tilted)] * 3)), [1, 0, 1])


def test_mouths_that_cannot_be_seen_are_unknown() -> None:
    image = bitmoji(True)
    lost, coincident = landmarks(), landmarks()
    lost[4] = np.nan
    coincident[4] = coincident[3]
    assert np.isnan(shows_teeth(np.stack([image] * 2), np.stack([lost, coincident]))).all()
    eyes_unknown = landmarks()
    eyes_unknown[:3] = np.nan
    np.testing.assert_array_equal(shows_teeth(image[None], eyes_unknown[None]), [1])
    assert np.isnan(shows_teeth(image[None, :100, :100], landmarks()[None])).all()  # too small
    with pytest.raises(ValueError, match="5, 2"):
        shows_teeth(image[None], landmarks())
