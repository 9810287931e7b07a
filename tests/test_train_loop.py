"""A run from end to end, and everything that may end it early; most with a step that only counts."""

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bitmoji_jax
from bitmoji_jax.config import ExperimentConfig, from_json
from bitmoji_jax.data import pipeline
from bitmoji_jax.data.builder import Example, encode_image, write_dataset
from bitmoji_jax.data.synthetic.dataset import synthetic_dataset
from bitmoji_jax.errors import InputError, RunError
from bitmoji_jax.inference.weights import load_weights
from bitmoji_jax.lock import hold
from bitmoji_jax.training import devices as of_run
from bitmoji_jax.training import step_monitor, train_loop, validation
from bitmoji_jax.training.train_loop import Interrupted, train
from tests.counting_step import CountingStep

pytestmark = pytest.mark.slow


@pytest.fixture
def config(tiny_config: ExperimentConfig) -> ExperimentConfig:
    """24 images in 12 steps; no residual blocks, to compile fast."""
    return replace(tiny_config, generator={"res_blocks": 0})


def replace(config: ExperimentConfig, **sections: dict[str, Any]) -> ExperimentConfig:
    return dataclasses.replace(
        config, **{name: dataclasses.replace(getattr(config, name), **fields) for name, fields in sections.items()}
    )


def mean_colours(images: np.ndarray) -> np.ndarray:
    return images.mean(axis=(1, 2)).astype(np.float32)


@pytest.fixture(autouse=True)
def _cheap_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "load_squeezenet", lambda: mean_colours)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Callable[..., CountingStep]:
    """Puts a `CountingStep` in the place of the compiled step, and returns it."""

    def put(**kwargs: Any) -> CountingStep:
        step = CountingStep(**kwargs)
        monkeypatch.setattr(train_loop, "lower_train_step", lambda *_: step)
        return step

    return put


def rows(workdir: Path) -> list[dict[str, float]]:
    """The rows of metrics, without those of scores."""
    return [row for row in all_rows(workdir) if "loss_generators" in row]


