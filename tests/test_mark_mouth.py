"""The mark in a photo that says whether the mouth is open."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bitmoji_jax.models import networks as networks_module
from bitmoji_jax.models.face_points import POINTS
from bitmoji_jax.models.mark_mouth import OPACITY, OPEN, WHITE, mark_mouths, mouth_of_avatar, mouth_of_photo
from bitmoji_jax.models.networks import apply_generator, draw_roughly, photo_to_avatar, read_guide
from bitmoji_jax.models.reader import HAT, MOUTH, told
from bitmoji_jax.models.recolour import repaint
from tests.random_weights import random_weights

SIZE = 64
SKIN, LIPS = (0.5, 0.2, 0.0), (0.2, -0.4, -0.3)


def face_points(opening: float = 0.0, *, down: bool = False) -> np.ndarray:
    """Points [1, POINTS, 2] with a mouth 0.3 of the side wide at (0.5, 0.7); `down`: the picture's axes swapped."""
    points = np.zeros((1, POINTS, 2), np.float32)
    points[0, 3:7] = [[0.35, 0.7], [0.65, 0.7], [0.5, 0.7 - opening * 0.15], [0.5, 0.7 + opening * 0.15]]
    return points[..., ::-1] if down else points


def photo_with_lips() -> np.ndarray:
    photo = np.broadcast_to(np.float32(SKIN), (1, SIZE, SIZE, 3)).copy()
    photo[0, 41:49, 22:42] = LIPS
    return photo


@pytest.mark.parametrize(("opening", "expected"), [(0, -1), (OPEN / 2, -0.5), (OPEN, 0), (1.5 * OPEN, 0.5), (1, 1)])
def test_a_mouth_is_as_open_as_its_lips_are_apart_for_its_width(opening: float, expected: float) -> None:
    for down in (False, True):
        found = mouth_of_photo(jnp.asarray(face_points(opening, down=down)))
        np.testing.assert_allclose(found, [expected], atol=1e-4)


def test_points_that_all_coincide_are_no_open_mouth_and_mark_without_nan() -> None:
    points = np.full((1, POINTS, 2), 0.5, np.float32)
    assert mouth_of_photo(points).tolist() == [-1]
    for opened in (-1.0, 1.0):
        assert np.isfinite(mark_mouths(photo_with_lips(), points, jnp.array([opened]))).all()


def test_avatars_with_teeth_have_an_open_mouth() -> None:
    closed = np.full((256, 256, 3), 0.2, np.float32)
    few, many = closed.copy(), closed.copy()
    few[190:194, 110:125] = 1.0
    many[185:195, 100:150] = 1.0
    many[:100] = 1.0
    white_around = closed.copy()
    white_around[:150] = white_around[225:] = white_around[:, :80] = 1.0
    for avatar, expected in ((closed, -1), (few, 0), (many, 1), (white_around, -1)):
        assert mouth_of_avatar(jnp.asarray(avatar)) == expected


def test_an_open_mouth_is_white_with_a_dark_edge_and_nothing_else_changes() -> None:
    photo = photo_with_lips()
    (marked,) = np.asarray(mark_mouths(photo, face_points(), jnp.ones(1)))
    np.testing.assert_allclose(marked[44, 32], np.full(3, WHITE), atol=0.03)
    assert marked[44, 20:25, 1:].max(axis=1).min() < -0.2  # between white and skin
    np.testing.assert_allclose(marked[:36], photo[0, :36], atol=5e-3)
    np.testing.assert_allclose(marked[:, :16], photo[0, :, :16], atol=5e-3)


def test_closed_lips_are_smoothed_to_their_colour() -> None:
    photo = photo_with_lips()
    photo[0, 44, 22:42] = -1.0  # the dark line between them
    (marked,) = np.asarray(mark_mouths(photo, face_points(), -jnp.ones(1)))
    mouth = marked[43:47, 28:36]
    assert np.ptp(mouth, axis=(0, 1)).max() < (1 - OPACITY) * 2.2
    assert np.abs(mouth.mean(axis=(0, 1)) - LIPS).max() < 0.2
    np.testing.assert_allclose(marked[:34], photo[0, :34], atol=5e-3)


def test_a_mouth_that_is_unknown_is_not_marked() -> None:
    photos = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    marked = mark_mouths(photos, np.repeat(face_points(), 2, axis=0), jnp.array([0.0, 0.1]))
    np.testing.assert_array_equal(marked[0], photos[0])
    assert np.abs(marked[1] - photos[1]).max() > 0.5


@pytest.mark.parametrize("opened", [-1.0, 1.0])
def test_marks_turn_with_the_face(opened: float) -> None:
    photo = np.random.default_rng(0).uniform(-1, 1, (1, SIZE, SIZE, 3)).astype(np.float32)
    marked = mark_mouths(photo, face_points(), jnp.array([opened]))
    turned = mark_mouths(photo.swapaxes(1, 2), face_points(down=True), jnp.array([opened]))
    np.testing.assert_allclose(turned.swapaxes(1, 2), marked, atol=1e-5)


def test_a_student_draws_from_the_marked_photo_and_follows_another_mouth(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.repeat(face_points(opening=0.5), 2, axis=0)
    points[1] = face_points()[0]
    monkeypatch.setattr(networks_module, "measure", lambda images: jnp.asarray(points[: len(images)]))
    weights = random_weights(names="s", guided=True, mouth=True, compute_dtype="float32")
    config, networks = weights.config, weights.networks
    photos = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    guides = read_guide(config, networks, photos)
    np.testing.assert_allclose(guides[:, MOUTH], [1, -1], atol=1e-5)
    np.testing.assert_array_equal(guides[:, HAT], [-1, -1])
    marked = mark_mouths(photos, points, jnp.array([1.0, -1.0]))
    drawn = apply_generator(config, networks["s"], marked, told(guides), name="s")
    expected = jax.vmap(repaint)(drawn, guides[:, 1:4], guides[:, 4:7])
    np.testing.assert_allclose(draw_roughly(config, networks, photos), expected, atol=1e-5)
    closed = photo_to_avatar(config, networks, photos, guides.at[0, MOUTH].set(-1.0))
    as_read = photo_to_avatar(config, networks, photos)
    np.testing.assert_allclose(closed[1], as_read[1], atol=1e-5)
    assert np.abs(closed[0] - as_read[0]).max() > 0.01


def test_weights_without_marks_draw_from_the_photo_itself() -> None:
    weights = random_weights(names="s", guided=True, mouth=False, compute_dtype="float32")
    photos = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)
    guides = read_guide(weights.config, weights.networks, photos)
    assert guides.shape == (1, MOUTH)
    drawn = apply_generator(weights.config, weights.networks["s"], photos, told(guides), name="s")
    expected = jax.vmap(repaint)(drawn, guides[:, 1:4], guides[:, 4:7])
    np.testing.assert_allclose(draw_roughly(weights.config, weights.networks, photos), expected, atol=1e-5)
