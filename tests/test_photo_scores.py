"""Scores of translators whose faults are known: they copy, repeat themselves, or paint."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from bitmoji_jax.evaluation import photo_scores, testset
from bitmoji_jax.evaluation.results import JudgeAccuracy, Score
from bitmoji_jax.evaluation.testset import EFFICIENTNET, Outputs, Split
from bitmoji_jax.metrics.kid import Kid

SIZE = 64
FACE = np.array([(0.36, 0.42), (0.64, 0.42), (0.5, 0.55), (0.4, 0.68), (0.6, 0.68)], np.float32)
SKINS = np.array([(230, 190, 160), (120, 80, 60), (200, 150, 120), (90, 60, 45)], np.float64)
HAIRS = np.array([(60, 40, 30), (20, 20, 20), (220, 190, 90), (130, 40, 20)], np.float64)
FEMALE = np.array([1.0, 0.0, 1.0, np.nan])


def face(skin: np.ndarray, hair: np.ndarray) -> np.ndarray:
    """Skin within an ellipse, hair around its upper half, white beyond."""
    y, x = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
    image = np.full((SIZE, SIZE, 3), 255.0)
    image[(((x - 0.5) / 0.42) ** 2 + ((y - 0.45) / 0.42) ** 2 < 1) & (y < 0.5)] = hair
    image[((x - 0.5) / 0.26) ** 2 + ((y - 0.55) / 0.3) ** 2 < 1] = skin
    return np.rint(image).astype(np.uint8)


PHOTOS = np.stack([face(skin, hair) for skin, hair in zip(SKINS, HAIRS, strict=True)])


class Judges:
    """Always right: points are at FACE, and the corner's red and green are the probabilities of female and glasses."""

    def __init__(self, missing: dict[str, str] | None = None, reliable: bool = True, moved: float = 0.0) -> None:
        self.missing = missing or {}
        self._moved = moved  # an avatar's landmarks, from FACE
        self._reliable = reliable

    def accuracy(self, name: str) -> JudgeAccuracy:
        measure = "NME" if name.startswith("landmarks") else "accuracy"
        return JudgeAccuracy(name, name, measure, 0.94, 100, {}, self._reliable)

    def classify(self, name: str, images: np.ndarray) -> np.ndarray:
        return images[:, 0, 0, {"gender": 0, "glasses": 1}[name]] / 255.0

    def landmarks(self, domain: str, images: np.ndarray) -> np.ndarray:
        return np.repeat(FACE[None], len(images), axis=0) + {"x": 0.0, "y": self._moved}[domain]


def outputs_of(avatars: np.ndarray, judges: Judges | None = None, **photos: Any) -> Outputs:
    """Of a translator that has made `avatars` of PHOTOS, and returns images unchanged."""

    class Translator:
        def x2y(self, images: np.ndarray) -> np.ndarray:
            return images

        y2x = x2y

    known: dict[str, Any] = {"visible": {}, "female": FEMALE, "skin": SKINS, "hair": HAIRS} | photos
    split = Split(PHOTOS, np.repeat(FACE[None], 4, axis=0), **known)
    translator: Any = Translator()
    of_judges: Any = judges or Judges()
    test_set = testset.TestSet(
        photos=split,
        avatars=split,
        images={"x": PHOTOS, "y": PHOTOS},
        networks={},
        scales={},
        low_pass_scales={},
        pairs=None,
    )
    return Outputs(translator, test_set, of_judges, fake_y=avatars, fake_x=avatars)


def values_of(score: Score) -> np.ndarray:
    assert score.per_image is not None
    return score.per_image


def corner(red: list[int], green: list[int] | None = None) -> np.ndarray:
    """PHOTOS with values in the corner that `Judges` looks at."""
    images = PHOTOS.copy()
    images[:, 0, 0, 0] = red
    images[:, 0, 0, 1] = green or 0
    return images


def test_gender_is_kept_where_the_avatar_is_judged_as_the_photo_is_labelled() -> None:
    score = photo_scores.gender_score(outputs_of(corner([255, 255, 0, 255])))
    assert score.value == pytest.approx(100 / 3)  # of the three whose gender is known
    assert (score.images, score.reliable, score.note) == (3, True, "")
    assert score.references == {"classifier on real avatars": 94}
    assert (score.groups["female"].value, score.groups["male"].value) == (50, 0)
    assert score.groups["skin: dark"].images == 1  # of the two, one has no label


def test_a_poor_classifier_makes_the_score_unreliable_and_says_so() -> None:
    score = photo_scores.gender_score(outputs_of(corner([255] * 4), Judges(reliable=False)))
    assert not score.reliable
    assert "right on only 94.0 %" in score.note


@pytest.mark.parametrize(
    ("judges", "photos", "why"),
    [
        (Judges({"gender_y": "too few labels"}), {}, "too few labels"),
        (Judges(), {"female": np.full(4, np.nan)}, "no photo's gender is labelled"),
    ],
)
def test_gender_that_cannot_be_judged_is_missing_with_the_reason(
    judges: Judges, photos: dict[str, Any], why: str
) -> None:
    score = photo_scores.gender_score(outputs_of(PHOTOS, judges, **photos))
    assert score.value is None
    assert score.note == why


@pytest.mark.parametrize("name", ["skin", "hair"])
def test_copied_colours_are_no_distance_away_and_others_are(name: Any) -> None:
    score = photo_scores.colour_score(outputs_of(PHOTOS), name)
    assert score.better == "lower"
    assert score.value == pytest.approx(0, abs=0.5)
    assert score.references["another photo's avatar"] > 10
    swapped = photo_scores.colour_score(outputs_of(PHOTOS[[1, 0, 2, 3]]), name)
    swapped_per_image = values_of(swapped)
    assert swapped.value is not None
    assert swapped.value > 5
    assert (swapped_per_image[:2] > 10).all()
    assert (swapped_per_image[2:] < 0.5).all()
    assert swapped.groups["skin: very light"].value > 10
    assert swapped.groups["skin: intermediate"].value < 0.5


