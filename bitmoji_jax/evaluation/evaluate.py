"""Scores runs on a dataset's test images and writes the report."""

import datetime
import importlib.metadata
import json
import platform
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bitmoji_jax.cache import use_compilation_cache
from bitmoji_jax.config import DataConfig, ExperimentConfig
from bitmoji_jax.console import make_console
from bitmoji_jax.data.fingerprint import Contents, kept_contents
from bitmoji_jax.data.pipeline import Dataset, open_dataset
from bitmoji_jax.errors import InputError
from bitmoji_jax.evaluation import altered_photos, likeness_scores, photo_scores, set_scores
from bitmoji_jax.evaluation.judges import Judges, load_judges
from bitmoji_jax.evaluation.report.page import write_report
from bitmoji_jax.evaluation.report.tables import format_count
from bitmoji_jax.evaluation.report.terminal import worst_group_lines
from bitmoji_jax.evaluation.results import Evaluation, RunResult, Score
from bitmoji_jax.evaluation.testset import EFFICIENTNET, SQUEEZENET, Outputs, TestSet, make_test_set, read_split
from bitmoji_jax.files import make_folder
from bitmoji_jax.host import available_cores
from bitmoji_jax.inference.translator import Translator
from bitmoji_jax.inference.weights import Weights, run_config, run_of_stage, run_weights
from bitmoji_jax.models.efficientnet import load_efficientnet_lite0
from bitmoji_jax.models.squeezenet import load_squeezenet
from bitmoji_jax.ops.batching import resized

_SORTED_BY = ("paired_error", "distance_to_real", "skin_delta_e", "hair_delta_e", "landmarks_y", "cycle_psnr_x")
"""Scores by which the report sorts the photos."""


def evaluate(
    runs: Sequence[Path], out: Path, *, data: Path | None = None, checkpoint: str | int | None = None
) -> Evaluation:
    """Scores runs and writes `out`/index.html and `out`/scores.json.

    Args:
      runs: their folders.
      out: the report's folder; it is created if it does not exist.
      data: a prepared dataset to score on; None is the dataset that all runs were trained with.
      checkpoint: of every run: "best", "latest" or the number of images seen; None is the best if there is one.

    Raises:
      InputError: a run, checkpoint or dataset does not exist or cannot be read, or `out` cannot be written to.
    """
    started = time.perf_counter()
    console = make_console()
    use_compilation_cache()
    names = _names(runs)
    weights = [run_weights(run, checkpoint) for run in runs]
    trained_on = [kept_contents(run_of_stage(run)) for run in runs]
    data_config = _data_config(data, names, [run_config(run) for run in runs], trained_on)
    dataset = _open(data_config, data, names[0])
    make_folder(out, "--out")
    sizes = " · ".join(f"{name} {count:,}" for name, count in dataset.sizes().items())
    console.print(f"{format_count(len(runs), 'run')} on {sizes}")
    for name, contents in zip(names, trained_on, strict=True):
        if (
            contents is not None
            and contents.fingerprint is not None
            and (data or not dataset.contents().agree(contents))
        ):
            which = "this dataset" if dataset.contents().agree(contents) else f"another dataset ({contents})"
            console.print(f"{name} was trained on {which}")
    photos, avatars = read_split(dataset, "testA"), read_split(dataset, "testB")
    networks = {SQUEEZENET: load_squeezenet(), EFFICIENTNET: load_efficientnet_lite0()}
    judges = load_judges(dataset, console)
    test_sets: dict[int, TestSet] = {}
    results = []
    for run, name, (of_run, which) in zip(runs, names, weights, strict=True):
        console.print(f"{name}: {which}, {of_run.images:,} images seen")
        translator = Translator.from_weights(of_run)
        size = translator.size
        if size not in test_sets:
            test_sets[size] = make_test_set(dataset, photos, avatars, size, networks)
        results.append(_evaluate_run(run, name, which, of_run, translator, test_sets[size], judges))
        for line in worst_group_lines(results[-1]):
            console.print(line)
    evaluation = Evaluation(
        date=datetime.date.today().isoformat(),
        machine=_machine(),
        command=_command(runs, data, checkpoint),
        versions={
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("bitmoji-jax", "jax", "flax", "numpy")},
        },
        seconds=time.perf_counter() - started,
        dataset="synthetic" if dataset.paired_test else Path(data_config.name or data_config.dir or "synthetic").name,
        sizes=dataset.sizes(),
        judges=judges.accuracies,
        runs=tuple(results),
    )
    write_report(evaluation, out)
    console.print(f"{evaluation.seconds:.0f} s. The report is {out / 'index.html'}")
    return evaluation