def all_rows(workdir: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def checkpoints(workdir: Path) -> set[int]:
    return {int(path.name) for path in (workdir / "checkpoints").iterdir()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run with the real step, shared by the tests that only look at it, made by the first of them."""
    return {"workdir": tmp_path_factory.mktemp("runs") / "finished"}


def finish(config: ExperimentConfig, finished: dict[str, Path]) -> Path:
    if not finished["workdir"].exists():
        train(config, finished["workdir"], profile_steps=2)
    return finished["workdir"]


def test_run_folder_holds_what_is_promised(config: ExperimentConfig, finished: dict[str, Path]) -> None:
    workdir = finish(config, finished)
    assert from_json((workdir / "config.json").read_text()) == config
    assert checkpoints(workdir) == {12, 24}
    assert [row["images"] for row in rows(workdir)] == [4, 8, 12, 16, 20, 24]
    assert rows(workdir)[-1]["epoch"] == 2.0
    assert set(all_rows(workdir)[-1]) == {"images", "kid", "luma_correlation", "output_change"}
    assert load_weights(workdir / "best.safetensors").critics.keys() == {"d_x", "d_y"}
    assert list((workdir / "tensorboard").glob("events*"))
    assert list((workdir / "profile").rglob("*.xplane.pb"))
    names = {path.name for path in (workdir / "samples").iterdir()}
    assert names == {f"{kind}_{images:08d}.png" for kind in ("raw", "ema") for images in (0, 12, 24)}
    with Image.open(workdir / "samples" / "raw_00000024.png") as picture:
        assert picture.width == 6 * 32


def test_finished_run_is_not_trained_further(
    config: ExperimentConfig, finished: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = finish(config, finished)
    before = rows(workdir)
    train(config, workdir)
    assert rows(workdir) == before
    assert "Continuing at 24 of 24" in capsys.readouterr().out


def test_contradicting_config_lists_the_fields_that_differ(config: ExperimentConfig, finished: dict[str, Path]) -> None:
    workdir = finish(config, finished)
    other = replace(config, train={"learning_rate": 1e-3}, generator={"skips": True}, log={"metrics_every": 2})
    with pytest.raises(InputError) as error:
        train(other, workdir)
    assert "train.learning_rate: 0.001 here, 0.0002 in the run" in str(error.value)
    assert "generator.skips: True here, False in the run" in str(error.value)
    assert "log." not in str(error.value)
    assert from_json((workdir / "config.json").read_text()) == config


def test_changed_dataset_is_an_error(config: ExperimentConfig, finished: dict[str, Path], tmp_path: Path) -> None:
    workdir = finish(config, finished)
    picture = encode_image(np.zeros((32, 32, 3), np.uint8))
    smaller = {split: [Example(id="0", image=picture)] for split in ("trainA", "trainB", "testA", "testB")}
    moved = Path(str(config.data.dir)).rename(tmp_path / "aside")
    try:
        write_dataset(Path(str(config.data.dir)), smaller, size=32, attributes={}, description="")
        with pytest.raises(InputError, match=r"another dataset.*: trainA 12 .* then, trainA 1 · .* now"):
            train(config, workdir)
    finally:
        Path(str(config.data.dir)).rename(tmp_path / "smaller")
        moved.rename(str(config.data.dir))


def test_a_finished_run_goes_on_with_a_longer_schedule_at_its_learning_rate(
    config: ExperimentConfig,
    counting: Callable[..., CountingStep],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    counting()
    short = replace(config, train={"constant_epochs": 0.25, "decay_epochs": 0.25})
    train(short, tmp_path)
    train(replace(short, train={"decay_epochs": 0.5}), tmp_path)
    output = capsys.readouterr().out
    assert "learning rate of the longer schedule: train.decay_epochs 0.5 instead of 0.25\n" in output
    # 3 images at the full rate and 6 in which it falls, of which half are left.
    assert "Continuing at 6 of 10 images, learning rate 0.0001\n" in output
    assert max(checkpoints(tmp_path)) == 10
    with pytest.raises(InputError, match=r"decay_epochs: 0\.25 here, 0\.5 in the run"):
        train(short, tmp_path)


def test_a_run_goes_on_with_its_dataset_wherever_it_is_and_with_no_other(
    config: ExperimentConfig, counting: Callable[..., CountingStep], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting()
    monkeypatch.chdir(tmp_path)
    shutil.copytree(str(config.data.dir), "ds")
    short = replace(config, data={"dir": "ds/"}, train={"constant_epochs": 0.25, "decay_epochs": 0.25})
    train(short, "run")
    Path("ds").rename("moved")
    for path in ("moved", "./moved/", str(tmp_path / "moved")):
        again = replace(short, data={"dir": path, "read_threads": 2}, train={"accumulation_steps": 2})
        train(again, "run")
        assert from_json(Path("run/config.json").read_text()) == again
    # Of the same sizes.
    names = {"trainA": 12, "trainB": 9, "testA": 4, "testB": 3}
    picture = encode_image(np.zeros((32, 32, 3), np.uint8))
    other = {split: [Example(id=str(i), image=picture) for i in range(count)] for split, count in names.items()}
    write_dataset(Path("other"), other, size=32, attributes={}, description="")
    before = Path("run/config.json").read_text()
    with pytest.raises(InputError, match=r"another dataset, .*: as many images, but other ones"):
        train(replace(short, data={"dir": "other"}), "run")
    assert Path("run/config.json").read_text() == before


def test_a_record_that_becomes_unreadable_is_named_and_the_last_checkpoint_is_intact(
    config: ExperimentConfig, counting: Callable[..., CountingStep], tmp_path: Path
) -> None:
    counting()
    shutil.copytree(str(config.data.dir), tmp_path / "ds")
    shard = next((tmp_path / "ds").glob("*trainA*"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:3000] + bytes(20) + whole[3020:])
    damaged = replace(config, data={"dir": str(tmp_path / "ds")}, log={"checkpoint_every": 4})
    with pytest.raises(RunError, match=rf"record \d+ of {shard} cannot be read: .*Put a good copy in") as error:
        train(damaged, tmp_path / "run")
    assert "\n" not in str(error.value)
    saved = max(checkpoints(tmp_path / "run"), default=0)
    with pytest.raises(RunError, match="cannot be read"):
        train(damaged, tmp_path / "run")
    assert max(checkpoints(tmp_path / "run"), default=0) == saved < 12


def test_a_mistyped_dataset_leaves_no_run_behind(config: ExperimentConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot open the dataset"):
        train(replace(config, data={"dir": "nowhere"}), tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


def test_overwrite_starts_again_and_spares_folders_that_hold_no_run(
    config: ExperimentConfig, counting: Callable[..., CountingStep], tmp_path: Path
) -> None:
    counting()
    short = replace(config, train={"constant_epochs": 0.25, "decay_epochs": 0.25})
    train(short, tmp_path / "run")
    train(replace(short, train={"seed": 1}), tmp_path / "run", overwrite=True)
    assert from_json((tmp_path / "run" / "config.json").read_text()).train.seed == 1
    assert checkpoints(tmp_path / "run") == {6}

    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_text("precious")
    with pytest.raises(InputError, match="holds files but no run"):
        train(short, tmp_path / "photos", overwrite=True)
    assert (tmp_path / "photos" / "me.jpg").read_text() == "precious"


def test_loss_that_is_not_finite_stops_saves_the_batch_and_keeps_the_last_good_checkpoint(
    config: ExperimentConfig, counting: Callable[..., CountingStep], tmp_path: Path
) -> None:
    step = counting(diverges_at=8)
    with pytest.raises(RunError, match=r"loss_generators.* not finite at 8 images") as error:
        train(replace(config, log={"checkpoint_every": 2}), tmp_path)
    (batch,) = tmp_path.glob("nonfinite_*.npz")
    assert str(batch) in str(error.value)
    with np.load(batch) as arrays:
        assert arrays["x_image"].shape == (1, 2, 32, 32, 3)
    assert max(checkpoints(tmp_path)) == 6
    assert step.calls == 4


def test_workdir_that_cannot_be_written_is_one_clear_line(config: ExperimentConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--workdir .*: Not a directory. Choose another place"):
        train(config, tmp_path / "file" / "run")


def test_workdir_in_use_is_refused(config: ExperimentConfig, tmp_path: Path) -> None:
    with (
        hold(tmp_path / ".lock", print),
        pytest.raises(
            InputError, match=r"another process trains in .* \(process \d+ on .*\); choose another --workdir"
        ),
    ):
        train(config, tmp_path)


def test_batch_that_cannot_be_shared_is_refused(config: ExperimentConfig, tmp_path: Path) -> None:
    line = "train.batch_size 2 cannot be shared by 1 devices × 3 accumulation steps: make it 3 or another multiple of 3"
    with pytest.raises(InputError, match=f"^{re.escape(line)}$"):
        train(replace(config, train={"accumulation_steps": 3}), tmp_path)


@pytest.mark.parametrize(
    ("devices", "batch_size", "mend"),
    [
        (8, 1, "make it 8 or another multiple of 8, or use fewer devices: --devices 1"),
        (8, 4, "make it 8 or another multiple of 8, or use fewer devices: --devices 4"),
        (3, 4, "make it 6 or another multiple of 3, or use fewer devices: --devices 2"),
    ],
)
def test_a_batch_that_devices_cannot_share_is_refused_with_both_ways_out(
    config: ExperimentConfig,
    devices: int,
    batch_size: int,
    mend: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(of_run, "make_mesh", lambda: types.SimpleNamespace(size=devices))
    line = f"train.batch_size {batch_size} cannot be shared by {devices} devices: {mend}"
    with pytest.raises(InputError, match=f"^{re.escape(line)}$"):
        train(replace(config, train={"batch_size": batch_size}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("devices", [0, 2])
def test_devices_that_are_not_there_are_refused(config: ExperimentConfig, devices: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"--devices {devices}: this machine has 1"):
        train(config, tmp_path, devices=devices)


def test_best_is_the_lowest_kid_in_the_log_also_when_continued(
    config: ExperimentConfig, counting: Callable[..., CountingStep], tmp_path: Path
) -> None:
    counting()
    frequent = replace(config, log={"scores_every": 4, "checkpoint_every": 4})
    train(frequent, tmp_path)
    kids = {row["images"]: row["kid"] for row in all_rows(tmp_path) if "kid" in row}
    assert set(kids) == {4, 8, 12, 16, 20, 24}
    best = min(kids, key=lambda images: kids[images])
    assert best != 24
    assert load_weights(tmp_path / "best.safetensors").images == best

    # From the last checkpoint but one, as if killed in the last step: the same rows, the same best.
    before = [row for row in all_rows(tmp_path) if "kid" in row]
    shutil.rmtree(tmp_path / "checkpoints" / "24")
    train(frequent, tmp_path)
    assert [row for row in all_rows(tmp_path) if "kid" in row] == before
    assert load_weights(tmp_path / "best.safetensors").images == best


@pytest.mark.parametrize(("limit", "said"), [(0.0, True), (1e9, False)])
def test_long_run_on_a_cpu_is_announced(
    config: ExperimentConfig,
    counting: Callable[..., CountingStep],
    tmp_path: Path,
    limit: float,
    said: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    counting()
    monkeypatch.setattr(step_monitor, "_LONG_RUN", limit)
    train(config, tmp_path)
    assert ("--exp demo" in capsys.readouterr().out) == said


def test_without_data_the_synthetic_set_is_used_and_the_paired_error_printed(
    config: ExperimentConfig,
    counting: Callable[..., CountingStep],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    counting()
    monkeypatch.setattr(
        pipeline,
        "synthetic_dataset",
        lambda size: synthetic_dataset(size, train_images=6, test_images=3, cache_dir=tmp_path / "cache"),
    )
    bitmoji_jax.train(replace(config, data={"dir": None}), tmp_path / "run")
    output = capsys.readouterr().out
    assert "built-in synthetic set" in output
    assert "bitmoji_jax prepare" in output
    assert "3 test faces" in output


@pytest.mark.parametrize("output", ["closed pipe", "full disk", "ASCII terminal"])
def test_a_run_whose_terminal_is_closed_is_saved_whatever_becomes_of_its_output(
    config: ExperimentConfig,
    counting: Callable[..., CountingStep],
    tmp_path: Path,
    output: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counting(signal_at=3)
    reader, writer = os.pipe()
    os.close(reader)
    if output != "closed pipe":
        os.close(writer)
    target = {"closed pipe": writer, "full disk": "/dev/full", "ASCII terminal": os.devnull}[output]
    with contextlib.suppress(OSError), open(target, "w", encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(Interrupted, match="saved at 6 images"):
            train(config, tmp_path)
    assert checkpoints(tmp_path) == {6}
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL


def test_under_nohup_a_run_goes_on_when_its_terminal_is_closed(
    config: ExperimentConfig, counting: Callable[..., CountingStep], tmp_path: Path
) -> None:
    counting(signal_at=3)
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        train(config, tmp_path)
    finally:
        signal.signal(signal.SIGHUP, former)
    assert checkpoints(tmp_path) == {12, 24}
