"""Hats drawn over avatars."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bitmoji_jax.models.wear_hat import COLOUR, EDGE, MOST_WIDTH, wear_hats

SIZE = 128
SKIN, HAIR = (np.array(levels, np.float32) for levels in ((0.8, 0.4, 0.1), (-0.6, -0.8, -0.9)))
EYES = np.array([[0.38, 0.5], [0.62, 0.5]], np.float32)


def person(half_width: float) -> np.ndarray:
    """A face with hair, as wide as this in distances between the eyes, on white: [SIZE, SIZE, 3]."""
    x, y = np.meshgrid(*[(np.arange(SIZE) + 0.5) / SIZE] * 2)
    avatar = np.ones((SIZE, SIZE, 3), np.float32)
    avatar[(np.abs(x - 0.5) < 0.24 * half_width) & (y > 0.1)] = HAIR
    avatar[np.hypot(x - 0.5, y - 0.55) < 0.24] = SKIN
    return avatar


def worn_by(avatar: np.ndarray, eyes: np.ndarray = EYES) -> np.ndarray:
    return np.asarray(jax.jit(wear_hats)(avatar[None], eyes[None], jnp.ones(1), jnp.array([COLOUR]))[0])


def is_hat(avatar: np.ndarray) -> np.ndarray:
    """bool [SIZE, SIZE]: the crown's blue and its shade on the border."""
    return avatar[..., 2] - avatar[..., 0] > 0.8 * 0.9 * (COLOUR[2] - COLOUR[0])


def test_who_wears_a_hat_has_one_above_the_brows_in_place_of_the_hair_and_the_others_nothing() -> None:
    avatars = np.stack([person(1.2)] * 2)
    worn = np.asarray(wear_hats(avatars, np.stack([EYES] * 2), jnp.array([0.2, -0.2]), jnp.array([COLOUR] * 2)))
    np.testing.assert_array_equal(worn[1], avatars[1])
    edge = round((0.5 - 0.24 * EDGE) * SIZE)
    np.testing.assert_allclose(worn[0, edge + 4 :], avatars[0, edge + 4 :], atol=1e-6)
    above = worn[0, : edge - 4]
    hair = np.abs(above - HAIR).max(axis=-1) < 0.05
    assert not hair.any()
    assert is_hat(worn[0])[edge - 12 : edge - 4, SIZE // 2].all()
    assert (worn[0, :5, :5] == 1).all()


def test_a_hat_is_as_wide_as_the_head_within_limits() -> None:
    def width(half_width: float) -> float:
        return is_hat(worn_by(person(half_width)))[:60].any(axis=0).sum() / SIZE / 0.24

    assert width(1.0) < width(1.25) < width(1.4) <= width(2.0) <= 2 * MOST_WIDTH + 0.1
    assert width(1.25) == pytest.approx(2 * 1.31, abs=0.12)


def test_a_hat_has_the_colour_that_is_wanted() -> None:
    red, green = (0.7, -0.6, -0.5), (-0.6, 0.3, -0.4)
    worn = wear_hats(jnp.stack([person(1.2)] * 2), jnp.stack([EYES] * 2), jnp.ones(2), jnp.array([red, green]))
    np.testing.assert_allclose(worn[:, 20, SIZE // 2], [red, green], atol=1e-6)  # of the crown, above the border


def test_turned_eyes_turn_the_hat() -> None:
    turned = np.array([[0.4, 0.45], [0.6, 0.6]], np.float32)
    upright, tilted = (np.argwhere(is_hat(worn_by(person(1.2), eyes))) for eyes in (EYES, turned))
    assert abs(np.corrcoef(upright.T)[0, 1]) < 0.05 < 0.3 < np.corrcoef(tilted.T)[0, 1]
