"""Likeness scores of translators whose faces are known: the own photo's, another's, or one for everybody."""

from typing import Any

import numpy as np
import pytest

from bitmoji_jax.evaluation import likeness_scores, testset
from bitmoji_jax.evaluation.results import JudgeAccuracy, Score
from bitmoji_jax.evaluation.testset import Outputs, Split

PHOTOS, SIZE = 60, 8
UPRIGHT = np.array([(0.37, 0.48), (0.63, 0.48), (0.5, 0.63), (0.39, 0.73), (0.6, 0.73)], np.float32)
DRAWN = np.array([(0.37, 0.53), (0.63, 0.53), (0.51, 0.67), (0.4, 0.75), (0.61, 0.75)], np.float32)
FACES = np.random.default_rng(0).normal(size=(PHOTOS, 3, 2)).astype(np.float32)
FEMALE = (np.arange(PHOTOS) % 2).astype(float)


def placed(face: np.ndarray, upright: np.ndarray, spread: float) -> np.ndarray:
    """Landmarks [N, 5, 2] whose nose and mouth are moved from their places."""
    landmarks = np.repeat(upright[None], len(face), axis=0)
    landmarks[:, 2:] += spread * face
    return landmarks


REAL = placed(np.random.default_rng(9).normal(size=(400, 3, 2)), DRAWN, 0.03)


