import numpy as np
import pytest

from bitmoji_jax.data.augment import MIRRORED_LANDMARKS
from bitmoji_jax.data.synthetic.avatar import avatar_landmarks, render_avatar
from bitmoji_jax.data.synthetic.spec import sample_spec
from bitmoji_jax.metrics.colour import delta_e, srgb_to_lab
from bitmoji_jax.metrics.face_colour import hair_colour, skin_colour

SKIN, HAIR, SHIRT, LINE = (230, 180, 150), (90, 60, 40), (40, 80, 160), (20, 20, 20)
LANDMARKS = np.array([[0.38, 0.5], [0.62, 0.5], [0.5, 0.62], [0.41, 0.72], [0.59, 0.72]], np.float32)


def drawn_face(size: int = 64, *, hair: tuple[int, int, int] | None = HAIR, shift: float = 0.0) -> np.ndarray:
    """A disc of hair behind an ellipse of skin above a shirt, on white, with an outline; `shift` is a fraction."""
    y, x = np.mgrid[:size, :size] / size + 0.5 / size
    x = x - shift
    image = np.full((size, size, 3), 255, np.uint8)
    image[y > 0.93] = SHIRT
    head = np.hypot((x - 0.5) / 0.25, (y - 0.55) / 0.35)
    if hair is not None:
        image[np.hypot((x - 0.5) / 0.31, (y - 0.4) / 0.35) < 1] = hair
    image[head < 1.1] = LINE
    image[head < 1] = SKIN
    if hair is not None:
        image[(head < 1) & (y < 0.32)] = hair
    image[(np.abs(y - 0.72) < 0.02) & (np.abs(x - 0.5) < 0.09)] = (180, 40, 50)
    return image


def jittered(landmarks: np.ndarray, share: float) -> np.ndarray:
    between_eyes = np.linalg.norm(landmarks[:, 1] - landmarks[:, 0], axis=-1)[:, None, None]
    return landmarks + np.random.default_rng(0).normal(0, share, landmarks.shape) * between_eyes


@pytest.mark.parametrize("size", [32, 64, 128])
def test_a_drawn_face_has_the_colours_it_was_drawn_in(size: int) -> None:
    images, landmarks = drawn_face(size)[None], LANDMARKS[None]
    np.testing.assert_array_equal(skin_colour(images, landmarks), [SKIN])
    np.testing.assert_array_equal(hair_colour(images, landmarks), [HAIR])
    assert skin_colour(images, landmarks).dtype == np.float64


def test_a_tilted_face_elsewhere_has_the_same_colours() -> None:
    turned = np.rot90(drawn_face(), axes=(0, 1))  # counter-clockwise: (x, y) -> (y, 1 - x)
    points = np.stack([LANDMARKS[:, 1], 1 - LANDMARKS[:, 0]], axis=-1)
    moved, moved_points = drawn_face(shift=0.1), LANDMARKS + np.array([0.1, 0], np.float32)
    images, landmarks = np.stack([turned, moved]), np.stack([points, moved_points])
    np.testing.assert_array_equal(skin_colour(images, landmarks), [SKIN, SKIN])
    np.testing.assert_array_equal(hair_colour(images, landmarks), [HAIR, HAIR])


def test_a_bald_head_has_no_hair() -> None:
    images = drawn_face(hair=None)[None]
    assert np.isnan(hair_colour(images, LANDMARKS[None])).all()
    np.testing.assert_array_equal(skin_colour(images, LANDMARKS[None]), [SKIN])


def test_white_hair_within_an_outline_is_not_background() -> None:
    image = drawn_face(128, hair=(245, 243, 235))
    inside = (image != 255).any(axis=-1)
    edge = inside & ~np.logical_and.reduce([np.roll(inside, step, axis) for step in (-1, 1, -2, 2) for axis in (0, 1)])
    image[edge] = LINE
    np.testing.assert_array_equal(hair_colour(image[None], LANDMARKS[None]), [(245, 243, 235)])


