"""Evaluations made by hand, for tests of the report."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from bitmoji_jax.config import DataConfig, ExperimentConfig, GeneratorConfig, TrainConfig
from bitmoji_jax.evaluation.report.page import write_report
from bitmoji_jax.evaluation.results import Evaluation, Group, JudgeAccuracy, RunResult, Score
from tests.html_tree import Node, Tree

PHOTOS, AVATARS, SIZE = 30, 12, 32
KINDS = ("photo", "avatar", "real avatar", "made photo")


def pictures(count: int, kind: str, run: int = 0) -> np.ndarray:
    """uint8 [count, SIZE, SIZE, 3] of one colour each: red is 8 × index, green the kind, blue the run."""
    images = np.empty((count, SIZE, SIZE, 3), np.uint8)
    images[..., 0] = 8 * np.arange(count)[:, None, None]
    images[..., 1] = 200 - 40 * KINDS.index(kind)
    images[..., 2] = 60 * run
    return images


def what(image: np.ndarray) -> tuple[str, int, int]:
    """(kind, index, run) of a picture from `pictures`."""
    assert (image == image[0, 0]).all()
    red, green, blue = image[0, 0].tolist()
    return KINDS[(200 - green) // 40], red // 8, blue // 60


def make_run(name: str = "first", number: int = 0, **changes: Any) -> RunResult:
    values = np.random.default_rng(number).permutation(PHOTOS).astype(float)
    values[[4, 9]] = np.nan
    run = RunResult(
        name=name,
        checkpoint="best",
        images_seen=20_000,
        total_images=20_000,
        parameters=7_838_083,
        config=ExperimentConfig(
            data=DataConfig(image_size=SIZE), generator=GeneratorConfig(features=48), train=TrainConfig(batch_size=3)
        ),
        scores=(
            Score(
                name="kid_y",
                title="KID of avatars",
                unit="× 10⁻³",
                better="lower",
                value=18.43 + 2 * number,
                images=30,
                sd=1.25,
                references={"real against real": -0.5, "untranslated photos": 395.2},
                groups={
                    "female": Group(19.9, 25),
                    "male": Group(17.5, 20),
                    "skin: dark": Group(30.3, 3),
                    "beard": Group(44.4, 5),
                },
                note="sees noise first",
            ),
            Score("gender_kept", "Gender kept", "%", "higher", 81.2 + number, 28, reliable=False, note="judge at 91 %"),
            Score("skin", "Skin colour", "ΔE", "lower", None, note="photos lack landmarks"),
        ),
        rows=tuple({"images": 100.0 * (i + 1), "loss_generators": 9 / (i + 1), "cycle_x": 0.3} for i in range(20)),
        photos=pictures(PHOTOS, "photo"),
        avatars=pictures(PHOTOS, "avatar", number),
        real_avatars=pictures(AVATARS, "real avatar"),
        fake_photos=pictures(AVATARS, "made photo", number),
        sorted_by=(
            Score("landmarks", "Landmarks", "NME", "lower", per_image=values),
            Score("likeness", "Likeness", "", "higher", per_image=np.arange(PHOTOS) / 10),
        ),
        subsets={"glasses": np.arange(PHOTOS) % 3 == 0, "nobody": np.zeros(PHOTOS, bool)},
    )
    return dataclasses.replace(run, **changes)


def make_evaluation(*runs: RunResult, **changes: Any) -> Evaluation:
    evaluation = Evaluation(
        date="2025-03-02T14:21:09+00:00",
        machine="two CPU cores",
        command="evaluate --run 'a' && b",
        versions={"jax": "0.10.0"},
        seconds=75.0,
        dataset="made & faces",
        sizes={"trainA": 4639, "testA": 30},
        judges=(
            JudgeAccuracy(
                "gender_y", "Gender of an avatar", "accuracy", 0.978, 412, {"noise": 0.911, "blur": 0.96}, True
            ),
            JudgeAccuracy(
                "landmarks_y", "Landmarks of an avatar", "NME", 0.12, 413, {"noise": 0.31, "JPEG": 0.13}, False
            ),
        ),
        runs=runs or (make_run(),),
    )
    return dataclasses.replace(evaluation, **changes)


def nasty_evaluation() -> Evaluation:
    """Markup in every text, values that are not finite, and next to no data."""
    evil = "<script>alert('\"&amp;')</script>"
    few = {"photos": pictures(3, "photo"), "avatars": pictures(3, "avatar")}
    infinite = Score(evil, evil, evil, "lower", math.inf, 3, math.nan, {evil: math.nan}, {evil: Group(1, 0)}, note=evil)
    values = np.array([math.nan, math.inf, 1.0])
    first = make_run(
        evil,
        **few,
        checkpoint=evil,
        real_avatars=np.zeros((0, SIZE, SIZE, 3), np.uint8),
        fake_photos=np.zeros((0, SIZE, SIZE, 3), np.uint8),
        scores=(infinite, Score("missing", "Missing", "", "lower", None, note=evil)),
        sorted_by=(
            Score(evil, evil, evil, "lower", per_image=values),
            Score("b", "B", "", "higher", per_image=np.full(3, np.nan)),
        ),
        subsets={evil: np.array([True, True, False]), "without values": np.array([True, False, False])},
        rows=({"images": 1.0, "cycle_x": math.nan}, {"images": 2.0, "cycle_y": 1e300}),
    )
    empty = make_run("empty", **few, scores=(), sorted_by=(), subsets={}, rows=())
    texts = dict.fromkeys(("dataset", "machine", "command", "date"), evil)
    judge = JudgeAccuracy(evil, evil, "accuracy", math.nan, 0, {evil: math.nan}, False)
    surrogate = make_run("surrogate \udcff", **few, sorted_by=(), rows=())
    runs = (first, empty, surrogate)
    return make_evaluation(*runs, judges=(judge,), versions={evil: evil}, sizes={evil: 0}, **texts)


def page(evaluation: Evaluation, out: Path) -> Node:
    write_report(evaluation, out)
    return Tree((out / "index.html").read_text(encoding="utf-8")).stack[0]
