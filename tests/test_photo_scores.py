"""Scores of translators whose faults are known: they copy, repeat themselves, or paint."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from bitmoji_jax.evaluation import photo_scores, testset
from bitmoji_jax.evaluation.results import Group, JudgeAccuracy, Score
from bitmoji_jax.evaluation.testset import PLAIN, Outputs, Split
from bitmoji_jax.metrics.colour import individual_typology_angle, srgb_to_lab
from bitmoji_jax.metrics.kid import Kid

SIZE = 64
FACE = np.array([(0.36, 0.42), (0.64, 0.42), (0.5, 0.55), (0.4, 0.68), (0.6, 0.68)], np.float32)
SKINS = np.array([(230, 190, 160), (120, 80, 60), (200, 150, 120), (90, 60, 45)], np.float64)
HAIRS = np.array([(60, 40, 30), (20, 20, 20), (220, 190, 90), (130, 40, 20)], np.float64)
ITA = individual_typology_angle(srgb_to_lab(SKINS))
FEMALE = np.array([1.0, 0.0, 1.0, np.nan])
AGE = np.array([15.0, 25.0, np.nan, 70.0])


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


class Following(Judges):
    """The landmarks of each image are elsewhere."""

    def landmarks(self, domain: str, images: np.ndarray) -> np.ndarray:
        return super().landmarks(domain, images) + 0.03 * np.arange(len(images), dtype=np.float32)[:, None, None]


def outputs_of(avatars: np.ndarray, judges: Judges | None = None, has_f: bool = True, **photos: Any) -> Outputs:
    """Of a translator that has made `avatars` of PHOTOS, and returns images unchanged."""

    class Translator:
        def x2y(self, images: np.ndarray) -> np.ndarray:
            return images

        y2x = x2y

    known: dict[str, Any] = {
        "visible": {},
        "female": FEMALE,
        "skin": SKINS,
        "hair": HAIRS,
        "ita": ITA,
        "age": AGE,
    } | photos
    split = Split(PHOTOS, np.repeat(FACE[None], 4, axis=0), **known)
    translator: Any = Translator()
    of_judges: Any = judges or Judges()
    test_set = testset.TestSet(
        photos=split,
        avatars=split,
        images={"x": PHOTOS, "y": PHOTOS},
        networks={},
        scales={},
        pairs=None,
    )
    return Outputs(translator, test_set, of_judges, fake_y=avatars, fake_x=avatars if has_f else None)


def values_of(score: Score) -> np.ndarray:
    assert score.per_image is not None
    return score.per_image


GROUPS = {"skin: dark": [1, 3], "skin: medium": [2], "skin: light": [0]}
"""The photos of each group."""


def per_image_of(score: Score, members: list[int]) -> float:
    """The mean over some of the photos."""
    return float(values_of(score)[members].mean())


def corner(red: list[int], green: list[int] | None = None) -> np.ndarray:
    """PHOTOS with values in the corner that `Judges` looks at."""
    images = PHOTOS.copy()
    images[:, 0, 0, 0] = red
    images[:, 0, 0, 1] = green or 0
    return images


def test_gender_is_kept_where_the_avatar_is_judged_as_the_photo_is_labelled() -> None:
    score, gap = photo_scores.gender_scores(outputs_of(corner([255, 255, 0, 255])))
    assert score.value == pytest.approx(100 / 3)  # of the three whose gender is known
    assert (score.images, score.reliable, score.note) == (3, True, "")
    assert score.references == {"classifier on real avatars": 94}
    assert (score.groups["female"].value, score.groups["male"].value) == (50, 0)
    assert score.groups["skin: dark"].images == 1  # of the two, one has no label
    assert (gap.value, gap.unit, gap.groups) == (50, "points", {})


def test_a_gap_needs_photos_of_both_genders() -> None:
    score, gap = photo_scores.gender_scores(outputs_of(corner([255] * 4), female=np.array([1.0, 1, np.nan, np.nan])))
    assert score.value == 100
    assert (gap.value, gap.note) == (None, "the test photos are of one gender")


def test_a_poor_classifier_makes_the_score_unreliable_and_says_so() -> None:
    for score in photo_scores.gender_scores(outputs_of(corner([255] * 4), Judges(reliable=False))):
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
    for score in photo_scores.gender_scores(outputs_of(PHOTOS, judges, **photos)):
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
    errors = {group: per_image_of(swapped, members) for group, members in GROUPS.items()}
    assert {group: swapped.groups[group].value for group in GROUPS} == pytest.approx(errors)


def test_the_worst_skin_group_is_compared_with_the_best() -> None:
    groups = {"female": Group(9.0, 70), "skin: dark": Group(6.0, 25), "skin: light": Group(4.0, 45)}
    skin = Score("skin_delta_e", "", "", "lower", 5.0, 70, groups=groups)
    ratio = photo_scores.skin_ratio_score(skin)
    assert (ratio.value, ratio.images, ratio.reliable) == (1.5, 70, True)
    few = dataclasses.replace(skin, groups=groups | {"skin: medium": Group(12.0, 3)})
    ratio = photo_scores.skin_ratio_score(few)
    assert (ratio.value, ratio.reliable, ratio.note) == (3.0, False, "few photos: 3 of skin: medium")
    alone = dataclasses.replace(skin, groups={"skin: dark": Group(6.0, 25)})
    assert "two skin groups" in photo_scores.skin_ratio_score(alone).note
    missing = Score("skin_delta_e", "", "", "lower", note="no labels")
    assert photo_scores.skin_ratio_score(missing).note == "no labels"


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
    score, ratio = photo_scores.landmark_scores(outputs_of(PHOTOS, Judges(moved=0.028)), "y")
    per_image = values_of(score)
    # Off by 0.028 along both axes, the eyes being 0.28 apart.
    np.testing.assert_allclose(per_image, np.sqrt(2) * 0.1, rtol=1e-4)
    assert score.value == pytest.approx(np.sqrt(2) * 0.1, rel=1e-4)
    assert score.references["regressor on real images"] == 0.94
    assert ratio.value == pytest.approx(1)  # all faces are in one place, so another's landmarks are as near
    of_photos, ratio = photo_scores.landmark_scores(outputs_of(PHOTOS), "x")
    assert of_photos.value == pytest.approx(0, abs=1e-6)
    assert "no error to compare with" in ratio.note
    assert (of_photos.groups, ratio.groups) == ({}, {})  # avatars are no persons


def test_landmarks_that_follow_their_photo_are_nearer_than_another_photos() -> None:
    outputs = outputs_of(PHOTOS, Following())
    moved = dataclasses.replace(outputs.test_set.photos, landmarks=Following().landmarks("y", PHOTOS))
    test_set = dataclasses.replace(outputs.test_set, photos=moved)
    score, ratio = photo_scores.landmark_scores(dataclasses.replace(outputs, test_set=test_set), "y")
    assert score.value == pytest.approx(0, abs=1e-6)
    assert ratio.value == pytest.approx(0, abs=1e-6)
    assert ratio.groups.keys() == score.groups.keys()
    assert ratio.groups["skin: dark"].value == pytest.approx(0, abs=1e-6)
    assert ratio.references == {"ignoring who is there": 1}


def test_without_an_f_what_needs_it_has_the_reason() -> None:
    outputs = outputs_of(PHOTOS, has_f=False)
    scores = [*photo_scores.landmark_scores(outputs, "x"), *photo_scores.cycle_scores(outputs)]
    assert len(scores) == 5
    for score in scores:
        assert score.value is None
        assert "no F" in score.note
    assert photo_scores.landmark_scores(outputs, "y")[0].value is not None


def test_glasses_are_kept_or_invented() -> None:
    visible = {"glasses": np.array([1.0, 1.0, 0.0, np.nan])}
    kept, invented = photo_scores.accessory_scores(
        outputs_of(corner([0] * 4, [255, 0, 255, 255]), visible=visible), "glasses"
    )
    assert (kept.value, kept.images, kept.reliable, kept.note) == (50, 2, False, "few photos: 2")
    assert (invented.value, invented.images, invented.note) == (100, 1, "few photos: 1")
    assert {name: group for name, group in kept.groups.items() if "skin" not in name} == {
        "female": Group(100, 1),
        "male": Group(0, 1),
        "age: under 20": Group(100, 1),
        "age: 20 to 39": Group(0, 1),
    }
    assert invented.groups["female"] == Group(100, 1)


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


@pytest.mark.parametrize("reliable", [True, False])
def test_the_notes_of_a_doubtful_judge_and_of_few_photos_are_both_given(reliable: bool) -> None:
    visible = {"glasses": np.array([1.0] * 19 + [0.0] * 20)}
    images = np.repeat(PHOTOS[:1], 39, axis=0)
    unknown = np.full(len(images), np.nan)
    outputs = outputs_of(images, Judges(reliable=reliable), visible=visible, female=unknown, ita=unknown, age=unknown)
    few, enough = photo_scores.accessory_scores(outputs, "glasses")
    assert not few.reliable
    assert few.note.endswith("few photos: 19")
    assert ("94.0 %" in few.note, enough.reliable, "few" in enough.note) == (not reliable, reliable, False)


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
    test_set = dataclasses.replace(outputs.test_set, networks={PLAIN.network: lambda _: fakes}, scales={PLAIN: scale})
    outputs = dataclasses.replace(outputs, test_set=test_set)
    np.testing.assert_allclose(values_of(photo_scores.distance_to_real(outputs)), [3, 1, 0, 5])
