from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from skimage import data

from bitmoji_jax.data import disturb
from bitmoji_jax.data.accessories import glasses, hat, held_up
from bitmoji_jax.data.disturb import disturb_photo

SIZE = 64
EYES = np.array([[0.35, 0.45], [0.65, 0.5]], np.float32)
LANDMARKS = np.concatenate([EYES, [[0.5, 0.6], [0.4, 0.72], [0.6, 0.74]]]).astype(np.float32)
NOWHERE = np.full((5, 2), np.nan, np.float32)
KEYS = jax.random.split(jax.random.key(0), 12)

disturbed = jax.jit(disturb_photo)


def fractions() -> tuple[np.ndarray, np.ndarray]:
    """x and y [S, S] of the pixels' centres."""
    y, x = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
    return x, y


def cut_out_person() -> np.ndarray:
    """An ellipse with the texture of a photo on white."""
    x, y = fractions()
    texture = data.astronaut()[100 : 100 + SIZE, 180 : 180 + SIZE] / 255 * 1.4 - 0.9
    person = (x - 0.5) ** 2 / 0.3**2 + (y - 0.6) ** 2 / 0.45**2 < 1
    return np.where(person[..., None], texture, 1).astype(np.float32)


def each(fault: Callable[..., Any], *inputs: Any, **others: Any) -> np.ndarray:
    """The results of a fault for KEYS."""
    return np.asarray(jax.jit(jax.vmap(lambda key: fault(*inputs, key, **others)))(KEYS))


def test_a_disturbed_photo_has_range_shape_and_type_and_depends_on_the_key_only() -> None:
    image = cut_out_person()
    results = np.stack([disturbed(image, LANDMARKS, key) for key in KEYS])
    assert results.shape == (len(KEYS), SIZE, SIZE, 3)
    assert results.dtype == np.float32
    assert np.abs(results).max() <= 1
    np.testing.assert_array_equal(results[0], disturbed(image, LANDMARKS, KEYS[0]))
    differences = np.abs(results - image).mean((1, 2, 3))
    assert len(np.unique(differences)) > len(KEYS) / 2  # few keys draw nothing, most draw something of their own
    together = jax.jit(jax.vmap(disturb_photo, (None, None, 0)))(image, LANDMARKS, KEYS)
    # Where rounding in JPEG falls to the other side, a wave of a block differs by one step.
    assert np.abs(together - results).mean() < 1e-3


def test_without_landmarks_the_eyes_are_where_alignment_puts_them() -> None:
    usual = np.concatenate([disturb._USUAL_EYES, LANDMARKS[2:]])
    image = cut_out_person()
    for key in KEYS[:4]:
        np.testing.assert_array_equal(disturbed(image, NOWHERE, key), disturbed(image, usual, key))


def test_where_no_coin_falls_the_photo_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = [
        name for name in vars(disturb) if name.endswith("_SHARE") and not name.startswith(("_WHITE", "_TEX", "_TIGHT"))
    ]
    assert len(shares) == 13
    for name in shares:
        monkeypatch.setattr(disturb, name, 0.0)
    image = cut_out_person()
    for result in each(disturb_photo, image, LANDMARKS):
        np.testing.assert_array_equal(result, image)


def test_a_tilt_moves_points_with_the_image_and_brings_in_white() -> None:
    x, y = fractions()
    spot = np.exp(-((x - 0.7) ** 2 + (y - 0.35) ** 2) / 0.03**2)[..., None] * np.ones(3)
    image = (1 - 2 * spot).astype(np.float32)
    points = np.array([[0.7, 0.35], [0.5, 0.5]], np.float32)
    images, moved = jax.jit(jax.vmap(lambda key: disturb._tilt((image, points), key)))(KEYS)
    weight = 1 - np.asarray(images).mean(-1)
    found = np.stack([(weight * c).sum((1, 2)) / weight.sum((1, 2)) for c in (x, y)], -1)
    np.testing.assert_allclose(found, moved[:, 0], atol=0.003)
    assert np.std(found) > 0.005
    np.testing.assert_allclose(moved[:, 1], 0.5, atol=1e-6)
    dark = each(lambda key: disturb._tilt((jnp.full((SIZE, SIZE, 3), -1.0), points), key)[0])
    assert dark[:, 20:44, 20:44].max() < -0.999
    assert (dark[:, [0, 0, -1, -1], [0, -1, 0, -1]] > 0.9).any()