def _evaluate_run(
    run: Path, name: str, which: str, weights: Weights, translator: Translator, test_set: TestSet, judges: Judges
) -> RunResult:
    fake_y = translator.x2y(test_set.photos.images)
    fake_x = translator.y2x(test_set.avatars.images) if "y2x" in translator.directions else None
    outputs = Outputs(translator, test_set, judges, fake_y, fake_x)
    scores = _scores(outputs)
    measures = {
        score.name: score
        for score in [*scores, photo_scores.distance_to_real(outputs)]
        if score.per_image is not None and np.isfinite(score.per_image).any()
    }
    rows = _metrics_rows(run)
    epoch_images = next((round(row["images"] / row["epoch"]) for row in rows if row.get("epoch")), None)
    return RunResult(
        name=name,
        checkpoint=which,
        images_seen=weights.images,
        total_images=_total_images(weights, epoch_images),
        parameters=sum(leaf.size for leaf in jax.tree.leaves({n: p for n, p in weights.networks.items() if n != "f"})),
        config=weights.config,
        scores=tuple(scores),
        rows=tuple(rows),
        photos=test_set.images["x"],
        avatars=fake_y,
        real_avatars=test_set.images["y"],
        fake_photos=fake_y[:0] if fake_x is None else resized(fake_x, translator.size),
        sorted_by=tuple(measures[name] for name in _SORTED_BY if name in measures),
        subsets=test_set.photos.subsets,
    )


def _total_images(weights: Weights, epoch_images: int | None) -> int | None:
    """Of the schedule of the stage that the weights are from; None if unknown."""
    if "s" in weights.networks:
        return weights.config.teach.images
    if "r" in weights.networks:
        return weights.config.refine.images
    return None if epoch_images is None else weights.config.train.total_images(epoch_images)


def _scores(outputs: Outputs) -> list[Score]:
    """Computes all scores, in the order of the report."""
    pairs = outputs.test_set.pairs
    skin = photo_scores.colour_score(outputs, "skin")
    return [
        *([] if pairs is None else [photo_scores.paired_score(outputs, pairs)]),
        *set_scores.kid_scores(outputs),
        *photo_scores.gender_scores(outputs),
        skin,
        photo_scores.skin_ratio_score(skin),
        photo_scores.colour_score(outputs, "hair"),
        *photo_scores.landmark_scores(outputs, "y"),
        *photo_scores.landmark_scores(outputs, "x"),
        *likeness_scores.whitened_landmark_scores(outputs),
        likeness_scores.mouth_score(outputs),
        altered_photos.shadow_score(outputs),
        altered_photos.residue_score(outputs),
        altered_photos.flat_head_score(outputs),
        *photo_scores.accessory_scores(outputs, "glasses"),
        *photo_scores.accessory_scores(outputs, "hat"),
        *set_scores.diversity(outputs),
        *photo_scores.cycle_scores(outputs),
        *set_scores.checkerboards(outputs),
        *set_scores.alarms(outputs),
    ]


def _names(runs: Sequence[Path]) -> list[str]:
    """The name of each run's folder, with that of its parent where two are the same."""
    names = [run.resolve().name for run in runs]
    if len(set(names)) < len(names):
        names = ["/".join(run.resolve().parts[-2:]) for run in runs]
    if len(set(names)) < len(names):
        raise InputError(f"a run is named twice: {', '.join(map(str, runs))}")
    return names


def _data_config(
    data: Path | None,
    names: Sequence[str],
    configs: Sequence[ExperimentConfig],
    trained_on: Sequence[Contents | None],
) -> DataConfig:
    """Where the dataset is that all runs were trained on, by what is in it or, where that is not known, by its path."""
    if data is not None:
        return DataConfig(dir=str(data))

    def identity(number: int) -> tuple[Any, ...]:
        config, contents = configs[number].data, trained_on[number]
        # The synthetic set differs between image sizes.
        synthetic_size = config.image_size if config.dir is None and config.name is None else None
        known = all(each is not None and each.fingerprint is not None for each in trained_on)
        if known and contents is not None:
            return synthetic_size, contents.fingerprint
        return synthetic_size, config.dir and Path(config.dir).resolve(), config.name

    for number, name in enumerate(names):
        if identity(number) != identity(0):
            raise InputError(
                f"{names[0]} and {name} were trained on different datasets: name one to score them on, --data DIR"
            )
    return configs[0].data


def _open(config: DataConfig, data: Path | None, name: str) -> Dataset:
    try:
        return open_dataset(config)
    except InputError as error:
        if data is not None or config.dir is None or Path(config.dir).exists():
            raise
        raise InputError(
            f"{name} was trained on {config.dir}, which is not there: say where it is now, --data DIR"
        ) from error


def _metrics_rows(run: Path) -> list[Mapping[str, float]]:
    """The rows of metrics.jsonl, without a last line that a running run has not finished."""
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
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{format_count(available_cores(), 'core')}, {names[0] if names else platform.machine()}"


def _command(runs: Sequence[Path], data: Path | None, checkpoint: str | int | None) -> str:
    """The command line, with names instead of paths: it is published with the scores."""
    words = ["python", "-m", "bitmoji_jax", "evaluate"]
    for run in runs:
        words += ["--run", run.resolve().name]
    for flag, value in (("--data", data), ("--checkpoint", checkpoint)):
        if value is not None:
            words += [flag, value.name if isinstance(value, Path) else str(value)]
    return shlex.join(words)
