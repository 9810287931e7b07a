"""Each command with a fault at each of its calls of the system: one line, the right code, nothing half-written.

Calls are told apart by the line of the package that they come from. Of the first two of a line (one where the command
takes long) each fails in a run of its own, with the errors in turn, or with all where the command takes no time.
"""

import asyncio
import contextlib
import dataclasses
import io
import itertools
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bitmoji_jax import cache, cli
from bitmoji_jax.command import run_command
from bitmoji_jax.config import DataConfig, ExperimentConfig, from_json, to_json
from bitmoji_jax.data.pipeline import open_dataset
from bitmoji_jax.evaluation import evaluate, judges
from bitmoji_jax.evaluation.report import page
from bitmoji_jax.inference import export_stablehlo
from bitmoji_jax.inference.translator import Translator
from bitmoji_jax.inference.weights import BEST, load_weights, run_weights, save_weights
from bitmoji_jax.training import train_loop, validation
from bitmoji_jax.web import server
from tests.counting_step import CountingStep
from tests.evaluations import make_run
from tests.faults import ERRORS, KINDS, Site, calls
from tests.image_folders import fill
from tests.random_weights import random_weights
from tests.tiny_images import SIZE

pytestmark = pytest.mark.slow


@dataclasses.dataclass(frozen=True)
class Case:
    """A command in a folder of its own."""

    command: Callable[[], None]
    complete: Callable[[], bool]
    """Returns whether all that the command writes is there; fails if something is there in part."""


def prepare_case(folder: Path, _: ExperimentConfig) -> Case:
    photos, avatars, out = fill(folder / "p", 4, seed=0), fill(folder / "a", 4, seed=1), folder / "out"
    (folder / "labels.csv").write_text("file,gender\n000.png,female\n")

    def complete() -> bool:
        if not out.exists():
            return False
        dataset = open_dataset(DataConfig(dir=str(out)))
        assert sum(dataset.sizes().values()) >= 7  # a file may be unreadable
        assert all(dataset.read(split, 0)["image"].shape == (32, 32, 3) for split in dataset.splits)
        return (out / "prepare_report.json").exists()

    return Case(lambda: cli.prepare((photos,), avatars, out, (folder / "labels.csv",), size=32), complete)


def translate_case(folder: Path, _: ExperimentConfig) -> Case:
    photos, out, weights = fill(folder / "p" / "deep", 2, seed=0), folder / "out", folder / "weights.safetensors"
    save_weights(weights, random_weights())

    def complete() -> bool:
        files = [path for path in out.rglob("*") if path.is_file()]
        for path in files:
            with Image.open(path) as image:
                image.load()
        return "grid.png" in {path.name for path in files} and len(files) >= 2  # a file may be unreadable

    return Case(lambda: cli.translate((photos.parent,), out, weights, aligned=True, grid=True), complete)


def export_case(folder: Path, _: ExperimentConfig) -> Case:
    weights, out = folder / "weights.safetensors", folder / "out" / "avatar.stablehlo"
    save_weights(weights, random_weights())
    out.parent.mkdir()

    def complete() -> bool:
        assert list(out.parent.iterdir()) in ([], [out])
        return out.exists() and out.read_bytes() == b"exported"

    return Case(lambda: cli.export(out, "stablehlo", weights), complete)


def serve_case(folder: Path, _: ExperimentConfig) -> Case:
    save_weights(folder / "weights.safetensors", random_weights())
    return Case(lambda: cli.serve(folder / "weights.safetensors", port=0), lambda: True)


def evaluate_case(folder: Path, config: ExperimentConfig) -> Case:
    run = folder / "run"
    weights = random_weights(folder=config.data.dir)
    run.mkdir()
    (run / "config.json").write_text(to_json(weights.config))
    (run / "metrics.jsonl").write_text('{"images": 4, "epoch": 0.5, "cycle_x": 0.3}\n')
    save_weights(run / BEST, weights)
    before = {path.name: path.read_bytes() for path in run.iterdir()}

    def complete() -> bool:
        assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
        report = {path.name: path.read_text() for path in (run / "report").glob("*")} if run.exists() else {}
        assert report.keys() <= {"index.html", "scores.json"}
        assert report.get("index.html", "<html>") == "<html>"
        json.loads(report.get("scores.json", "0"))
        return len(report) == 2

    return Case(lambda: cli.evaluate((run,)), complete)


