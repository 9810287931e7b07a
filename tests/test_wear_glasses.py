"""Glasses drawn over avatars."""

import jax
import jax.numpy as jnp
import numpy as np

from bitmoji_jax.models.wear_glasses import COLOUR, wear_glasses
from bitmoji_jax.ops.spectacles import Frame, face_frame, spectacles

SKIN = np.array([0.8, 0.4, 0.1], np.float32)


def test_who_wears_glasses_has_rims_around_the_eyes_and_the_others_nothing() -> None:
    size = 128
    eyes = np.array([[[0.35, 0.5], [0.65, 0.5]], [[0.4, 0.45], [0.6, 0.55]], [[0.35, 0.5], [0.65, 0.5]]], np.float32)
    avatars = np.broadcast_to(SKIN, (3, size, size, 3)).copy()
    worn = np.asarray(jax.jit(wear_glasses)(avatars, eyes, jnp.array([0.2, 1.0, -0.2])))
    np.testing.assert_array_equal(worn[2], avatars[2])
    for image, points in zip(worn[:2], eyes[:2], strict=True):
        drawn = np.abs(image - SKIN).max(axis=-1) > 0.5
        pixels = np.floor(points * size).astype(int)
        for x, y in pixels:  # the eyes stay free, and are between rims
            assert not drawn[y - 2 : y + 3, x - 2 : x + 3].any()
            assert drawn[y:, x].any()
            assert drawn[:y, x].any()
        centre = np.argwhere(drawn).mean(axis=0)[::-1] / size
        np.testing.assert_allclose(centre, points.mean(axis=0), atol=0.03)
        assert drawn[pixels[:, 1].mean().astype(int) - 5 : pixels[:, 1].mean().astype(int) + 5, size // 2].any()
        assert image[drawn].min() >= COLOUR - 1e-6
    # Turned eyes turn the glasses.
    upright, turned = (np.argwhere(np.abs(image - SKIN).max(axis=-1) > 0.5) for image in worn[:2])
    assert abs(np.corrcoef(upright.T)[0, 1]) < 0.05 < 0.3 < np.corrcoef(turned.T)[0, 1]


def test_distances_are_negative_inside_of_a_lens_and_zero_on_the_edges_of_its_rim() -> None:
    frame = Frame(width=0.4, height=0.3, corner=0.1, rim=0.08, drop=0.0)
    x, y = jnp.array([0.5, 0.9, 0.5, 0.86, 0.94, 0.5]), jnp.array([0.0, 0.0, 0.3, 0.0, 0.0, 0.34])
    lens, rims = spectacles(x, y, frame)
    np.testing.assert_allclose(lens, [-0.3, 0, 0, -0.04, 0.04, 0.04], atol=1e-6)
    np.testing.assert_allclose(rims[1:], [-0.04, -0.04, 0, 0, 0], atol=1e-6)
    mirrored = spectacles(-x, y, frame)
    np.testing.assert_array_equal(mirrored[0], lens)
    np.testing.assert_array_equal(mirrored[1], rims)


def test_a_frame_s_unit_is_the_distance_between_the_eyes() -> None:
    eyes = np.array([[0.25, 0.5], [0.75, 0.5]], np.float32)
    x, y, pixel = face_frame(jnp.asarray(eyes), 64)
    columns = (np.arange(64) + 0.5) / 64
    np.testing.assert_allclose(x[0], (columns - 0.5) / 0.5, atol=1e-6)
    np.testing.assert_allclose(y[:, 0], (columns - 0.5) / 0.5, atol=1e-6)
    assert float(pixel) == np.float32(1 / 32)
    nowhere = face_frame(jnp.full((2, 2), 0.5), 64)  # eyes that coincide are no reason to divide by 0
    assert all(np.isfinite(np.asarray(part)).all() for part in nowhere)
