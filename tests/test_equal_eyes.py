"""Both eyes of an avatar are alike."""

import jax.numpy as jnp
import numpy as np
import pytest

from bitmoji_jax.models import networks as networks_module
from bitmoji_jax.models.equal_eyes import equal_eyes
from bitmoji_jax.models.face_points import POINTS
from bitmoji_jax.models.networks import photo_to_avatar
from bitmoji_jax.models.reader import GLASSES, MOUTH
from tests.random_weights import random_weights

SKIN, EYE, PATCH = (0.6, 0.2, -0.1), (-0.9, -0.9, -0.9), (0.5, -0.8, -0.8)
EYES = np.array([[0.375, 0.5], [0.625, 0.5]], np.float32)


def face(size: int) -> np.ndarray:
    """Skin with equal eyes."""
    avatar, n = np.full((size, size, 3), SKIN, np.float32), size // 32
    for left in (11, 19):
        avatar[15 * n : 17 * n, left * n : (left + 2) * n] = EYE
    return avatar


@pytest.mark.parametrize("size", [32, 128])
def test_a_smeared_left_eye_becomes_the_mirrored_right_one(size: int) -> None:
    whole, n = face(size), size // 32
    smeared = whole.copy()
    smeared[15 * n : 17 * n, 11 * n : 13 * n] = PATCH
    drawn = np.asarray(equal_eyes(np.stack([smeared, whole]), np.stack([EYES] * 2)))
    for avatar in drawn:
        np.testing.assert_allclose(avatar, whole, atol=0.05)
    # The right eye is the model of both, whatever it looks like.
    other = np.asarray(equal_eyes(smeared[None, :, ::-1], EYES[None]))[0]
    np.testing.assert_allclose(other[:, 11 * n : 13 * n], smeared[:, 11 * n : 13 * n], atol=0.05)
    np.testing.assert_allclose(other[:, size // 2 :], smeared[:, ::-1][:, size // 2 :], atol=0.01)


def test_in_a_tilted_head_they_are_mirrored_across_the_line_between_them() -> None:
    eyes, avatar = np.array([[0.4, 0.45], [0.6, 0.55]], np.float32), np.full((64, 64, 3), 0.2, np.float32)
    avatar[34:37, 40:43] = EYE  # its middle is (41.5, 35.5), the right eye's (38.4, 35.2)
    drawn = np.asarray(equal_eyes(avatar[None], eyes[None]))[0]
    rows, columns = np.nonzero(drawn[:, :30].mean(axis=-1) < -0.2)
    along, up = np.array([2.0, 1.0]) / np.sqrt(5), np.array([1.0, -2.0]) / np.sqrt(5)
    offset = np.array([41.5, 35.5]) - 64 * eyes[1]
    expected = 64 * eyes[0] - (offset @ along) * along + (offset @ up) * up
    np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], expected, atol=0.7)


def test_eyes_at_one_point_give_no_nan() -> None:
    assert np.isfinite(equal_eyes(face(32)[None], np.full((1, 2, 2), 0.5, np.float32))).all()


def test_they_are_equal_where_a_student_has_a_reader_and_points_are_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = random_weights(names="st", guided=True)
    photos = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    points = jnp.full((2, POINTS, 2), 0.5).at[:, :2].set(EYES)
    monkeypatch.setattr(networks_module, "reshape_faces", lambda avatars, *_: (avatars, points))
    monkeypatch.setattr(networks_module, "measure", lambda _: points)
    guides = jnp.zeros((2, MOUTH)).at[:, GLASSES].set(-1.0)
    unmoved = {name: params for name, params in weights.networks.items() if name != "t"}
    drawn, plain = (
        photo_to_avatar(weights.config, networks, photos, guides) for networks in (weights.networks, unmoved)
    )
    np.testing.assert_allclose(drawn, equal_eyes(plain, points[:, :2]), atol=1e-5)
    assert np.abs(drawn - plain).max() > 0.05
