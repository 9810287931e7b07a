"""Judges runs on the test images of a dataset they have not seen, and writes the report."""

import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import rich.console

from bitmoji_jax.cache import use_compilation_cache
from bitmoji_jax.config import DataConfig, ExperimentConfig
from bitmoji_jax.data.pipeline import Dataset, open_dataset
from bitmoji_jax.errors import InputError
from bitmoji_jax.evaluation import photo_scores, set_scores
from bitmoji_jax.evaluation.held_out import HeldOut, read_held_out
from bitmoji_jax.evaluation.judge_cache import load_judges
from bitmoji_jax.evaluation.judges import Judges
from bitmoji_jax.evaluation.reference import EFFICIENTNET, Reference, take_reference
from bitmoji_jax.evaluation.report import write_report
from bitmoji_jax.evaluation.results import Evaluation, PerImage, RunResult, Score
from bitmoji_jax.evaluation.subject import Subject
from bitmoji_jax.inference.translator import Translator
from bitmoji_jax.inference.weights import Weights, run_weights
from bitmoji_jax.models.efficientnet import load_efficientnet_lite0
from bitmoji_jax.models.features import Features
from bitmoji_jax.models.squeezenet import load_squeezenet
from bitmoji_jax.ops.batching import resized


@dataclasses.dataclass(frozen=True, eq=False)
class _Bench:
    """What all runs are judged with."""

    dataset: Dataset
    photos: HeldOut
    avatars: HeldOut
    judges: Judges
    networks: Mapping[str, Features]
    """By name: those that KID is taken by. The first measures diversity too."""


def evaluate(
    runs: Sequence[Path],
    out: Path,
    *,
    data: Path | None = None,
    checkpoint: str | int | None = None,
) -> Evaluation:
    """Judges runs and writes `out`/index.html and `out`/scores.json.

    Args:
      runs: their folders.
      out: the report's folder, made where it is not there.
      data: a prepared dataset to judge on; None is the one the runs were trained with, which must be one.
      checkpoint: of every run: "best", "latest" or the images seen; None is the best where there is one.

    Raises:
      InputError: a run, checkpoint or dataset is not there or can't be read.
    """
    started = time.perf_counter()
    console = rich.console.Console(highlight=False, soft_wrap=True, markup=False)
    use_compilation_cache()
    names = _names(runs)
    weights = [run_weights(run, checkpoint) for run in runs]
    dataset = open_dataset(_data_config(data, names, [w.config for w, _ in weights]))
    sizes = " · ".join(f"{name} {count:,}" for name, count in dataset.sizes().items())
    console.print(f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} on {sizes}")
    bench = _Bench(
        dataset=dataset,
        photos=read_held_out(dataset, "testA"),
        avatars=read_held_out(dataset, "testB"),
        networks={EFFICIENTNET: load_efficientnet_lite0(), "SqueezeNet": load_squeezenet()},
        judges=load_judges(dataset, console),
    )
    references: dict[int, Reference] = {}
    results = []
    for run, name, (of_run, which) in zip(runs, names, weights, strict=True):
        console.print(f"{name}: {which}, {of_run.images:,} images seen")
        size = of_run.config.data.image_size
        if size not in references:
            references[size] = take_reference(dataset, bench.photos, bench.avatars, size, bench.networks)
        results.append(_judge(name, which, of_run, _rows(run), bench, references[size]))
    evaluation = Evaluation(
        date=datetime.date.today().isoformat(),
        machine=_machine(),
        command=_command(runs, data, checkpoint),
        versions={
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("bitmoji-jax", "jax", "flax", "numpy")},
        },
        seconds=time.perf_counter() - started,
        dataset="synthetic" if dataset.paired_test else (data or Path(_dataset_name(weights[0][0].config))).name,
        sizes=dataset.sizes(),
        judges=bench.judges.cards,
        runs=tuple(results),
    )
    write_report(evaluation, out)
    console.print(f"{evaluation.seconds:.0f} s. The report is {out / 'index.html'}")
    return evaluation


def _judge(
    name: str, which: str, weights: Weights, rows: list[Mapping[str, float]], bench: _Bench, reference: Reference
) -> RunResult:
    translator = Translator.from_weights(weights)
    fake_y = translator.x2y(bench.photos.images)
    subject = Subject(
        translator=translator,
        photos=bench.photos,
        avatars=bench.avatars,
        reference=reference,
        judges=bench.judges,
        networks=bench.networks,
        fake_y=fake_y,
        fake_x=translator.y2x(bench.avatars.images),
        fake_y_features={name: network(fake_y) for name, network in bench.networks.items()},
        subsets=bench.photos.subsets(),
    )
    scores, per_image = _scores(subject, bench)
    epoch_images = next((round(row["images"] / row["epoch"]) for row in rows if row.get("epoch")), None)
    return RunResult(
        name=name,
        checkpoint=which,
        images_seen=weights.images,
        total_images=None if epoch_images is None else weights.config.train.total_images(epoch_images),
        parameters=sum(leaf.size for leaf in jax.tree.leaves(weights.generators["g"])),
        config=weights.config,
        scores=tuple(scores),
        rows=tuple(rows),
        photos=reference.images["x"],
        avatars=fake_y,
        real_avatars=reference.images["y"],
        fake_photos=subject.fake_x,
        # What nothing is known of sorts nothing.
        per_image=tuple(measure for measure in per_image if np.isfinite(measure.values).any()),
        subsets=subject.subsets,
    )


