"""Scores of sets of outputs that are real avatars, photos, or one avatar many times."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from bitmoji_jax.evaluation import set_scores, testset
from bitmoji_jax.evaluation.testset import EFFICIENTNET, PLAIN, SQUEEZENET, KidScale, Outputs, View
from bitmoji_jax.metrics.kid import Kid

SIZE = 64


def images(count: int, seed: int, level: int) -> np.ndarray:
    """Noise around a grey level."""
    noise = np.random.default_rng(seed).integers(-40, 40, (count, SIZE, SIZE, 3))
    return (level + noise).astype(np.uint8)


def means(batch: np.ndarray) -> np.ndarray:
    return batch.reshape(len(batch), 4, -1).mean(axis=2).astype(np.float32) / 64


def brightest(batch: np.ndarray) -> np.ndarray:
    return batch.reshape(len(batch), -1, 3).max(axis=1).astype(np.float32) / 64


PHOTOS, AVATARS = images(60, 0, 60), images(60, 1, 180)


def outputs_of(fake_y: np.ndarray, fake_x: np.ndarray | None = PHOTOS, sizes: tuple[int, ...] = (64,)) -> Outputs:
    """Of a translator that has made `fake_y` of PHOTOS, and `fake_x` of AVATARS."""
    anything: Any = None
    networks = {SQUEEZENET: means, EFFICIENTNET: brightest}

    def scale(view: View) -> KidScale:
        network, ceiling = networks[view.network], 0.25 if view.blurred else 0.5
        return KidScale(
            {"x": network(PHOTOS), "y": network(AVATARS)},
            dict.fromkeys("xy", Kid(ceiling / 250, 0, 1, 2)),
            Kid(ceiling, 0, 1, 2),
        )

    views = [View(name, size, blurred) for name in networks for size in sizes for blurred in (False, True)]
    test_set = testset.TestSet(
        photos=anything,
        avatars=anything,
        images={"x": PHOTOS, "y": AVATARS},
        networks=networks,
        scales={view: scale(view) for view in views},
        pairs=None,
    )
    return Outputs(anything, test_set, judges=anything, fake_y=fake_y, fake_x=fake_x)


def test_kid_is_printed_in_thousandths_with_both_ends_of_its_scale() -> None:
    scores = {score.name: score for score in set_scores.kid_scores(outputs_of(images(60, 2, 180)))}
    assert next(iter(scores)) == "kid_squeezenet_y_64"
    assert set(scores) == {
        f"kid_{network}_{domain}_64{blurred}"
        for network in ("squeezenet", "efficientnet")
        for domain in "xy"
        for blurred in ("", "_low_pass")
    }
    plain = scores["kid_squeezenet_y_64"]
    assert plain.value == pytest.approx(0, abs=5)
    assert plain.references == {"real against real": 2, "untranslated photos": 500}
    assert scores["kid_squeezenet_x_64_low_pass"].references == {"real against real": 1, "untranslated avatars": 250}
    assert "used in training" in scores["kid_efficientnet_y_64"].note
    assert "used in training" not in plain.note
    untouched = set_scores.kid_scores(outputs_of(PHOTOS))[0]
    assert untouched.value is not None
    assert untouched.value > 1000
    assert untouched.share == pytest.approx(untouched.value / 5)  # of a ceiling of 500, in per cent
    assert untouched.sd is not None
    assert untouched.images == 60


def test_the_networks_take_their_own_kid() -> None:
    scores = {score.name: score for score in set_scores.kid_scores(outputs_of(PHOTOS))}
    assert "by EfficientNet-Lite0" in scores["kid_efficientnet_y_64"].title
    assert scores["kid_efficientnet_y_64"].value != scores["kid_squeezenet_y_64"].value
    assert scores["kid_efficientnet_x_64"].value == pytest.approx(0, abs=5)


def test_larger_outputs_are_scored_at_their_size_too_and_photos_only_at_64_px() -> None:
    names = {score.name for score in set_scores.kid_scores(outputs_of(AVATARS, sizes=(64, 128)))}
    assert {"kid_squeezenet_y_64", "kid_squeezenet_y_128", "kid_efficientnet_y_128_low_pass"} <= names
    assert "kid_squeezenet_x_64" in names
    assert not any("x_128" in name for name in names)


def test_without_an_f_the_scores_of_its_photos_have_the_reason() -> None:
    scores = {score.name: score for score in set_scores.kid_scores(outputs_of(AVATARS, fake_x=None))}
    assert scores["kid_squeezenet_y_64"].value is not None
    assert scores["kid_squeezenet_x_64"].value is None
    assert "no F" in scores["kid_squeezenet_x_64"].note


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
    scale = outputs.test_set.scales[PLAIN]
    few = dataclasses.replace(scale, features={"y": scale.features["y"][:4]})
    test_set = dataclasses.replace(outputs.test_set, scales={PLAIN: few})
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
