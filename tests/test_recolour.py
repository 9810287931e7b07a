import jax.numpy as jnp
import numpy as np
import pytest

from bitmoji_jax.models.recolour import SKIN_GAIN, USUAL_SKIN, recolour, repaint

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


def test_skin_and_hair_go_towards_the_photo_s_and_nothing_else_changes() -> None:
    avatar, photo = face(64, SKIN, HAIR), face(32, SKIN_WANTED, HAIR_WANTED)

    changed = np.asarray(recolour(jnp.asarray(avatar), jnp.asarray(photo)))

    np.testing.assert_allclose(changed[40, 32], USUAL_SKIN + SKIN_GAIN @ (SKIN_WANTED - USUAL_SKIN), atol=0.01)
    np.testing.assert_allclose(changed[10, 32], HAIR + 0.75 * (HAIR_WANTED - HAIR), atol=0.02)
    np.testing.assert_allclose(changed[:, :16], 1, atol=1e-3)
    np.testing.assert_allclose(changed[51, 32], BLACK, atol=0.02)


@pytest.mark.parametrize(
    ("hair", "hair_wanted"),
    [(HAIR, USUAL_SKIN), (USUAL_SKIN, HAIR_WANTED), (HAIR, WHITE), (HAIR, np.array([0.9, 0.8, 0.1]))],
    ids=["the photo shows a forehead", "the avatar shows a forehead", "background", "another colour altogether"],
)
def test_hair_stays_where_its_colour_cannot_be_told(hair: np.ndarray, hair_wanted: np.ndarray) -> None:
    avatar, photo = face(64, USUAL_SKIN, hair), face(64, USUAL_SKIN, hair_wanted)

    changed = np.asarray(recolour(jnp.asarray(avatar), jnp.asarray(photo)))

    np.testing.assert_allclose(changed, avatar, atol=0.01)  # such skin stays too


def test_wanted_colours_are_painted_whatever_they_are_but_a_forehead_is_no_hair() -> None:
    red = np.array([0.9, -0.9, -0.8])
    changed = np.asarray(repaint(jnp.asarray(face(64, SKIN, HAIR)), jnp.asarray(SKIN_WANTED), jnp.asarray(red)))
    np.testing.assert_allclose(changed[40, 32], SKIN_WANTED, atol=0.02)
    np.testing.assert_allclose(changed[10, 32], red, atol=0.02)
    np.testing.assert_allclose(changed[:, :14], 1, atol=1e-3)
    np.testing.assert_allclose(changed[51, 32], BLACK, atol=0.1)

    bald = np.asarray(repaint(jnp.asarray(face(64, SKIN, SKIN)), jnp.asarray(SKIN_WANTED), jnp.asarray(red)))
    np.testing.assert_allclose(bald[10, 32], SKIN_WANTED, atol=0.02)


def test_a_thin_line_in_a_face_keeps_its_colour_also_where_that_is_the_colour_of_hair() -> None:
    avatar, red = face(256, SKIN, HAIR), np.array([0.9, -0.9, -0.8])
    avatar[160:162, 100:140] = HAIR
    changed = np.asarray(repaint(jnp.asarray(avatar), jnp.asarray(SKIN), jnp.asarray(red)))
    np.testing.assert_allclose(changed[40, 128], red, atol=0.02)
    assert np.abs(changed[160:162, 100:140] - HAIR).max() < 0.4 * np.abs(red - HAIR).max()


def test_a_picture_without_a_person_changes_nothing() -> None:
    avatar = face(64, SKIN, HAIR)

    np.testing.assert_array_equal(recolour(jnp.asarray(avatar), jnp.ones((64, 64, 3))), avatar)


def test_the_gain_is_that_of_the_likeliest_skin() -> None:
    # C (C + v I)^-1 = I - v (C + v I)^-1 for a covariance C: symmetric, with gains between 0 and 1.
    np.testing.assert_allclose(SKIN_GAIN, SKIN_GAIN.T)
    gains, directions = np.linalg.eigh(SKIN_GAIN)
    assert np.all((gains > 0) & (gains < 1))
    # What remains is mostly how light the skin is: all channels together.
    assert gains[2] > 0.95
    assert np.all(np.abs(directions[:, 2]) > 0.5)


def test_a_shadow_over_less_than_half_of_the_cheeks_changes_little() -> None:
    avatar, photo = face(64, SKIN, HAIR), face(64, SKIN_WANTED, HAIR_WANTED)
    shadowed = photo.copy()
    shadowed[:, 34:48] = (shadowed[:, 34:48] + 1) * 0.6 - 1

    plain, changed = (np.asarray(recolour(jnp.asarray(avatar), jnp.asarray(p))) for p in (photo, shadowed))

    assert np.abs(changed[40, 20] - plain[40, 20]).max() < 0.2 * np.abs(shadowed[40, 40] - photo[40, 40]).max()