def _scores(subject: Subject, bench: _Bench) -> tuple[list[Score], list[PerImage]]:
    """All scores in the order of the report, and the measures the pictures are sorted by."""
    skin, skin_per_image = photo_scores.colour_score(subject, "skin")
    hair, hair_per_image = photo_scores.colour_score(subject, "hair")
    landmarks_y, landmarks_per_image = photo_scores.landmark_score(subject, "y")
    landmarks_x, _ = photo_scores.landmark_score(subject, "x")
    cycle, cycle_per_image = photo_scores.cycle_scores(subject)
    scores = [
        *set_scores.kid_scores(subject),
        photo_scores.gender_score(subject),
        skin,
        hair,
        landmarks_y,
        landmarks_x,
        photo_scores.shadow_score(subject),
        *photo_scores.shown_scores(subject, "glasses"),
        *photo_scores.shown_scores(subject, "hat"),
        *set_scores.diversity(subject),
        *cycle,
        *set_scores.checkerboards(subject),
        *set_scores.alarms(subject),
    ]
    per_image = [
        photo_scores.likeness(subject),
        skin_per_image,
        hair_per_image,
        landmarks_per_image,
        cycle_per_image,
    ]
    if bench.dataset.paired_test:
        paired, paired_per_image = photo_scores.paired_score(
            subject, bench.dataset.test_pairs(), _mean_avatar(bench.dataset, subject.translator.size)
        )
        scores.insert(0, paired)
        per_image.insert(0, paired_per_image)
    return scores, per_image


def _mean_avatar(dataset: Dataset, size: int) -> np.ndarray:
    """float64 [size, size, 3], the mean of all training avatars."""
    count = len(dataset.splits["trainB"])
    total = sum(dataset.read("trainB", i)["image"].astype(np.float64) for i in range(count))
    return resized(np.rint(total / count).astype(np.uint8)[None], size)[0].astype(np.float64)


def _names(runs: Sequence[Path]) -> list[str]:
    """Each run's folder name, with its parent's where two are alike."""
    names = [run.resolve().name for run in runs]
    if len(set(names)) < len(names):
        names = ["/".join(run.resolve().parts[-2:]) for run in runs]
    if len(set(names)) < len(names):
        raise InputError(f"a run is named twice: {', '.join(map(str, runs))}")
    return names


def _data_config(data: Path | None, names: Sequence[str], configs: Sequence[ExperimentConfig]) -> DataConfig:
    if data is not None:
        return DataConfig(dir=str(data))
    first = configs[0].data
    for name, config in zip(names, configs, strict=True):
        # The synthetic set is drawn anew for each size.
        if (config.data.dir, config.data.name) != (first.dir, first.name) or (
            first.dir is None and first.name is None and config.data.image_size != first.image_size
        ):
            raise InputError(
                f"{names[0]} and {name} were trained on different datasets: say with --data on which to judge them"
            )
    return first


def _dataset_name(config: ExperimentConfig) -> str:
    return config.data.name or config.data.dir or "synthetic"


def _rows(run: Path) -> list[Mapping[str, float]]:
    """Those of metrics.jsonl; a last line that a running run has not finished is left out."""
    path = run / "metrics.jsonl"
    rows: list[Mapping[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _machine() -> str:
    device = jax.devices()[0]
    if device.platform != "cpu":
        return f"{jax.device_count()} × {device.device_kind}"
    names = [
        line.split(":", 1)[1].strip()
        for line in (Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else [])
        if line.startswith("model name")
    ]
    return f"{os.cpu_count()} cores, {names[0] if names else platform.machine()}"


def _command(runs: Sequence[Path], data: Path | None, checkpoint: str | int | None) -> str:
    """The command that evaluates this, with names for paths: it is published with the scores."""
    words = ["python", "-m", "bitmoji_jax", "evaluate"]
    for run in runs:
        words += ["--run", run.resolve().name]
    for flag, value in (("--data", data), ("--checkpoint", checkpoint)):
        if value is not None:
            words += [flag, value.name if isinstance(value, Path) else str(value)]
    return shlex.join(words)