def test_colours_that_are_not_known_are_missing_with_the_reason() -> None:
    score = photo_scores.colour_score(outputs_of(PHOTOS, skin=np.full((4, 3), np.nan)), "skin")
    assert score.value is None
    assert "no photo has attributes skin_r" in score.note
    assert score.per_image is None
    blank = np.full_like(PHOTOS, 255)
    score = photo_scores.colour_score(outputs_of(blank), "hair")
    assert "found on no avatar" in score.note
    score = photo_scores.colour_score(outputs_of(PHOTOS, Judges({"landmarks_y": "no labels"})), "hair")
    assert (score.value, score.note) == (None, "no labels")


def test_landmarks_are_compared_with_the_labels() -> None:
    score = photo_scores.landmark_score(outputs_of(PHOTOS, Judges(moved=0.028)), "y")
    per_image = values_of(score)
    # Off by 0.028 along both axes, the eyes being 0.28 apart.
    np.testing.assert_allclose(per_image, np.sqrt(2) * 0.1, rtol=1e-4)
    assert score.value == pytest.approx(np.sqrt(2) * 0.1, rel=1e-4)
    assert score.references["regressor on real images"] == 0.94
    of_photos = photo_scores.landmark_score(outputs_of(PHOTOS), "x")
    assert of_photos.value == pytest.approx(0, abs=1e-6)


def test_a_shadow_that_is_copied_scores_one() -> None:
    score = photo_scores.shadow_score(outputs_of(PHOTOS))
    assert score.value == pytest.approx(1)


def test_glasses_are_kept_or_invented() -> None:
    visible = {"glasses": np.array([1.0, 1.0, 0.0, np.nan])}
    kept, invented = photo_scores.accessory_scores(
        outputs_of(corner([0] * 4, [255, 0, 255, 255]), visible=visible), "glasses"
    )
    assert (kept.value, kept.images) == (50, 2)
    assert (invented.value, invented.images) == (100, 1)


def test_glasses_without_labels_are_missing_with_the_reason() -> None:
    for score in photo_scores.accessory_scores(outputs_of(PHOTOS), "glasses"):
        assert (score.value, score.note) == (None, "the photos have no attribute glasses")
    judges = Judges({"hat_y": "no avatar has a hat"})
    for score in photo_scores.accessory_scores(outputs_of(PHOTOS, judges), "hat"):
        assert (score.value, score.note) == (None, "no avatar has a hat")
    _, invented = photo_scores.accessory_scores(
        outputs_of(PHOTOS, visible={"glasses": np.array([1.0, 1.0, 1.0, np.nan])}), "glasses"
    )
    assert (invented.value, invented.note) == (None, "no test photo's glasses is 0")


def test_the_cycle_is_measured_from_the_images_that_went_in() -> None:
    noisy = np.clip(PHOTOS.astype(int) + np.array([10, 0, 0, 0])[:, None, None, None], 0, 255).astype(np.uint8)
    scores = photo_scores.cycle_scores(outputs_of(noisy))
    per_image = values_of(scores[0])
    assert [score.name for score in scores] == ["cycle_psnr_x", "cycle_psnr_y", "high_frequency_hiding"]
    # What did not change has an infinite PSNR.
    assert np.isinf(per_image[1:]).all()
    assert 28 < per_image[0] < 40
    assert scores[2].value is not None
    assert scores[2].value > 1  # JPEG adds an error


def test_a_cycle_without_error_has_nothing_hidden_to_measure() -> None:
    *_, hiding = photo_scores.cycle_scores(outputs_of(PHOTOS))
    assert hiding.value is None
    assert "cannot grow" in hiding.note


def test_the_paired_error_is_that_from_the_partner() -> None:
    pairs = testset.Pairs([0, 1], [2, 0], np.full((SIZE, SIZE, 3), 128.0))
    score = photo_scores.paired_score(outputs_of(np.zeros_like(PHOTOS)), pairs)
    per_image = values_of(score)
    expected = [PHOTOS[2].mean(), PHOTOS[0].mean()]
    np.testing.assert_allclose(per_image[:2], expected)
    assert np.isnan(per_image[2:]).all()
    assert score.value == pytest.approx(np.mean(expected))
    copied = np.abs(PHOTOS[[0, 1]].astype(float) - PHOTOS[[2, 0]]).mean()
    assert score.references["the photo itself"] == pytest.approx(copied)
    assert score.references["the mean avatar for everybody"] == pytest.approx(np.abs(128.0 - PHOTOS[[2, 0]]).mean())


def test_the_distance_to_real_is_that_of_the_nearest_real_avatar() -> None:
    reals = np.array([[0.0, 0.0], [10.0, 0.0]], np.float32)
    fakes = np.array([[0, 3], [9, 0], [10, 0], [-4, 3]], np.float32)
    outputs = outputs_of(PHOTOS)
    scale = testset.KidScale({"x": fakes, "y": reals}, {}, Kid(0.0, 0.0, 1, 2))
    test_set = dataclasses.replace(
        outputs.test_set, networks={EFFICIENTNET: lambda _: fakes}, scales={EFFICIENTNET: scale}
    )
    outputs = dataclasses.replace(outputs, test_set=test_set)
    np.testing.assert_allclose(values_of(photo_scores.distance_to_real(outputs)), [3, 1, 0, 5])