def test_a_displaced_photo_moves_its_points_with_it_and_goes_on_outside() -> None:
    x, y = fractions()
    spot = np.exp(-((x - 0.6) ** 2 + (y - 0.4) ** 2) / 0.03**2)[..., None] * np.ones(3)
    image, points = jnp.asarray(1 - 2 * spot, jnp.float32), jnp.array([[0.6, 0.4]], jnp.float32)
    images, moved = jax.jit(jax.vmap(lambda key: disturb.displace(image, points, key)))(KEYS)
    weight = 1 - np.asarray(images).mean(-1)
    found = np.stack([(weight * c).sum((1, 2)) / weight.sum((1, 2)) for c in (x, y)], -1)
    np.testing.assert_allclose(found, moved[:, 0], atol=0.003)
    assert np.std(found - [0.6, 0.4]) > 0.01
    assert np.abs(found - [0.6, 0.4]).max() < 0.09
    grey = jnp.full((SIZE, SIZE, 3), -0.4)
    np.testing.assert_allclose(each(lambda key: disturb.displace(grey, points, key)[0]), -0.4, atol=1e-6)


@pytest.mark.parametrize("shadow", [disturb._shadow, disturb._patch_shadow])
def test_a_shadow_darkens_a_part_and_brightens_nothing(shadow: Callable[..., Any]) -> None:
    image = cut_out_person()
    results = each(shadow, image)
    assert (results <= image + 1e-6).all()
    assert (results >= -1 - 1e-6).all()
    levels = (results + 1) / (image + 1 + 1e-6)
    assert (levels.min((1, 2, 3)) > 0.29).all()
    assert (levels.max((1, 2, 3)) > 0.9).all()  # somewhere there is still light
    assert (levels.min((1, 2, 3)) < 0.9).all()


