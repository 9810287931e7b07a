"""What is saved is what is restored, on other devices too; what is damaged is set aside."""

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
from bitmoji_jax.errors import InputError, RunError
from bitmoji_jax.parallel import make_mesh
from bitmoji_jax.training.checkpoint import Checkpointer, redeal
from bitmoji_jax.training.image_pool import ImagePool
from bitmoji_jax.training.train_state import create_train_state
from bitmoji_jax.training.translate_stage import translate_stage

PROGRESS = {"sums": {"steps": 1, "totals": {"cycle_x": 0.1}}, "sizes": {"trainA": 12}}


class Run:
    """State and pools of a tiny run, without training."""

    def __init__(self, config: ExperimentConfig, folder: Path) -> None:
        self.folder = folder
        self.console = rich.console.Console(file=io.StringIO(), width=200)
        self.state, self.pools = create_train_state(translate_stage(config, 12), make_mesh())

    def open(self) -> Checkpointer:
        return Checkpointer(self.folder, keep=2, console=self.console)

    def save_at(self, checkpoints: Checkpointer, images: int) -> None:
        """Saves a state whose EMA is filled with `images`, so that it can be told from the others."""
        state = self.state.replace(
            images=jax.device_put(np.int32(images), self.state.images.sharding),
            ema=jax.tree.map(lambda leaf: leaf * 0 + images, self.state.ema),
        )
        checkpoints.save(state, self.pools, PROGRESS)

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
    with run.open() as checkpoints:
        for images in (2, 4, 6):
            run.save_at(checkpoints, images)
    assert {path.name for path in run.folder.iterdir()} == {"4", "6"}

    with run.open() as checkpoints:
        restored = checkpoints.restore(run.state, run.pools)
    assert restored is not None
    assert int(restored.state.images) == 6
    assert all(np.all(leaf == 6) for leaf in jax.tree.leaves(restored.state.ema))
    saved, back = run.state.generators, restored.state.generators
    jax.tree.map(np.testing.assert_array_equal, saved, back)
    assert restored.progress["sums"] == PROGRESS["sums"]
    assert restored.progress["sizes"] == PROGRESS["sizes"]
    shardings = jax.tree.map(lambda a, b: a.sharding == b.sharding, (run.state, run.pools), restored[:2])
    assert all(jax.tree.leaves(shardings))  # anything else would cost a second trace


def test_nothing_to_restore(run: Run) -> None:
    with run.open() as checkpoints:
        assert checkpoints.restore(run.state, run.pools) is None


def test_damaged_newest_falls_back_to_the_one_before_and_says_so(run: Run) -> None:
    with run.open() as checkpoints:
        run.save_at(checkpoints, 2)
        run.save_at(checkpoints, 4)
    damage(run.folder / "4")
    with run.open() as checkpoints:
        restored = checkpoints.restore(run.state, run.pools)
        assert restored is not None
        assert int(restored.state.images) == 2
        assert "Checkpoint 4 is damaged" in run.said()
        run.save_at(checkpoints, 4)  # its place is free again
    with run.open() as checkpoints:
        restored = checkpoints.restore(run.state, run.pools)
    assert restored is not None
    assert int(restored.state.images) == 4


def test_all_damaged_is_an_error_and_not_a_new_beginning(run: Run) -> None:
    with run.open() as checkpoints:
        run.save_at(checkpoints, 2)
    damage(run.folder / "2")
    with run.open() as checkpoints, pytest.raises(InputError, match="--overwrite"):
        checkpoints.restore(run.state, run.pools)


def pool_of(counts: list[int], size: int) -> ImagePool:
    """Pools of 1x1 images; the one in slot s of device d is all 100 d + s + 1."""
    images = np.zeros((len(counts), size, 1, 1, 3), np.float32)
    for device, count in enumerate(counts):
        images[device, :count] = (100 * device + 1 + np.arange(count))[:, None, None, None]
    return ImagePool(images=images, count=np.array(counts, np.int32))  # type: ignore[arg-type]


def dealt(pool: ImagePool) -> list[list[int]]:
    """The images of each pool; those past its count must be 0."""
    numbers = np.asarray(pool.images)[:, :, 0, 0, 0].astype(int)
    for row, count in zip(numbers, pool.count, strict=True):
        assert (row[:count] > 0).all()
        assert (row[count:] == 0).all()
    return [row[:count].tolist() for row, count in zip(numbers, np.asarray(pool.count), strict=True)]


@pytest.mark.parametrize(
    ("counts", "devices", "expected"),
    [
        ([3, 3], 4, [[1, 3], [101, 103], [2], [102]]),  # grown: partly filled, nothing lost
        ([3, 3], 1, [[1, 101, 2]]),  # shrunk: as many of each, and no more than a pool holds
        ([2, 1], 2, [[1, 2], [101]]),  # as it was
        ([0, 0], 3, [[], [], []]),
        ([1, 3], 3, [[1, 103], [101], [102]]),  # filled unevenly, as after growing
    ],
)
def test_pools_are_dealt_out_in_turn(counts: list[int], devices: int, expected: list[list[int]]) -> None:
    new = redeal(pool_of(counts, 3), devices)
    assert new.images.shape == (devices, 3, 1, 1, 3)
    assert dealt(new) == expected


def test_a_pool_of_no_images_is_dealt_out_too() -> None:
    assert redeal(pool_of([0, 0], 0), 4).images.shape == (4, 0, 1, 1, 3)


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
        restored = checkpoints.restore(run.state, run.pools)
    assert restored is not None
    assert int(restored.state.images) == 2
