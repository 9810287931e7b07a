"""What is saved is what is restored; what is damaged is set aside."""

import io
import resource
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import rich.console

from bitmoji_jax.config import ExperimentConfig
from bitmoji_jax.data.pipeline import open_dataset, train_batches
from bitmoji_jax.errors import InputError, RunError
from bitmoji_jax.training.checkpoint import Checkpointer
from bitmoji_jax.training.train_step import create_train_state, make_mesh

PROGRESS = {"sums": {"steps": 1, "totals": {"cycle_x": 0.1}}, "sizes": {"trainA": 12}}


class Run:
    """State, pools and data of a tiny run, without training."""

    def __init__(self, config: ExperimentConfig, folder: Path) -> None:
        self.folder = folder
        self.console = rich.console.Console(file=io.StringIO(), width=200)
        self.state, self.pools = create_train_state(config, make_mesh())
        self.data = train_batches(open_dataset(config.data), config.data, batch_size=2, seed=0, mesh=make_mesh())

    def open(self) -> Checkpointer:
        return Checkpointer(self.folder, keep=2, console=self.console)

    def save_at(self, checkpoints: Checkpointer, images: int) -> None:
        """Saves a state whose EMA is filled with `images`, so that it can be told from the others."""
        state = self.state.replace(
            images=jax.device_put(np.int32(images), self.state.images.sharding),
            ema=jax.tree.map(lambda leaf: leaf * 0 + images, self.state.ema),
        )
        checkpoints.save(state, self.pools, self.data, PROGRESS)

    def said(self) -> str:
        file: Any = self.console.file
        return file.getvalue()


@pytest.fixture
def run(tiny_config: ExperimentConfig, tmp_path: Path) -> Run:
    return Run(tiny_config, tmp_path / "checkpoints")


def damage(folder: Path) -> None:
    """Cuts every file with arrays in two."""
    files = [path for path in (folder / "state").rglob("*") if path.is_file()]
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_round_trip_and_only_the_newest_are_kept(run: Run) -> None:
    for _ in range(3):
        next(run.data)
    with run.open() as checkpoints:
        for images in (2, 4, 6):
            run.save_at(checkpoints, images)
    expected = next(run.data)
    assert {path.name for path in run.folder.iterdir()} == {"4", "6"}

    next(run.data)
    with run.open() as checkpoints:
        restored = checkpoints.restore(run.state, run.pools, run.data)
    assert restored is not None
    assert int(restored.state.images) == 6
    assert all(np.all(leaf == 6) for leaf in jax.tree.leaves(restored.state.ema))
    saved, back = run.state.generators, restored.state.generators
    jax.tree.map(np.testing.assert_array_equal, saved, back)
    assert restored.progress["sums"] == PROGRESS["sums"]
    assert restored.progress["sizes"] == PROGRESS["sizes"]
    shardings = jax.tree.map(lambda a, b: a.sharding == b.sharding, (run.state, run.pools), restored[:2])
    assert all(jax.tree.leaves(shardings))  # anything else would cost a second trace
    jax.tree.map(np.testing.assert_array_equal, next(run.data), expected)


def test_nothing_to_restore(run: Run) -> None:
    with run.open() as checkpoints:
        assert checkpoints.restore(run.state, run.pools, run.data) is None


def test_damaged_newest_falls_back_to_the_one_before_and_says_so(run: Run) -> None:
    with run.open() as checkpoints:
        run.save_at(checkpoints, 2)
        run.save_at(checkpoints, 4)
    damage(run.folder / "4")
    with run.open() as checkpoints:
        restored = checkpoints.restore(run.state, run.pools, run.data)
        assert restored is not None
        assert int(restored.state.images) == 2
        assert "Checkpoint 4 is damaged" in run.said()
        run.save_at(checkpoints, 4)  # its place is free again
    with run.open() as checkpoints:
        restored = checkpoints.restore(run.state, run.pools, run.data)
    assert restored is not None
    assert int(restored.state.images) == 4


def test_all_damaged_is_an_error_and_not_a_new_beginning(run: Run) -> None:
    with run.open() as checkpoints:
        run.save_at(checkpoints, 2)
    damage(run.folder / "2")
    with run.open() as checkpoints, pytest.raises(InputError, match="--overwrite"):
        checkpoints.restore(run.state, run.pools, run.data)


def test_another_number_of_devices_is_an_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with run.open() as checkpoints:
        run.save_at(checkpoints, 2)
    monkeypatch.setattr(jax, "device_count", lambda: 3)
    with run.open() as checkpoints, pytest.raises(InputError, match="used 1 devices, here are 3"):
        checkpoints.restore(run.state, run.pools, run.data)
    assert (run.folder / "2").exists()


def test_full_disk_is_noticed_before_writing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with run.open() as checkpoints:
        run.save_at(checkpoints, 2)
        checkpoints.wait()
        usage = shutil.disk_usage(run.folder)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
        with pytest.raises(RunError, match="the disk has 0 MB left; the checkpoint at 2 images is intact"):
            run.save_at(checkpoints, 4)
    assert {path.name for path in run.folder.iterdir()} == {"2"}


# Orbax leaves the writes that were under way unawaited.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:coroutine:RuntimeWarning")
def test_failed_save_leaves_the_checkpoint_before_intact_and_says_so(run: Run) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    with run.open() as checkpoints:
        run.save_at(checkpoints, 2)
    try:
        # No file may grow past 1 kB: as on a full disk, writes of arrays fail.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
        with pytest.raises(RunError, match="the checkpoint at 2 images is intact"), run.open() as checkpoints:
            run.save_at(checkpoints, 4)  # in the background: closing waits for it, and hears of the failure
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    with run.open() as checkpoints:
        restored = checkpoints.restore(run.state, run.pools, run.data)
    assert restored is not None
    assert int(restored.state.images) == 2
