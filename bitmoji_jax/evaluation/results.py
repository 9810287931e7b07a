"""The results of an evaluation as plain data: the report shows them, `scores_json` keeps the numbers."""

import contextlib
import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from bitmoji_jax.config import ExperimentConfig, without_folders
from bitmoji_jax.evaluation.groups import is_of_persons

Better = Literal["lower", "higher", "near 1"]

FEW = 20
"""A group with fewer images says little."""

NO_F = "these weights have no F, which makes photos of avatars"
"""The note of a score that needs F."""


@dataclasses.dataclass(frozen=True)
class Group:
    """A score over some of the images."""

    value: float
    images: int


@dataclasses.dataclass(frozen=True)
class WorstGroup:
    """The group of persons that a score is worst for, of those with `FEW` images or more."""

    name: str
    value: float
    images: int
    worse_but_few: tuple[str, ...]
    """Groups of persons with fewer images and a worse value still: too few to tell whether they are worse off."""


@dataclasses.dataclass(frozen=True, eq=False)
class Score:
    """One number about a run."""

    name: str
    """Its key in scores.json, such as kid_y."""
    title: str
    """Its name in the report."""
    unit: str
    """Empty where there is none."""
    better: Better
    value: float | None = None
    """None where it cannot be computed; `note` has the reason."""
    images: int = 0
    """Test images it was computed over."""
    sd: float | None = None
    """Standard deviation over random subsets, where the score has one."""
    share: float | None = None
    """`value` over that of doing nothing, in per cent, in a KID: 100 is untouched photos, 0 real avatars."""
    references: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """The score of something known, by name: real avatars, untranslated photos."""
    groups: Mapping[str, Group] = dataclasses.field(default_factory=dict)
    """The score by subset of the images."""
    reliable: bool = True
    """False if the judge that it depends on is past its limit; `note` has the reason."""
    note: str = ""
    per_image: np.ndarray | None = None
    """float64 [N], the score of each test photo, NaN where unknown; None where a score has no such values."""

    @property
    def worst_group(self) -> WorstGroup | None:
        """None if fewer than two groups of persons have `FEW` images or more, or all of these have one value."""
        groups = {n: group for n, group in self.groups.items() if is_of_persons(n) and not math.isnan(group.value)}
        large = [name for name, group in groups.items() if group.images >= FEW]

        def bad(name: str) -> float:
            return float(badness(groups[name].value, self.better))

        if len({bad(name) for name in large}) < 2:
            return None
        worst = max(large, key=bad)
        worse_but_few = tuple(name for name in groups if bad(name) > bad(worst))
        return WorstGroup(worst, groups[worst].value, groups[worst].images, worse_but_few)


def badness(values: Any, better: Better) -> Any:
    """Maps a number, or an array of them, to one that is smaller the better it is."""
    return {"lower": values, "higher": -values, "near 1": abs(values - 1)}[better]


def measured(score: Score, measure: Callable[[], float]) -> Score:
    """The score with its value, or with the reason in its note if `measure` raises ValueError."""
    try:
        return dataclasses.replace(score, value=measure())
    except ValueError as error:
        return dataclasses.replace(score, note=str(error))


@dataclasses.dataclass(frozen=True)
class JudgeAccuracy:
    """The accuracy of one judge on real test images."""

    name: str
    """Key in scores.json, such as gender_y."""
    title: str
    measure: Literal["accuracy", "NME"]
    value: float
    images: int
    """Test images it was measured on."""
    under: Mapping[str, float]
    """The same measure under corruption, by name: noise, blur, JPEG, checkerboard."""
    reliable: bool
    """False where `value` is past the limit: accuracy below 95 %, or NME above 0.1."""


def in_groups(
    measure: Callable[[np.ndarray], float], known: np.ndarray, subsets: Mapping[str, np.ndarray]
) -> dict[str, Group]:
    """Measures the known images, bool [N], of each subset, bool [N] by name.

    A subset without known images, or whose value is NaN or cannot be computed (ValueError), is left out.
    """
    groups = {}
    for name, members in subsets.items():
        chosen = members & known
        with contextlib.suppress(ValueError):
            if chosen.any() and not math.isnan(value := measure(chosen)):
                groups[name] = Group(value, int(chosen.sum()))
    return groups


