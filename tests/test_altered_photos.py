"""Scores of the avatars of altered photos, made by translators that copy, or clean up perfectly."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bitmoji_jax.evaluation import altered_photos, testset
from bitmoji_jax.evaluation.results import Group
from bitmoji_jax.evaluation.testset import Outputs, Split
from bitmoji_jax.ops.batching import resized
from tests.test_silhouette import FACE, heads

PHOTOS = heads(6, 64)
AVATARS = heads(100, 64, 1)


def outputs_of(x2y: Callable[[np.ndarray], np.ndarray], cut_out: bool = False, **changes: Any) -> Outputs:
    unknown, colours = np.full(len(PHOTOS), np.nan), np.full((len(PHOTOS), 3), np.nan)
    known: dict[str, Any] = {"images": PHOTOS, "landmarks": np.repeat(FACE[None], len(PHOTOS), axis=0)} | changes
    female = np.array([1.0, 0, 1, 0, 1, 0])
    photos = Split(**known, female=female, visible={}, skin=colours, hair=colours, ita=unknown, age=unknown)

    class Translator:
        pass

    translator: Any = Translator()
    translator.x2y, translator.cut_out = x2y, cut_out
    size = x2y(PHOTOS).shape[1]
    images = {"x": resized(known["images"], size), "y": resized(AVATARS, size)}
    test_set = testset.TestSet(photos, photos, images, networks={}, scales={}, pairs=None)
    anything: Any = None
    return Outputs(translator, test_set, anything, fake_y=x2y(known["images"]), fake_x=None)


def copying(images: np.ndarray) -> np.ndarray:
    return images


def cleaning(images: np.ndarray) -> np.ndarray:
    """The head without its background, larger than the photo."""
    return resized(PHOTOS[: len(images)], 128)


def test_a_shadow_that_is_copied_scores_one() -> None:
    score = altered_photos.shadow_score(outputs_of(copying))
    assert score.value == pytest.approx(1)
    assert score.groups["female"] == Group(pytest.approx(1), 3)


def test_a_background_that_is_copied_is_residue_in_every_avatar() -> None:
    score = altered_photos.residue_score(outputs_of(copying))
    assert (score.value, score.images) == (100, 6)
    assert score.groups == {"female": Group(100, 3), "male": Group(100, 3)}
    assert score.references == {"the same photos on white": 0, "real avatars": 0}


def test_a_background_that_is_left_out_is_no_residue_at_any_size() -> None:
    assert altered_photos.residue_score(outputs_of(cleaning)).value == 0


def test_photos_are_cut_out_first_where_the_translator_is_for_such(monkeypatch: pytest.MonkeyPatch) -> None:
    matte = (PHOTOS[0].min(axis=-1) < 228).astype(np.float32)
    monkeypatch.setattr(altered_photos, "person_matte", lambda *_: matte)
    score = altered_photos.residue_score(outputs_of(copying, cut_out=True))
    assert score.value == 0
    assert "removed" in score.note
    monkeypatch.setattr(altered_photos, "person_matte", lambda *_: np.ones_like(matte))
    assert altered_photos.residue_score(outputs_of(copying, cut_out=True)).value == 100


def test_photos_that_have_a_background_are_no_place_for_another() -> None:
    score = altered_photos.residue_score(outputs_of(copying, images=PHOTOS // 2))
    assert score.value is None
    assert "on white" in score.note


def test_tight_portraits_that_are_copied_have_flat_heads() -> None:
    score = altered_photos.flat_head_score(outputs_of(copying, cut_out=True))
    assert (score.value, score.images) == (100, 6)
    assert score.references["the whole photos"] == 0
    assert score.references["real avatars"] <= 3
    assert score.groups["female"].images == 3
    assert score.reliable
    assert altered_photos.flat_head_score(outputs_of(cleaning, cut_out=True)).value == 0


def test_few_real_avatars_are_no_measure_of_what_is_flat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "AVATARS", AVATARS[:99])
    score = altered_photos.flat_head_score(outputs_of(copying, cut_out=True))
    assert (score.reliable, score.note) == (False, "compared with 99 real avatars only")


def test_tight_portraits_need_landmarks() -> None:
    landmarks = np.repeat(FACE[None], len(PHOTOS), axis=0)
    landmarks[:2, 0] = np.nan
    assert altered_photos.flat_head_score(outputs_of(copying, True, landmarks=landmarks)).images == 4
    landmarks[:] = np.nan
    score = altered_photos.flat_head_score(outputs_of(copying, True, landmarks=landmarks))
    assert (score.value, score.note) == (None, "no photo has landmarks to crop it by")
