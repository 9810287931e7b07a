"""Scores of sets of outputs that are real avatars, photos, or one avatar many times."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from bitmoji_jax.evaluation import set_scores, testset
from bitmoji_jax.evaluation.testset import EFFICIENTNET, KidScale, Outputs
from bitmoji_jax.metrics.kid import Kid
from bitmoji_jax.models.efficientnet import Features

SIZE = 16


def images(count: int, seed: int, level: int) -> np.ndarray:
    """Noise around a grey level."""
    noise = np.random.default_rng(seed).integers(-40, 40, (count, SIZE, SIZE, 3))
    return (level + noise).astype(np.uint8)


def means(batch: np.ndarray) -> np.ndarray:
    return batch.reshape(len(batch), 4, -1).mean(axis=2).astype(np.float32) / 64


PHOTOS, AVATARS = images(60, 0, 60), images(60, 1, 180)


def outputs_of(fake_y: np.ndarray, **networks: Features) -> Outputs:
    """Of a translator that has made `fake_y` of PHOTOS, and PHOTOS of AVATARS."""
    anything: Any = None
    networks = {EFFICIENTNET: means, **networks}

    def scales(floor: float, ceiling: float) -> dict[str, KidScale]:
        return {
            name: KidScale(
                {"x": network(PHOTOS), "y": network(AVATARS)},
                dict.fromkeys("xy", Kid(floor, 0, 1, 2)),
                Kid(ceiling, 0, 1, 2),
            )
            for name, network in networks.items()
        }

    test_set = testset.TestSet(
        photos=anything,
        avatars=anything,
        images={"x": PHOTOS, "y": AVATARS},
        networks=networks,
        scales=scales(0.001, 0.5),
        low_pass_scales=scales(0.002, 0.25),
        pairs=None,
    )
    return Outputs(anything, test_set, judges=anything, fake_y=fake_y, fake_x=PHOTOS)


def test_kid_is_printed_in_thousandths_with_both_ends_of_its_scale() -> None:
    scores = {score.name: score for score in set_scores.kid_scores(outputs_of(images(60, 2, 180)))}
    assert set(scores) == {"kid_y", "kid_y_low_pass", "kid_x", "kid_x_low_pass"}
    assert scores["kid_y"].value == pytest.approx(0, abs=5)
    assert scores["kid_y"].references == {"real against real": 1, "untranslated photos": 500}
    assert scores["kid_x_low_pass"].references == {"real against real": 2, "untranslated avatars": 250}
    untouched = set_scores.kid_scores(outputs_of(PHOTOS))[0]
    assert untouched.value is not None
    assert untouched.value > 1000
    assert untouched.sd is not None
    assert untouched.images == 60


def test_a_second_network_takes_its_own_kid() -> None:
    def brightest(batch: np.ndarray) -> np.ndarray:
        return batch.reshape(len(batch), -1, 3).max(axis=1).astype(np.float32) / 64

    scores = {score.name: score for score in set_scores.kid_scores(outputs_of(PHOTOS, Brightest=brightest))}
    assert len(scores) == 8
    assert "by Brightest" in scores["kid_brightest_y"].title
    assert scores["kid_brightest_y"].value is not None
    assert scores["kid_brightest_y"].value != scores["kid_y"].value
    assert scores["kid_brightest_x"].value == pytest.approx(0, abs=5)


def test_one_avatar_for_everybody_has_no_diversity() -> None:
    spread, covered = set_scores.diversity(outputs_of(np.repeat(AVATARS[:1], 60, axis=0)))
    assert spread.value == pytest.approx(0, abs=1e-3)
    assert covered.value is not None
    assert covered.value < 30
    spread, covered = set_scores.diversity(outputs_of(images(60, 3, 180)))
    assert spread.value == pytest.approx(1, abs=0.3)
    assert covered.value is not None
    assert covered.value > 85


def test_too_few_real_avatars_are_named_as_the_reason() -> None:
    outputs = outputs_of(AVATARS)
    scale = outputs.test_set.scales[EFFICIENTNET]
    few = dataclasses.replace(scale, features={"y": scale.features["y"][:4]})
    test_set = dataclasses.replace(outputs.test_set, scales={EFFICIENTNET: few})
    spread, covered = set_scores.diversity(dataclasses.replace(outputs, test_set=test_set))
    assert spread.value is not None
    assert covered.value is None
    assert "4 real avatars" in covered.note


def test_a_checkerboard_shows_beside_that_of_real_avatars() -> None:
    board = 20 * ((np.indices((SIZE, SIZE)).sum(axis=0) % 2) * 2 - 1)
    period_2, period_4 = set_scores.checkerboards(outputs_of((AVATARS.astype(int) + board[..., None]).astype(np.uint8)))
    assert period_2.value is not None
    assert period_2.value > 2 * period_2.references["real avatars"]
    assert period_4.value == pytest.approx(period_4.references["real avatars"], rel=0.2)
    assert period_2.reliable
    assert not set_scores.checkerboards(outputs_of(AVATARS[:49]))[0].reliable


def test_alarms_are_raised_in_the_note() -> None:
    correlation, change = set_scores.alarms(outputs_of(255 - PHOTOS))
    assert correlation.value == pytest.approx(-1)
    assert "ALARM: dark has become light" in correlation.note
    assert change.note == ""
    correlation, change = set_scores.alarms(outputs_of(PHOTOS))
    assert correlation.note == ""
    assert "ALARM" in change.note