def averaged(score: Score, values: np.ndarray, subsets: Mapping[str, np.ndarray]) -> Score:
    """The score with the mean of values [N] over the images whose value is known (not NaN), all and by subset."""
    known = ~np.isnan(values)

    def mean(chosen: np.ndarray) -> float:
        return float(values[chosen].mean())

    groups = in_groups(mean, known, subsets)
    return dataclasses.replace(score, value=mean(known), images=int(known.sum()), groups=groups, per_image=values)


def judged(score: Score, accuracy: JudgeAccuracy) -> Score:
    """The score, marked as unreliable if the judge that measured it is."""
    if accuracy.reliable:
        return score
    if accuracy.measure == "accuracy":
        note = f"the classifier is right on only {100 * accuracy.value:.1f} % of real avatars"
    else:
        note = f"the regressor's own error on real images is {accuracy.value:.2f}"
    return dataclasses.replace(score, reliable=False, note=note)


@dataclasses.dataclass(frozen=True, eq=False)
class RunResult:
    """A run's scores, and the images they were computed from: N test photos, M test avatars, S pixels a side."""

    name: str
    checkpoint: str
    """"best" or "latest"."""
    images_seen: int
    total_images: int | None
    """Of the schedule; None if unknown. A run that has seen fewer is unfinished."""
    parameters: int
    """Of one generator."""
    config: ExperimentConfig
    scores: tuple[Score, ...]
    rows: tuple[Mapping[str, float], ...]
    """Those of metrics.jsonl, each with `images`; not every key is in every row."""
    photos: np.ndarray
    """uint8 [N, S, S, 3]."""
    avatars: np.ndarray
    """uint8 [N, S, S, 3], G of `photos`."""
    real_avatars: np.ndarray
    """uint8 [M, S, S, 3]."""
    fake_photos: np.ndarray
    """uint8 [M, S, S, 3], F of `real_avatars`; none, [0, S, S, 3], where there is no F."""
    sorted_by: tuple[Score, ...]
    """Scores whose `per_image` values sort the photos of the report; the first one sorts the subsets too."""
    subsets: Mapping[str, np.ndarray]
    """bool [N] by name, such as "glasses" or "skin: dark"."""


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """One or several runs scored on the same test images."""

    date: str
    """ISO 8601."""
    machine: str
    command: str
    versions: Mapping[str, str]
    seconds: float
    dataset: str
    """Its name, without a path."""
    sizes: Mapping[str, int]
    """Images in each split."""
    judges: tuple[JudgeAccuracy, ...]
    runs: tuple[RunResult, ...]


def scores_json(evaluation: Evaluation) -> str:
    """All numbers of an evaluation as indented JSON, without images and paths; not finite numbers become null."""
    numbers = {
        "date": evaluation.date,
        "machine": evaluation.machine,
        "command": evaluation.command,
        "versions": dict(evaluation.versions),
        "seconds": evaluation.seconds,
        "dataset": {"name": evaluation.dataset, "sizes": dict(evaluation.sizes)},
        "judges": {judge.name: _numbers(judge) for judge in evaluation.judges},
        "runs": {
            run.name: {
                "checkpoint": run.checkpoint,
                "images_seen": run.images_seen,
                "total_images": run.total_images,
                "image_size": run.avatars.shape[1],
                "parameters": run.parameters,
                "generator": dataclasses.asdict(run.config.generator),
                "discriminator": dataclasses.asdict(run.config.discriminator),
                "train": dataclasses.asdict(without_folders(run.config).train),
                "scores": {
                    score.name: {**_numbers(score), "worst_group": worst and dataclasses.asdict(worst)}
                    for score in run.scores
                    for worst in [score.worst_group]
                },
            }
            for run in evaluation.runs
        },
    }
    return json.dumps(_finite(numbers), indent=2, allow_nan=False) + "\n"


def _numbers(record: Score | JudgeAccuracy) -> dict[str, Any]:
    return {key: value for key, value in dataclasses.asdict(record).items() if key not in ("name", "per_image")}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
