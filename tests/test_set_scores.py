"""Scores of sets of outputs that are real avatars, photos, or one avatar many times."""

from typing import Any

import numpy as np
import pytest

from bitmoji_jax.evaluation import set_scores
from bitmoji_jax.evaluation.reference import EFFICIENTNET, NetworkReference, Reference
from bitmoji_jax.evaluation.subject import Subject
from bitmoji_jax.metrics.kid import Kid

SIZE = 16


def images(count: int, seed: int, level: int) -> np.ndarray:
    """Noise around a grey level."""
    noise = np.random.default_rng(seed).integers(-40, 40, (count, SIZE, SIZE, 3))
    return (level + noise).astype(np.uint8)


def means(batch: np.ndarray) -> np.ndarray:
    return batch.reshape(len(batch), 4, -1).mean(axis=2).astype(np.float32) / 64


def twice_the_means(batch: np.ndarray) -> np.ndarray:
    return 2 * means(batch)


PHOTOS, AVATARS = images(60, 0, 60), images(60, 1, 180)


def subject_of(fake_y: np.ndarray) -> Subject:
    anything: Any = None
    networks = {EFFICIENTNET: means, "SqueezeNet": twice_the_means}
    references = {
        name: NetworkReference(
            features={"x": network(PHOTOS), "y": network(AVATARS)},
            low_pass_features={"x": network(PHOTOS), "y": network(AVATARS)},
            floor=dict.fromkeys("xy", Kid(0.001, 0, 1, 2)),
            low_pass_floor=dict.fromkeys("xy", Kid(0.002, 0, 1, 2)),
            ceiling=Kid(0.5, 0, 1, 2),
            low_pass_ceiling=Kid(0.25, 0, 1, 2),
        )
        for name, network in networks.items()
    }
    return Subject(
        translator=anything,
        photos=anything,
        avatars=anything,
        reference=Reference({"x": PHOTOS, "y": AVATARS}, references),
        judges=anything,
        networks=networks,
        fake_y=fake_y,
        fake_x=PHOTOS,
        fake_y_features={name: network(fake_y) for name, network in networks.items()},
        subsets={},
    )


def test_kid_is_printed_in_thousandths_with_both_ends_of_its_scale() -> None:
    scores = {score.name: score for score in set_scores.kid_scores(subject_of(images(60, 2, 180)))}
    assert list(scores) == [
        *("kid_y", "kid_y_low_pass", "kid_x", "kid_x_low_pass"),
        *("kid_squeezenet_y", "kid_squeezenet_y_low_pass", "kid_squeezenet_x", "kid_squeezenet_x_low_pass"),
    ]
    assert scores["kid_y"].value == pytest.approx(0, abs=5)
    assert scores["kid_y"].references == {"real against real": 1, "untranslated photos": 500}
    assert scores["kid_x_low_pass"].references == {"real against real": 2, "untranslated avatars": 250}
    untouched, *_, other, _, _, _ = set_scores.kid_scores(subject_of(PHOTOS))
    assert untouched.value is not None
    assert untouched.value > 1000
    assert other.title == "KID × 1000 by SqueezeNet of avatars"
    assert other.value is not None
    assert other.value > 2 * untouched.value
    assert untouched.sd is not None
    assert untouched.images == 60


def test_one_avatar_for_everybody_has_no_diversity() -> None:
    spread, covered = set_scores.diversity(subject_of(np.repeat(AVATARS[:1], 60, axis=0)))
    assert spread.value == pytest.approx(0, abs=1e-3)
    assert covered.value is not None
    assert covered.value < 30
    spread, covered = set_scores.diversity(subject_of(images(60, 3, 180)))
    assert spread.value == pytest.approx(1, abs=0.3)
    assert covered.value is not None
    assert covered.value > 85


def test_too_few_real_avatars_are_named_as_the_reason() -> None:
    subject = subject_of(AVATARS)
    reals = subject.reference.networks[EFFICIENTNET].features
    reals["y"] = reals["y"][:4]
    spread, covered = set_scores.diversity(subject)
    assert spread.value is not None
    assert covered.value is None
    assert "4 real avatars" in covered.note


def test_a_checkerboard_shows_beside_that_of_real_avatars() -> None:
    board = 20 * ((np.indices((SIZE, SIZE)).sum(axis=0) % 2) * 2 - 1)
    period_2, period_4 = set_scores.checkerboards(subject_of((AVATARS.astype(int) + board[..., None]).astype(np.uint8)))
    assert period_2.value is not None
    assert period_2.value > 2 * period_2.references["real avatars"]
    assert period_4.value == pytest.approx(period_4.references["real avatars"], rel=0.2)
    assert period_2.reliable
    assert not set_scores.checkerboards(subject_of(AVATARS[:49]))[0].reliable


def test_alarms_are_raised_in_the_note() -> None:
    correlation, change = set_scores.alarms(subject_of(255 - PHOTOS))
    assert correlation.value == pytest.approx(-1)
    assert "ALARM: dark has become light" in correlation.note
    assert change.note == ""
    correlation, change = set_scores.alarms(subject_of(PHOTOS))
    assert correlation.note == ""
    assert "ALARM" in change.note