def numbered(count: int, kind: int) -> np.ndarray:
    """Images whose red and green are their index, and blue says what they are: 0 photos, 1 avatars, 2 real avatars."""
    images = np.zeros((count, SIZE, SIZE, 3), np.uint8)
    images[..., 0] = (np.arange(count) // 256)[:, None, None]
    images[..., 1] = (np.arange(count) % 256)[:, None, None]
    images[..., 2] = kind
    return images


class Judges:
    """Finds given landmarks and open mouths of avatars, and those of REAL in real avatars."""

    def __init__(self, made: np.ndarray, mouths: np.ndarray | None = None, reliable: bool = True, **missing: str):
        self._made, self._mouths, self._reliable, self.missing = made, mouths, reliable, missing

    def accuracy(self, name: str) -> JudgeAccuracy:
        measure = "NME" if name.startswith("landmarks") else "accuracy"
        return JudgeAccuracy(name, name, measure, 0.94, 100, {}, self._reliable)

    def landmarks(self, domain: str, images: np.ndarray) -> np.ndarray:
        assert domain == "y"
        assert set(images[:, 0, 0, 2]) <= {1, 2}, "it judges avatars only"
        return (self._made if images[0, 0, 0, 2] == 1 else REAL)[: len(images)]

    def classify(self, name: str, images: np.ndarray) -> np.ndarray:
        assert name == "mouth_open"
        assert set(images[:, 0, 0, 2]) == {1}
        assert self._mouths is not None
        return self._mouths


def outputs_of(judges: Any, labels: np.ndarray | None = None) -> Outputs:
    unknown = np.full((PHOTOS, 3), np.nan)
    nobody = np.full(PHOTOS, np.nan)
    labels = placed(FACES, UPRIGHT, 0.015) if labels is None else labels
    photos = Split(numbered(PHOTOS, 0), labels, FEMALE, {}, unknown, unknown, nobody, nobody)
    avatars = Split(numbered(len(REAL), 2), REAL, nobody, {}, unknown, unknown, nobody, nobody)
    images = {"x": photos.images, "y": avatars.images}
    translator: Any = None
    test_set = testset.TestSet(photos=photos, avatars=avatars, images=images, networks={}, scales={}, pairs=None)
    return Outputs(translator, test_set, judges, fake_y=numbered(PHOTOS, 1), fake_x=None)


def landmark_scores(made: np.ndarray, **flags: Any) -> list[Score]:
    scores = likeness_scores.whitened_landmark_scores(outputs_of(Judges(made, **flags)))
    assert [s.name for s in scores] == ["landmarks_whitened", "landmarks_whitened_ratio", "landmark_correlation"]
    return scores


def test_own_faces_with_a_drawings_proportions_are_near_and_correlated() -> None:
    distance, ratio, correlation = landmark_scores(placed(FACES, DRAWN, 0.03))
    assert distance.value is not None
    assert distance.value < 0.25  # of the two deviations, one is estimated
    assert ratio.value is not None
    assert ratio.value < 0.2
    assert correlation.value == pytest.approx(1, abs=1e-4)
    assert correlation.references["judge with labels of real avatars"] == pytest.approx(1)
    for score in (distance, ratio, correlation):
        assert (score.images, score.reliable) == (PHOTOS, True)
        assert {name: group.images for name, group in score.groups.items()} == {"female": 30, "male": 30}
    assert "nose x 1.00; nose y 1.00; left corner x 1.00" in correlation.note


def test_moved_heads_are_no_difference_and_anothers_face_is_one() -> None:
    own = placed(FACES, DRAWN, 0.03)
    moved = own + np.random.default_rng(1).normal(0, 0.03, (PHOTOS, 1, 2)).astype(np.float32)
    values = [score.value for score in landmark_scores(own)]
    assert [score.value for score in landmark_scores(moved)] == pytest.approx(values, abs=1e-4)
    distance, ratio, correlation = landmark_scores(np.roll(own, 1, axis=0))
    assert distance.value == pytest.approx(np.sqrt(2), abs=0.15)
    assert ratio.value == pytest.approx(1, abs=0.08)
    assert correlation.value == pytest.approx(0, abs=0.15)


def test_faces_that_shrink_to_the_mean_gain_nothing() -> None:
    distance, ratio, _ = landmark_scores(placed(np.roll(FACES, 1, axis=0), DRAWN, 0.001))
    assert ratio.value == pytest.approx(1, abs=0.01)
    assert distance.value == pytest.approx(distance.references["the mean avatar for everybody"], abs=0.05)
    own = landmark_scores(placed(FACES, DRAWN, 0.001))[1].value
    assert own is not None
    assert own > 0.9  # right directions, but hardly to be seen
    nobody = landmark_scores(placed(0 * FACES, DRAWN, 0))
    assert [score.value for score in nobody][1:] == pytest.approx([1, 0])


def test_what_landmarks_cannot_say_has_the_reason() -> None:
    for score in landmark_scores(placed(FACES, DRAWN, 0.03), landmarks_y="too few labels"):
        assert (score.value, score.note) == (None, "too few labels")
    for score in landmark_scores(placed(FACES, DRAWN, 0.03), reliable=False):
        assert not score.reliable
        assert "own error on real images is 0.94" in score.note
    few = np.full((PHOTOS, 5, 2), np.nan, np.float32)
    few[:2] = placed(FACES[:2], UPRIGHT, 0.015)
    for score in likeness_scores.whitened_landmark_scores(outputs_of(Judges(REAL[:PHOTOS]), few)):
        assert score.value is None
        assert "known for 2 images" in score.note


@pytest.fixture
def _seen_mouths(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mesh sees an open mouth in the first third of the photos, a closed one in the second; the rest is unsure."""

    def run_network(name: str, image: np.ndarray) -> np.ndarray:
        assert (name, image.shape, image[0, 0, 2]) == ("mesh", (192, 192, 3), 0), "it sees photos only"
        mesh = np.zeros((469, 3), np.float32)
        mesh[291, 0] = 40
        mesh[14, 1] = (8, 0, 2.5)[3 * int(image[0, 0, 1]) // PHOTOS]
        return mesh

    monkeypatch.setattr(likeness_scores, "run_network", run_network)


@pytest.mark.usefixtures("_seen_mouths")
def test_mouths_are_kept_where_the_photos_are_clearly_open_or_closed() -> None:
    mouths = np.full(PHOTOS, 0.9)
    mouths[25:40] = 0.1
    score = likeness_scores.mouth_score(outputs_of(Judges(REAL, mouths)))
    assert (score.value, score.images, score.reliable) == (87.5, 40, True)
    assert (score.groups["mouth open"].value, score.groups["mouth closed"].value) == (100, 75)
    assert score.groups["female"].images == 20
    assert score.references == {"classifier on real avatars": 94, "one mouth for everybody": 50}
    assert score.per_image is not None
    assert np.isnan(score.per_image[40:]).all()


@pytest.mark.usefixtures("_seen_mouths")
def test_mouths_that_cannot_be_judged_have_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    score = likeness_scores.mouth_score(outputs_of(Judges(REAL, np.ones(PHOTOS), reliable=False)))
    assert not score.reliable
    assert "right on only 94.0 %" in score.note
    score = likeness_scores.mouth_score(outputs_of(Judges(REAL, mouth_open_y="too few avatars")))
    assert (score.value, score.note) == (None, "too few avatars")
    monkeypatch.setattr(likeness_scores, "lips_apart", lambda points: np.full(len(points), np.nan))
    score = likeness_scores.mouth_score(outputs_of(Judges(REAL, np.ones(PHOTOS))))
    assert (score.value, score.note) == (None, "no photo's mouth is clearly open or closed")
