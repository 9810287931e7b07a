"""The benchmark that gives avatars the points of other people."""

import numpy as np

from benchmarks.other_points import _drawing
from bitmoji_jax.inference.translator import Translator
from tests.random_weights import random_weights


def test_with_the_points_of_its_own_photo_an_avatar_is_the_translator_s_and_with_others_it_is_not() -> None:
    weights = random_weights(names="stl", size=64, guided=True, glasses=False)
    photos = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    own, other = np.asarray(_drawing(weights)(photos[0], photos)).astype(int)
    expected = Translator.from_weights(weights).x2y(photos[:1])[0]
    assert np.abs(own - expected).max() <= 1
    assert np.abs(own - other).max() > 10
