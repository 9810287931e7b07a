import numpy as np
import pytest

from bitmoji_jax.metrics.glasses import wears_glasses

SIZE = 160
LEFT, RIGHT = np.array((0.37, 0.5)), np.array((0.63, 0.5))
DISTANCE = 0.26
SKIN, DARK_SKIN, BLACK = (255, 205, 170), (100, 60, 30), (20, 20, 20)


def turned(point: np.ndarray, angle: float) -> np.ndarray:
    """A point, as fractions of the image, turned around the middle of the eyes."""
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return (point - 0.5) @ turn + 0.5


def landmarks(angle: float = 0.0) -> np.ndarray:
    rest = np.array([(0.5, 0.6), (0.4, 0.7), (0.6, 0.7)])
    return np.array([turned(p, angle) for p in (LEFT, RIGHT, *rest)], np.float32)


def drawn(
    frame: tuple[int, int, int] | None = BLACK,
    bridge: bool = True,
    rims: int = 2,
    fringe: bool = False,
    skin: tuple[int, int, int] = SKIN,
    angle: float = 0.0,
) -> np.ndarray:
    """A face with black eyes and a nose, with a fringe down to the eyes, or with round glasses."""
    y, x = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
    x, y = np.moveaxis(turned(np.stack([x, y], -1), -angle), -1, 0)
    image = np.full((SIZE, SIZE, 3), skin, np.uint8)
    distances = [np.hypot(x - eye[0], y - eye[1]) / DISTANCE for eye in (LEFT, RIGHT)]
    image[np.minimum(*distances) < 0.15] = BLACK
    image[(np.abs(x - 0.5) < 0.01) & (np.abs(y - 0.56) < 0.05)] = BLACK
    if fringe:
        image[y < 0.5] = BLACK
    if frame:
        for distance in distances[:rims]:
            image[np.abs(distance - 0.37) < 0.03] = frame
        if bridge:
            image[(np.abs(x - 0.5) < 0.04) & (np.abs(y - 0.5) < 0.01)] = frame
    return image


def found(*images: np.ndarray, angle: float = 0.0) -> list[float]:
    return list(wears_glasses(np.stack(images), np.stack([landmarks(angle)] * len(images))))


@pytest.mark.parametrize("angle", [0.0, 0.3, -0.3])
@pytest.mark.parametrize("skin", [SKIN, DARK_SKIN])
def test_glasses_of_any_colour_are_found(skin: tuple[int, int, int], angle: float) -> None:
    frames = (BLACK, (200, 20, 40), (250, 250, 250), None)
    assert found(*[drawn(frame, skin=skin, angle=angle) for frame in frames], angle=angle) == [1, 1, 1, 0]


def test_glasses_have_a_bridge_and_a_rim_below_at_least_one_eye() -> None:
    assert found(drawn(rims=1), drawn(rims=0), drawn(bridge=False)) == [1, 0, 0]
    assert found(drawn(frame=None, fringe=True), drawn(fringe=True)) == [0, 1]


def test_a_faint_rim_is_unsure() -> None:
    assert np.isnan(found(drawn(frame=(225, 180, 150))))


def test_eyes_that_cannot_be_seen_are_unknown() -> None:
    image, lost, coincident = drawn(), landmarks(), landmarks()
    lost[1] = np.nan
    coincident[1] = coincident[0]
    assert np.isnan(wears_glasses(np.stack([image] * 2), np.stack([lost, coincident]))).all()
    mouth_unknown = landmarks()
    mouth_unknown[2:] = np.nan
    assert wears_glasses(image[None], mouth_unknown[None]) == [1]
    assert np.isnan(wears_glasses(image[None, :100, :100], landmarks()[None])).all()  # too small
    with pytest.raises(ValueError, match="5, 2"):
        wears_glasses(image[None], landmarks())


def test_eyes_at_the_edge_of_the_image_are_no_error() -> None:
    points = landmarks()
    points[:2, 1] = 0.99
    assert wears_glasses(drawn(None)[None], points[None]) == [0]
