"""Whether a mouth is open, as a guide says it: of photos by their points, of avatars by their teeth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bitmoji_jax.models.face_points import POINTS
from bitmoji_jax.models.mouth import avatar_mouth, photo_mouth

SIZE = 128
WIDTH = 0.25


def points(opening: float = 0.0, turned: float = 0.0) -> np.ndarray:
    """Points of a face whose mouth is `WIDTH` of the side wide and `opening` of that open, turned by an angle."""
    found = np.zeros((POINTS, 2), np.float32)
    turn = np.array([[np.cos(turned), np.sin(turned)], [-np.sin(turned), np.cos(turned)]])
    found[3:7] = WIDTH * np.array([[-0.5, 0], [0.5, 0], [0, 0], [0, opening]]) @ turn + (0.5, 0.7)
    return found


@pytest.mark.parametrize("turned", [0.0, 0.4])
def test_a_photo_s_mouth_is_open_as_far_as_its_lips_are_apart(turned: float) -> None:
    found = [float(photo_mouth(jnp.asarray(points(opening, turned)))) for opening in (0, 0.04, 0.07, 0.1, 0.3)]
    np.testing.assert_allclose(found, [-1, -1, 0, 1, 1], atol=1e-5)


@pytest.mark.parametrize("turned", [0.0, 0.4])
def test_an_avatar_s_mouth_is_open_where_it_shows_teeth(turned: float) -> None:
    corners = points(turned=turned)
    centres = (np.arange(SIZE) + 0.5) / SIZE
    x, y = np.meshgrid(centres - 0.5, centres - 0.7)
    u, v = x * np.cos(turned) + y * np.sin(turned), y * np.cos(turned) - x * np.sin(turned)
    skin = np.broadcast_to(np.array([1, 0.7, 0.6], np.float32), (SIZE, SIZE, 3))
    found = {}
    for name, height in (("none", 0.0), ("teeth", 0.03)):
        teeth = (np.abs(u) < 0.08) & (v > 0) & (v < height)
        found[name] = float(jax.jit(avatar_mouth)(jnp.where(teeth[..., None], 1.0, skin), corners))
    assert found == {"none": pytest.approx(-1, abs=0.01), "teeth": 1}
    white = jnp.where((v > 0.2)[..., None], 1.0, skin)  # what is white elsewhere does not count
    assert float(avatar_mouth(white, jnp.asarray(corners))) == pytest.approx(-1, abs=0.01)