def test_light_keeps_the_order_of_grey_levels() -> None:
    ramp = np.broadcast_to(np.linspace(-1, 1, SIZE, dtype=np.float32)[None, :, None], (SIZE, SIZE, 3))
    results = each(disturb._light, ramp)
    assert np.abs(results).max() <= 1
    assert (np.diff(results, axis=2) >= 0).all()
    assert results[:, 0, SIZE // 2].mean(-1).min() < 0 < results[:, 0, SIZE // 2].mean(-1).max()
    assert results[:, 0, SIZE // 2].std(-1).min() > 0  # colour casts


def test_white_surroundings_are_the_white_areas_that_reach_the_border() -> None:
    rng = np.random.default_rng(0)
    white = ndimage.gaussian_filter(rng.standard_normal((SIZE, SIZE)), 1.5) > 0
    # A corridor that winds through the image, longer than it is wide.
    white[10:31] = False
    white[10, 2:] = white[12, 2:-2] = white[14, 2:-2] = True
    white[10:13, -3] = white[12:15, 2] = True
    image = np.where(white[..., None], 0.95, 0.9).repeat(3, -1).astype(np.float32)
    areas, _ = ndimage.label(white)
    edge = np.concatenate([areas[0], areas[-1], areas[:, 0], areas[:, -1]])
    expected = np.isin(areas, edge[edge > 0])
    assert expected[14, 5:-5].all()
    assert (white & ~expected).any()
    np.testing.assert_array_equal(jax.jit(disturb._white_around)(image), expected)
    assert not np.asarray(disturb._white_around(jnp.zeros((8, 8, 3)))).any()


def test_backdrops_are_images_that_differ() -> None:
    results = each(disturb._backdrop, cut_out_person())
    assert np.abs(results).max() <= 1
    assert len(np.unique(results.mean((1, 2, 3)).round(3))) == len(KEYS)
    assert (results.std((1, 2)).max(-1) > 0.01).all()


def test_another_background_leaves_the_person_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in vars(disturb) if name.endswith("_SHARE")]:
        monkeypatch.setattr(disturb, name, 0.0)
    monkeypatch.setattr(disturb, "_BACKDROP_SHARE", 1.0)
    image = cut_out_person()
    around = image.min(-1) == 1
    person = ndimage.binary_erosion(~around, np.ones((3, 3)), iterations=5, border_value=1)
    for result in each(disturb_photo, image, LANDMARKS):
        np.testing.assert_allclose(result[person], image[person], atol=2e-3)
        assert np.abs(result - image)[around].mean() > 0.05


def test_cuts_are_white_or_grey_strips_at_the_sides() -> None:
    image = np.full((SIZE, SIZE, 3), -0.123, np.float32)
    results = each(lambda key: disturb._cut((image, EYES), key)[0])
    cut = results != image
    assert not cut[:, 32:48, 20:44].any()  # at most 19 %, or what is around the face
    assert cut.any((1, 2, 3)).mean() > 0.8
    for result, mask in zip(results, cut, strict=True):
        assert len(np.unique(result[mask])) <= 1
        kept = ~mask[..., 0]
        np.testing.assert_array_equal(kept, np.outer(kept.any(1), kept.any(0)))  # a rectangle is left
    assert (results == 1).any()


def test_glasses_are_drawn_around_the_eyes() -> None:
    image = np.full((SIZE, SIZE, 3), 0.7, np.float32)
    changed = np.abs(each(glasses, image, eyes=EYES) - image).max(-1)
    x, y = fractions()
    centre = EYES.mean(0)
    radius = np.hypot(*(EYES[1] - EYES[0]))
    assert (changed.max((1, 2)) > 0.05).all()
    assert changed[:, np.hypot(x - centre[0], y - centre[1]) > 1.3 * radius].max() == 0
    # The drawing follows the line through the eyes: its middle is between them, a little below.
    for c, expected in zip((x, y), centre, strict=True):
        np.testing.assert_allclose((changed * c).sum((1, 2)) / changed.sum((1, 2)), expected, atol=0.04)
    eye = np.hypot(x - EYES[0, 0], y - EYES[0, 1]) < 0.02
    covered = changed[:, eye].mean(-1) > 0.3
    assert 0 < covered.sum() < len(KEYS)  # some are dark


def test_a_hat_is_above_the_brows_and_a_hand_below_the_eyes() -> None:
    image = np.full((SIZE, SIZE, 3), 0.7, np.float32)
    level = np.array([[0.375, 0.48], [0.625, 0.48]], np.float32)
    rows = np.abs(each(hat, image, eyes=level) - image).max(-1) > 0.01
    assert rows.any((1, 2)).all()
    assert not rows[:, int(0.45 * SIZE) :].any()
    held = np.abs(each(held_up, image, eyes=level) - image).max(-1) > 0.01
    assert held.any((1, 2)).all()
    assert not held[:, : int(0.55 * SIZE)].any()
    assert held[:, -1].any(-1).all()  # it comes from below
    corners = held[:, -SIZE // 3 :, : SIZE // 2].sum((1, 2)) - held[:, -SIZE // 3 :, SIZE // 2 :].sum((1, 2))
    assert corners.min() < 0 < corners.max()


@pytest.mark.parametrize("accessory", [glasses, hat, held_up])
def test_accessories_are_finite_for_eyes_at_one_point(accessory: Callable[..., Any]) -> None:
    results = each(accessory, cut_out_person(), eyes=np.full((2, 2), 0.5, np.float32))
    assert np.abs(results).max() <= 1 + 1e-5


def test_bending_moves_a_face_within_its_head_and_brings_in_white(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disturb, "_BEND", (0.0, 0.0))
    image = np.ones((64, 64, 3), np.float32)
    image[36:41, 30:34] = -1  # in the middle of the face
    image[36:41, 2:4] = -1  # at the side of the picture

    def columns(picture: np.ndarray, side: slice) -> float:
        darkness = (1 - picture[:, side]).sum((0, 2))
        return float(darkness @ np.arange(64)[side] / darkness.sum())

    bent = [np.asarray(disturb.bend(jnp.asarray(image), jax.random.key(seed))) for seed in range(12)]
    moved = np.array([columns(picture, slice(16, 48)) for picture in bent]) - 31.5
    assert np.ptp(moved) > 2  # pixels, both ways
    assert np.abs(moved).max() < 6.5
    assert all(abs(columns(picture, slice(0, 8)) - 2.5) < 0.6 for picture in bent)

    white = jnp.ones((64, 64, 3))
    monkeypatch.undo()
    np.testing.assert_allclose(disturb.bend(white, jax.random.key(0)), white)