def train_case(folder: Path, config: ExperimentConfig) -> Case:
    """Continues a run at 12 of 24 images."""
    run = folder / "run"
    shutil.copytree(Path(str(config.data.dir)).parent / "run", run)

    def complete() -> bool:
        assert from_json((run / "config.json").read_text()) == config
        for line in (run / "metrics.jsonl").read_text().splitlines():
            json.loads(line)
        images = run_weights(run, "latest")[0].images  # reads all of the newest checkpoint
        assert images in (12, 24)
        return images == 24

    return Case(lambda: train_loop.train(config, run), complete)


CASES = {
    "prepare": prepare_case,
    "train": train_case,
    "translate": translate_case,
    "evaluate": evaluate_case,
    "serve": serve_case,
    "export": export_case,
}


@pytest.fixture(scope="module", autouse=True)
def _light() -> Iterator[None]:
    """Leaves out what computes; the calls of the system stay."""
    drawn = Translator({"x2y": lambda photos: 255 - photos}, size=SIZE, cut_out=True)
    serving = server._serve

    async def stopped_soon(*arguments: Any) -> int:
        soon = asyncio.get_running_loop().call_later(0.02, signal.raise_signal, signal.SIGTERM)
        try:
            return await serving(*arguments)
        finally:
            soon.cancel()  # where serving failed at once: the process is that of the tests

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Translator, "from_weights", classmethod(lambda *_: drawn))
        patch.setattr(Translator, "from_file", classmethod(lambda _, path: (load_weights(path), drawn)[1]))
        patch.setattr(export_stablehlo, "to_stablehlo", lambda _: b"exported")
        patch.setattr(server, "warm_up", lambda _: None)
        patch.setattr(server, "_serve", stopped_soon)
        for name in ("load_squeezenet", "load_efficientnet_lite0", "make_test_set"):
            patch.setattr(evaluate, name, lambda *_: None)
        patch.setattr(evaluate, "_evaluate_run", lambda _, name, *__: make_run(name))
        patch.setattr(judges, "train_judges", lambda *_, **__: judges.Judges({}, (), {}))
        patch.setattr(page, "_page", lambda _: "<html>")
        patch.setattr(validation, "load_squeezenet", lambda: lambda images: images.mean(axis=(1, 2)).astype(np.float32))
        patch.setattr(train_loop, "lower_train_step", lambda *_: CountingStep())
        yield


@pytest.fixture(scope="module")
def config(tiny_config: ExperimentConfig) -> ExperimentConfig:
    """Of a run beside the dataset that has been interrupted at 12 of 24 images."""
    generator = dataclasses.replace(tiny_config.generator, res_blocks=0)
    config = dataclasses.replace(tiny_config, generator=generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_loop, "lower_train_step", lambda *_: CountingStep(signal_at=6))
        assert run_command(lambda: train_loop.train(config, Path(str(config.data.dir)).parent / "run")) == 130
    return config


def run(command: Callable[[], None], folder: Path) -> tuple[int, list[str]]:
    """The exit code of a command and its lines on stderr, with a cache of its own."""
    cache._usable.cache_clear()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        code = run_command(command)
    assert "Traceback" not in out.getvalue() + err.getvalue()
    return code, err.getvalue().splitlines()


def faults(name: str, folder: Path, config: ExperimentConfig) -> list[tuple[Site, int]]:
    """The calls of a command to fail, and the errors to fail them with."""
    folder.mkdir()
    case = CASES[name](folder, config)
    with calls(folder.parent) as seen:
        code, lines = run(case.command, folder)
    assert code == 0, lines
    assert case.complete()
    sites = [site for site in seen if site.number < (1 if name == "train" else 2)]
    if name in ("export", "serve"):
        return list(itertools.product(sites, ERRORS))
    first = list(CASES).index(name)  # so that the commands do not all begin with the same error
    in_turn = {kind: itertools.cycle(ERRORS[first:] + ERRORS[:first]) for kind in KINDS}
    return [(site, next(in_turn[site.kind])) for site in sites]


@pytest.mark.parametrize("name", CASES)
def test_a_fault_at_any_call_is_one_line_and_leaves_nothing_in_part(
    name: str, tmp_path: Path, config: ExperimentConfig
) -> None:
    matrix = faults(name, tmp_path / "whole", config)
    assert len(matrix) > 10
    for number, (site, error) in enumerate(matrix):
        folder = tmp_path / str(number)
        folder.mkdir()
        case = CASES[name](folder, config)
        with calls(tmp_path, site, error) as seen:
            code, lines = run(case.command, folder)
        what = f"{site}, errno {error}: exit code {code}, {lines}"
        assert site in seen, what
        assert code in (0, 1, 2), what
        assert len([line for line in lines if line.startswith("error: ")]) == (code != 0), what
        assert case.complete() or code != 0, what