@pytest.mark.parametrize("point", [0, 1, 3, 4])
def test_unknown_landmarks_give_nan_for_that_image_alone(point: int) -> None:
    images = np.stack([drawn_face()] * 2)
    landmarks = np.stack([LANDMARKS] * 2)
    landmarks[1, point] = np.nan
    for colours, expected in ((skin_colour(images, landmarks), SKIN), (hair_colour(images, landmarks), HAIR)):
        np.testing.assert_array_equal(colours[0], expected)
        assert np.isnan(colours[1]).all()


def test_the_nose_is_not_needed() -> None:
    landmarks = LANDMARKS[None].copy()
    landmarks[0, 2] = np.nan
    np.testing.assert_array_equal(skin_colour(drawn_face()[None], landmarks), [SKIN])


@pytest.mark.parametrize(
    "landmarks",
    [
        LANDMARKS + np.array([0.8, 0], np.float32),  # out of the picture
        np.full((5, 2), 0.5, np.float32),  # all in one point
        LANDMARKS[[0, 1, 2, 0, 1]],  # the mouth where the eyes are
        LANDMARKS[MIRRORED_LANDMARKS],  # eyes in the wrong order
        np.full((5, 2), np.inf, np.float32),
    ],
)
def test_landmarks_that_are_no_face_give_nan(landmarks: np.ndarray) -> None:
    assert np.isnan(skin_colour(drawn_face()[None], landmarks[None])).all()
    assert np.isnan(hair_colour(drawn_face()[None], landmarks[None])).all()


def test_avatars_of_known_colours() -> None:
    rng = np.random.default_rng(0)
    specs = [sample_spec(rng) for _ in range(24)]
    images = np.stack([render_avatar(spec, 64) for spec in specs])
    landmarks = np.stack([avatar_landmarks(spec) for spec in specs])
    skin = srgb_to_lab(np.array([spec.skin for spec in specs]))
    hair = srgb_to_lab(np.array([spec.hair_colour for spec in specs]))
    for points in (landmarks, jittered(landmarks, 0.04)):
        skin_errors = delta_e(srgb_to_lab(skin_colour(images, points)), skin)
        hair_errors = delta_e(srgb_to_lab(hair_colour(images, points)), hair)
        assert np.percentile(skin_errors, 90) < 3
        assert np.isnan(hair_errors).mean() < 0.25
        assert np.nanmedian(hair_errors) < 2
        assert np.nanpercentile(hair_errors, 90) < 8


def test_noise_hardly_changes_the_colours() -> None:
    images = np.stack([drawn_face()] * 4)
    noisy = np.clip(images + np.random.default_rng(0).normal(0, 8, images.shape), 0, 255).astype(np.uint8)
    landmarks = np.stack([LANDMARKS] * 4)
    assert np.abs(skin_colour(noisy, landmarks) - SKIN).max() < 4
    assert np.abs(hair_colour(noisy, landmarks) - HAIR).max() < 4


def test_no_images_give_no_colours() -> None:
    images, landmarks = np.zeros((0, 64, 64, 3), np.uint8), np.zeros((0, 5, 2))
    assert skin_colour(images, landmarks).shape == hair_colour(images, landmarks).shape == (0, 3)


@pytest.mark.parametrize("colour", [skin_colour, hair_colour])
@pytest.mark.parametrize(
    ("images", "landmarks"),
    [
        (np.zeros((2, 64, 64, 3), np.float32), np.zeros((2, 5, 2))),
        (np.zeros((2, 64, 32, 3), np.uint8), np.zeros((2, 5, 2))),
        (np.zeros((64, 64, 3), np.uint8), np.zeros((1, 5, 2))),
        (np.zeros((2, 64, 64, 3), np.uint8), np.zeros((3, 5, 2))),
        (np.zeros((2, 64, 64, 3), np.uint8), np.zeros((2, 4, 2))),
    ],
)
def test_bad_input_is_refused(colour, images: np.ndarray, landmarks: np.ndarray) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"images are|landmarks have"):
        colour(images, landmarks)
