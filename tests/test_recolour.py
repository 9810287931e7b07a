import jax.numpy as jnp
import numpy as np
import pytest

from bitmoji_jax.training.recolour import recolour

WHITE, BLACK = np.ones(3), -np.ones(3)
SKIN, SKIN_WANTED = np.array([0.8, 0.4, 0.1]), np.array([0.2, -0.1, -0.3])
HAIR, HAIR_WANTED = np.array([-0.5, -0.7, -0.8]), np.array([-0.2, -0.6, -0.7])


def face(size: int, skin: np.ndarray, hair: np.ndarray) -> np.ndarray:
    """A head on white: hair above, a face with a black line below it."""
    image = np.ones((size, size, 3), np.float32)
    at = {
        name: round(fraction * size) for name, fraction in (("top", 0.05), ("brow", 0.3), ("line", 0.8), ("end", 0.9))
    }
    image[at["top"] : at["brow"], size // 4 : -size // 4] = hair
    image[at["brow"] : at["end"], size // 4 : -size // 4] = skin
    image[at["line"] : at["line"] + 2, size // 4 : -size // 4] = BLACK
    return image


def test_skin_and_hair_go_most_of_the_way_to_the_photo_and_nothing_else_changes() -> None:
    avatar, photo = face(64, SKIN, HAIR), face(32, SKIN_WANTED, HAIR_WANTED)

    changed = np.asarray(recolour(jnp.asarray(avatar), jnp.asarray(photo)))

    np.testing.assert_allclose(changed[40, 32], SKIN + 0.75 * (SKIN_WANTED - SKIN), atol=1e-5)
    np.testing.assert_allclose(changed[10, 32], HAIR + 0.75 * (HAIR_WANTED - HAIR), atol=0.02)
    np.testing.assert_allclose(changed[:, :16], 1, atol=1e-3)
    np.testing.assert_allclose(changed[51, 32], BLACK, atol=0.02)


@pytest.mark.parametrize(
    ("hair", "hair_wanted"),
    [(HAIR, SKIN_WANTED), (SKIN, HAIR_WANTED), (HAIR, WHITE), (HAIR, np.array([0.9, 0.8, 0.1]))],
    ids=["the photo shows a forehead", "the avatar shows a forehead", "background", "another colour altogether"],
)
def test_hair_stays_where_its_colour_cannot_be_told(hair: np.ndarray, hair_wanted: np.ndarray) -> None:
    changed = np.asarray(recolour(jnp.asarray(face(64, SKIN, hair)), jnp.asarray(face(64, SKIN, hair_wanted))))

    np.testing.assert_allclose(changed, face(64, SKIN, hair), atol=1e-6)


def test_a_picture_without_a_person_changes_nothing() -> None:
    avatar = face(64, SKIN, HAIR)

    np.testing.assert_array_equal(recolour(jnp.asarray(avatar), jnp.ones((64, 64, 3))), avatar)
