"""Backgrounds behind drawn heads, and what is measured of them."""

import numpy as np
import pytest

from bitmoji_jax.metrics.residue import (
    RESIDUE,
    background_residue,
    natural_backgrounds,
    replace_background,
)
from tests.test_silhouette import heads

HEADS = heads(4, 64)


def test_backgrounds_are_smooth_varied_and_reproducible() -> None:
    images = natural_backgrounds(4, 64)
    assert (images.dtype, images.shape) == (np.uint8, (4, 64, 64, 3))
    np.testing.assert_array_equal(images, natural_backgrounds(4, 64))
    assert not np.array_equal(images, natural_backgrounds(4, 64, seed=1))
    levels = images.astype(float)
    assert np.abs(np.diff(levels, axis=1)).mean() < 6  # neighbours
    assert levels.std(axis=(1, 2)).mean() > 10  # within an image
    assert levels.mean(axis=(1, 2)).std() > 10  # between images
    # The same pictures at another size.
    halved = natural_backgrounds(4, 128).reshape(4, 64, 2, 64, 2, 3).mean(axis=(2, 4))
    assert np.abs(halved - levels).max() < 6


def test_a_background_replaces_the_white_around_a_person_only() -> None:
    backgrounds = natural_backgrounds(4, 64)
    composed = replace_background(HEADS, backgrounds)
    np.testing.assert_array_equal(composed[:, :4], backgrounds[:, :4])
    np.testing.assert_array_equal(composed[:, 20:40, 20:44], HEADS[:, 20:40, 20:44])  # with the white of the eyes
    edge = (HEADS.min(axis=-1) < 228) & (composed.min(axis=-1) > 228)
    assert not edge.any()  # no bright fringe


@pytest.mark.parametrize("part", [0, 0.01, 0.05, 1])
def test_the_share_of_what_is_left_is_measured(part: float) -> None:
    """A band at the top of an image without a head covers a known part of the upper 80 %."""
    blank = np.full((1, 100, 100, 3), 255, np.uint8)
    left = blank.copy()
    left.reshape(-1, 3)[: round(part * 80 * 100)] = 120
    share = background_residue(left, blank)[0]
    assert share == pytest.approx(part)
    assert (share > RESIDUE) == (part > 0.02)


def test_heads_clothes_and_faint_tints_are_no_residue() -> None:
    np.testing.assert_array_equal(background_residue(HEADS, HEADS), 0)
    changed = np.where(HEADS == 255, 235, HEADS).astype(np.uint8)  # nearly white
    changed[:, 56:] = 0  # clothes
    np.testing.assert_array_equal(background_residue(changed, HEADS), 0)
    grown = heads(4, 64, 5)  # hair that differs by a pixel
    np.testing.assert_array_equal(background_residue(grown, HEADS), 0)


def test_a_background_that_stays_is_residue_everywhere() -> None:
    composed = replace_background(HEADS, natural_backgrounds(4, 64))
    assert (background_residue(composed, HEADS) > 0.95).all()


def test_shapes_that_differ_are_refused() -> None:
    for measure in (replace_background, background_residue):
        with pytest.raises(ValueError, match="shapes are"):
            measure(HEADS, HEADS[:2])
        with pytest.raises(ValueError, match="uint8"):
            measure(HEADS.astype(np.float32), HEADS)
