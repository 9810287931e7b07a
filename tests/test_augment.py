from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bitmoji_jax.data.augment import MIRRORED_LANDMARKS, Placement, augment, place
from bitmoji_jax.ops.image import resize, to_float, to_uint8

jitted_augment = jax.jit(augment, static_argnames=("size", "crop_margin", "flip"))
NOWHERE = np.full((5, 2), np.nan, np.float32)


def random_images(count: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def keys_of(count: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


def run(images: np.ndarray, landmarks: Any = None, *, seed: int = 0, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    count = len(images)
    if landmarks is None:
        landmarks = np.broadcast_to(NOWHERE, (count, 5, 2))
    images, landmarks = jitted_augment(images, landmarks, keys_of(count, seed), **options)
    return np.asarray(images), np.asarray(landmarks)


def dot_at(x: int, y: int, size: int, radius: int = 3) -> np.ndarray:
    """A black image with a white square whose centre is the pixel (x, y)."""
    image = np.zeros((size, size, 3), np.uint8)
    image[y - radius : y + radius + 1, x - radius : x + radius + 1] = 255
    return image


def find_dot(image: np.ndarray) -> np.ndarray:
    """Centre of brightness as fractions (x, y) of the image; a pixel's centre is half a pixel from its edge."""
    weight = (image.mean(-1) + 1) / 2
    rows, columns = (np.arange(side) + 0.5 for side in weight.shape)
    return np.array(
        [
            (weight.sum(0) @ columns) / weight.sum() / weight.shape[1],
            (weight.sum(1) @ rows) / weight.sum() / weight.shape[0],
        ]
    )


def test_all_256_values_survive_the_way_to_float_and_back() -> None:
    values = np.arange(256, dtype=np.uint8)
    floats = to_float(values)
    assert floats.dtype == jnp.float32
    assert (floats[0], floats[255]) == (-1, 1)
    np.testing.assert_array_equal(to_uint8(floats), values)


def test_to_uint8_rounds_and_clips() -> None:
    values = np.array([-7.0, -1.0, 0.49 / 127.5 - 1, 0.51 / 127.5 - 1, 1.0, 1.1])
    assert np.asarray(to_uint8(values)).tolist() == [0, 0, 0, 1, 255, 255]


def test_resize_leaves_images_of_the_right_size_and_flat_areas_alone() -> None:
    images = np.asarray(to_float(random_images(2, 8)))
    np.testing.assert_array_equal(resize(images, 8), images)
    # A step edge between blocks stays a step when each block is far from it.
    flat = np.repeat(np.float32([[-1.0] * 8 + [1.0] * 8]), 16, 0)[None, :, :, None] * np.ones(3, np.float32)
    halved = np.asarray(resize(flat, 8))
    assert halved.shape == (1, 8, 8, 3)
    np.testing.assert_allclose(halved[:, :, :3], -1, atol=1e-6)
    np.testing.assert_allclose(halved[:, :, 5:], 1, atol=1e-6)


@pytest.mark.parametrize("size", [32, 20])
def test_without_margin_and_flip_nothing_changes_but_the_size(size: int) -> None:
    images = random_images(3, size)
    landmarks = np.random.default_rng(1).uniform(0, 1, (3, 5, 2)).astype(np.float32)
    augmented, moved = run(images, landmarks, size=size, crop_margin=0.0, flip=False)
    np.testing.assert_allclose(augmented, to_float(images), atol=1e-5)
    np.testing.assert_allclose(moved, landmarks, atol=1e-6)


@pytest.mark.parametrize("stored", [32, 36, 48, 75])
def test_augment_is_a_resize_followed_by_a_crop_of_whole_pixels(stored: int) -> None:
    size, crop_margin, count = 32, 30 / 256, 6
    images = random_images(count, stored)
    augmented, _ = run(images, size=size, crop_margin=crop_margin, flip=False)
    assert augmented.shape == (count, size, size, 3)
    assert augmented.dtype == np.float32
    resized = jax.image.resize(to_float(images), (count, 36, 36, 3), "linear", antialias=True)
    corners = set()
    for image, large, key in zip(augmented, np.asarray(resized), keys_of(count), strict=True):
        top, left = np.asarray(jax.random.randint(jax.random.split(key)[0], (2,), 0, 36 - size + 1))
        np.testing.assert_allclose(image, large[top : top + size, left : left + size], atol=2e-5)
        corners.add((int(top), int(left)))
    assert len(corners) > 2


def test_every_corner_is_reached_and_none_outside() -> None:
    # An image of the resized size that tells its own coordinates: red is the column, green the row.
    image = np.zeros((1, 36, 36, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(36), np.arange(36)[:, None]
    augmented, _ = run(np.repeat(image, 300, 0), size=32, crop_margin=30 / 256, flip=False)
    corners = np.asarray(to_uint8(augmented))[:, 0, 0, :2]
    assert {tuple(corner) for corner in corners.tolist()} == {(x, y) for x in range(5) for y in range(5)}


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("stored", [64, 96])
def test_landmarks_stay_on_what_they_mark(flip: bool, stored: int) -> None:
    count, landmark = 16, 2  # the nose, which mirroring leaves in its place among the landmarks
    rng = np.random.default_rng(3)
    pixels = rng.integers(stored // 4, 3 * stored // 4, (count, 2))
    images = np.stack([dot_at(x, y, stored) for x, y in pixels])
    landmarks = np.full((count, 5, 2), np.nan, np.float32)
    landmarks[:, landmark] = (pixels + 0.5) / stored
    augmented, moved = run(images, landmarks, size=64, crop_margin=0.25, flip=flip)
    found = np.stack([find_dot(image) for image in augmented])
    np.testing.assert_allclose(moved[:, landmark], found, atol=0.1 / 64)
    assert np.abs(found - landmarks[:, landmark]).max() > 5 / 64  # the dots did move


def test_mirroring_swaps_left_and_right_landmarks() -> None:
    landmarks = np.array([[0.2, 0.3], [0.7, 0.35], [0.45, 0.5], [0.3, 0.8], [0.65, 0.75]], np.float32)
    mirrored = np.array([[0.3, 0.35], [0.8, 0.3], [0.55, 0.5], [0.35, 0.75], [0.7, 0.8]])
    images = random_images(20, 16)
    augmented, moved = run(images, np.repeat(landmarks[None], 20, 0), size=16, crop_margin=0.0, flip=True)
    originals = np.asarray(to_float(images))
    flipped = 0
    for image, original, points in zip(augmented, originals, moved, strict=True):
        if np.allclose(image, original, atol=1e-5):
            np.testing.assert_allclose(points, landmarks, atol=1e-6)
        else:
            np.testing.assert_allclose(image, original[:, ::-1], atol=1e-5)
            np.testing.assert_allclose(points, mirrored, atol=1e-6)
            flipped += 1
    assert 0 < flipped < 20


def test_unknown_landmarks_stay_unknown_and_do_not_spread() -> None:
    landmarks = np.full((8, 5, 2), 0.5, np.float32)
    landmarks[:4] = np.nan  # all unknown
    landmarks[4:, 0] = np.nan  # the left eye only: after mirroring, the right one
    _, moved = run(random_images(8, 16), landmarks, size=16, crop_margin=0.25, flip=True)
    assert np.isnan(moved[:4]).all()
    unknown = np.isnan(moved[4:]).all(-1)
    assert (np.isnan(moved[4:]).any(-1) == unknown).all()
    assert (unknown.sum(1) == 1).all()
    assert unknown[:, :2].any(1).all()


def test_about_half_of_the_images_are_mirrored() -> None:
    count = 400
    image = np.zeros((1, 4, 4, 3), np.uint8)
    image[:, :, :2] = 255
    augmented, _ = run(np.repeat(image, count, 0), size=4, crop_margin=0.0, flip=True)
    mirrored = int((augmented[:, 0, 0, 0] < 0).sum())
    assert abs(mirrored - count / 2) < 5 * (count / 4) ** 0.5  # five standard deviations
    unmirrored, _ = run(np.repeat(image, count, 0), size=4, crop_margin=0.0, flip=False)
    assert (unmirrored[:, 0, 0, 0] > 0).all()


def test_how_images_are_batched_makes_no_difference() -> None:
    images, keys = random_images(6, 20), keys_of(6)
    landmarks = np.random.default_rng(0).uniform(0, 1, (6, 5, 2)).astype(np.float32)
    options = {"size": 16, "crop_margin": 0.25, "flip": True}
    at_once = jitted_augment(images, landmarks, keys, **options)
    parts = [
        jitted_augment(images[part], landmarks[part], keys[part], **options) for part in (slice(0, 3), slice(3, 6))
    ]
    for whole, pieces in zip(at_once, zip(*parts, strict=True), strict=True):
        np.testing.assert_allclose(whole, np.concatenate(pieces), atol=1e-6)


def smooth_avatar(size: int) -> np.ndarray:
    """A dark disc with a bright spot on one side, on white, without detail that a smaller image could not hold."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    disc = 1 / (1 + np.exp((np.hypot(x - 0.5, y - 0.55) - 0.35) * 60))
    spot = np.exp(-((x - 0.65) ** 2 + (y - 0.4) ** 2) / 0.05**2)
    return (1 - 1.6 * (disc * (1 - spot))[..., None] * np.array([1, 0.8, 0.6])).astype(np.float32)


def test_a_placement_moves_images_of_two_sizes_alike() -> None:
    for key in keys_of(6):
        placement = place(key)
        large, small = (np.asarray(placement.apply(smooth_avatar(size))) for size in (256, 128))
        np.testing.assert_allclose(large.reshape(128, 2, 128, 2, 3).mean((1, 3)), small, atol=0.02)
        assert np.abs(small - smooth_avatar(128)).mean() > 0.005


def test_a_placement_moves_landmarks_with_the_image() -> None:
    points = np.array([[0.3, 0.4], [0.7, 0.45], [0.5, 0.55], [0.35, 0.7], [0.65, 0.75]], np.float32)
    size = 128
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    # One channel a landmark: a dark spot on white.
    image = np.stack([1 - 2 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / 0.03**2) for px, py in points], -1)
    mirrored = []
    for key in keys_of(8):
        placement = place(key)
        darkness = 1 - np.asarray(placement.apply(image.astype(np.float32)))
        found = np.stack([(darkness * c[..., None]).sum((0, 1)) / darkness.sum((0, 1)) for c in (x, y)], -1)
        if placement.mirrored:
            found = found[MIRRORED_LANDMARKS]
        np.testing.assert_allclose(placement.apply_to_landmarks(jnp.asarray(points)), found, atol=0.002)
        mirrored.append(bool(placement.mirrored))
    assert len(set(mirrored)) == 2
    assert np.isnan(place(keys_of(1)[0]).apply_to_landmarks(jnp.asarray(NOWHERE))).all()


def test_a_placement_that_does_nothing_is_exact_and_a_shift_brings_in_white() -> None:
    image = jnp.asarray(to_float(random_images(1, 32)[0]))
    still = Placement(jnp.bool_(False), jnp.float32(1), jnp.zeros(2))
    np.testing.assert_allclose(still.apply(image), image, atol=1e-6)
    moved = np.asarray(still._replace(shift=jnp.array([0.25, 0.125])).apply(image))
    np.testing.assert_allclose(moved[4:, 8:], image[:-4, :-8], atol=1e-5)
    np.testing.assert_allclose(moved[:4], 1, atol=1e-6)
    np.testing.assert_allclose(moved[:, :8], 1, atol=1e-6)


def test_placements_are_the_same_one_by_one_and_together() -> None:
    image, keys = smooth_avatar(64), keys_of(6)
    together = jax.jit(jax.vmap(lambda key: place(key).apply(image)))(keys)
    for key, result in zip(keys, together, strict=True):
        np.testing.assert_allclose(place(key).apply(image), result, atol=1e-5)
    scales = jax.vmap(place)(keys_of(200)).scale
    assert 0.94 <= scales.min() < 0.95 < 1.05 < scales.max() <= 1.06
