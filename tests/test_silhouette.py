"""Silhouettes and flat ends of drawn shapes."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from bitmoji_jax.metrics.silhouette import crop_tightly, cut_flat, flatness, silhouette

FACE = np.array([(0.37, 0.48), (0.63, 0.48), (0.5, 0.62), (0.4, 0.72), (0.6, 0.72)], np.float32)


def heads(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Ellipses of skin with eyes, on white, of sizes that differ by a few per cent."""
    images = []
    for grow in np.random.default_rng(seed).uniform(-0.02, 0.02, count):
        box = np.array([0.2 - grow, 0.12 - grow, 0.8 + grow, 0.95])
        images.append(draw(size, "ellipse", box, eyes=True))
    return np.stack(images)


def draw(size: int, shape: str, box: np.ndarray, eyes: bool = False) -> np.ndarray:
    """One shape on white; the box is left, top, right, bottom as fractions of the side."""
    picture = Image.new("RGB", (size, size), "white")
    pen = ImageDraw.Draw(picture)
    getattr(pen, shape)(tuple(size * np.asarray(box)), fill=(150, 100, 80))
    for x, y in FACE[:2] if eyes else ():
        pen.ellipse((size * (x - 0.04), size * (y - 0.04), size * (x + 0.04), size * (y + 0.04)), fill="white")
    return np.array(picture)


def test_the_silhouette_is_the_largest_area_with_its_holes() -> None:
    image = draw(64, "ellipse", np.array([0.2, 0.1, 0.8, 0.7]), eyes=True)
    image[60:62, 2:5] = 0  # a speck
    image[:8, :8] = 200  # a faint cloud
    found = silhouette(image)
    assert found[31, 24]  # an eye
    assert not found[60:].any()
    assert not found[:, :10].any()
    assert not silhouette(np.full((64, 64, 3), 255, np.uint8)).any()


def test_a_circle_ends_round_and_a_square_flat() -> None:
    circle = draw(256, "ellipse", np.array([0.2, 0.1, 0.8, 0.7]))
    square = draw(256, "rectangle", np.array([0.2, 0.1, 0.8, 0.7]))
    found = flatness(np.stack([circle, square, np.full_like(square, 255)]))
    # Of a circle of diameter 1, the chord at a depth of 0.06 is 2 √(0.06 · 0.94).
    np.testing.assert_allclose(found[0], 2 * np.sqrt(0.06 * 0.94), atol=0.03)
    np.testing.assert_array_equal(found[1], 1)
    np.testing.assert_array_equal(found[2], 0)


def test_each_side_has_its_own_value() -> None:
    round_head = draw(256, "ellipse", np.array([0.2, 0.1, 0.8, 0.7]))
    left, right, top = round_head.copy(), round_head.copy(), round_head.copy()
    left[:, :90] = 255
    right[:, -90:] = 255
    top[:70] = 255
    found = flatness(np.stack([top, left, right])) > 0.8
    np.testing.assert_array_equal(found, np.eye(3, dtype=bool))


def test_what_ends_at_the_edge_of_the_image_and_shoulders_do_not_count() -> None:
    size = 256
    framed = draw(size, "rectangle", np.array([0, 0, 1, 0.7]))
    np.testing.assert_array_equal(flatness(framed[None])[0], 0)
    head = draw(size, "ellipse", np.array([0.2, 0.1, 0.8, 0.95]))
    with_shoulders = head.copy()
    with_shoulders[round(0.82 * size) :, 20:-20] = 50
    np.testing.assert_array_equal(flatness(head[None]), flatness(with_shoulders[None]))


@pytest.mark.parametrize("size", [64, 128])
def test_a_tight_portrait_is_cut_flat_and_a_whole_head_is_not(size: int) -> None:
    whole, reals = heads(5, size), heads(100, size, 1)
    tight = crop_tightly(whole, np.repeat(FACE[None], 5, axis=0), 255)
    assert cut_flat(tight, reals).all()
    assert not cut_flat(whole, reals).any()
    assert cut_flat(reals, reals).mean() <= 0.03


def test_a_tight_crop_keeps_the_face_in_its_place() -> None:
    photos = np.random.default_rng(0).integers(0, 200, (3, 100, 100, 3), np.uint8)
    landmarks = np.stack([FACE, np.full_like(FACE, np.nan), FACE[::-1]])
    on_white, repeated = crop_tightly(photos, landmarks, 255), crop_tightly(photos, landmarks, None)
    # Eyes are 0.26 apart, at a height of 0.48, and 0.24 above the mouth.
    left, right, top, bottom = 21, 79, 32, 91
    for cropped in (on_white, repeated):
        np.testing.assert_array_equal(cropped[0, top:bottom, left:right], photos[0, top:bottom, left:right])
        np.testing.assert_array_equal(cropped[1:], photos[1:])  # unknown landmarks, and a face upside down
    outside = np.ones((100, 100), bool)
    outside[top:bottom, left:right] = False
    assert (on_white[0][outside] == 255).all()
    np.testing.assert_array_equal(
        repeated[0, top:bottom, :left], repeated[0, top:bottom, left : left + 1].repeat(left, 1)
    )


def test_other_shapes_are_refused() -> None:
    images = heads(2, 64)
    with pytest.raises(ValueError, match="landmarks have shape"):
        crop_tightly(images, FACE[None], 255)
    with pytest.raises(ValueError, match="one or more"):
        cut_flat(images, images[:0])
    with pytest.raises(ValueError, match="shapes"):
        cut_flat(images, heads(2, 32))
    with pytest.raises(ValueError, match="uint8"):
        flatness(images.astype(np.float32))
