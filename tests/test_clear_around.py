"""What is not connected with the person of an avatar is taken away."""

import jax
import numpy as np
import pytest

from bitmoji_jax.models import networks as networks_module
from bitmoji_jax.models.clear_around import clear_around
from bitmoji_jax.models.networks import photo_to_avatar
from tests.random_weights import random_weights

SKIN, LINE, FAINT = (0.8, 0.4, 0.1), (-0.9, -0.9, -0.9), (0.6, 0.6, 0.6)


def person(size: int, skin: tuple[float, float, float] = SKIN) -> np.ndarray:
    """A head with a dark outline on white, whose mouth is white: [size, size, 3]."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size - 0.5
    radius = np.hypot(x, y)
    avatar = np.ones((size, size, 3), np.float32)
    avatar[radius < 0.34] = LINE
    avatar[radius < 0.30] = skin
    avatar[(np.abs(x) < 0.1) & (np.abs(y - 0.15) < 0.04)] = 1
    return avatar


def cleared(avatar: np.ndarray) -> np.ndarray:
    return np.asarray(jax.jit(clear_around)(avatar[None])[0])


@pytest.mark.parametrize("size", [32, 64, 256])
def test_loose_lines_and_crumbs_become_white_and_the_person_stays(size: int) -> None:
    whole, n = person(size), size // 32
    np.testing.assert_array_equal(cleared(whole), whole)
    crumbled = whole.copy()
    crumbled[4 * n : 20 * n, n : 2 * n] = FAINT  # a line beside the head
    crumbled[: 2 * n, 20 * n : 25 * n] = LINE  # at the border
    crumbled[29 * n : 31 * n, 3 * n : 5 * n] = LINE
    np.testing.assert_array_equal(cleared(crumbled), whole)


@pytest.mark.parametrize("skin", [SKIN, (0.95, 0.9, 0.9)])
def test_what_the_person_s_outline_surrounds_is_the_person_s_however_light(skin: tuple[float, float, float]) -> None:
    whole = person(64, skin)
    np.testing.assert_array_equal(cleared(whole), whole)


def test_hair_that_touches_the_head_and_shoulders_that_reach_the_lower_border_stay() -> None:
    whole = person(64)
    whole[40:, 14:18] = whole[54:, 20:44] = LINE
    np.testing.assert_array_equal(cleared(whole), whole)


def test_where_an_open_outline_would_let_the_surroundings_in_nothing_is_taken_away() -> None:
    light = person(64, (0.95, 0.9, 0.9))
    light[:34, 30:34] = 1  # through the outline into the face
    light[10:14, 2:6] = FAINT
    np.testing.assert_array_equal(cleared(light), light)


def test_each_avatar_of_a_batch_is_cleared_by_itself() -> None:
    rng = np.random.default_rng(0)
    avatars = np.stack([person(64), person(64)])
    avatars[rng.random((2, 64, 64)) > 0.97] = FAINT
    np.testing.assert_array_equal(clear_around(avatars), [cleared(avatar) for avatar in avatars])


@pytest.mark.parametrize("guided", [True, False])
def test_avatars_of_a_student_with_a_reader_are_cleared(guided: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks_module, "clear_around", lambda avatars: 0 * avatars + 0.25)
    weights = random_weights(names="s", guided=guided, compute_dtype="float32")
    drawn = photo_to_avatar(weights.config, weights.networks, np.zeros((1, 32, 32, 3), np.float32))
    bare = np.asarray(drawn) == 0.25  # but for glasses
    assert bare.mean() > 0.8 if guided else not bare.any()
