"""The output of a run while it trains: metrics.jsonl, TensorBoard, and a progress line in the terminal."""

import json
import math
import time
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import rich.console
import rich.progress
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from bitmoji_jax.files import write_atomic
from bitmoji_jax.progress import format_duration

_FLUSH = 30.0  # seconds between flushes of TensorBoard's file, which wait for the disk


class MetricsLog:
    """Averages step metrics over rows of `every` images, in metrics.jsonl and TensorBoard; writes scores in other rows.

    The sums of an unfinished row are part of a checkpoint (`sums`), and rows after the checkpoint are dropped when a
    run continues, so that an interrupted run writes the same rows as one that was not.
    """

    def __init__(
        self, workdir: Path | None, *, every: int, images: int, sums: dict[str, Any] | None, epoch_images: int
    ) -> None:
        """Opens the files of the run in `workdir` at `images` seen; `sums` are those of the checkpoint it continues.

        Without a workdir, on hosts other than the first, rows are only returned.
        """
        self._every = every
        self._epoch_images = epoch_images
        self._images = images
        self._steps = sums["steps"] if sums else 0
        self._totals: dict[str, float] = dict(sums["totals"]) if sums else {}
        self._started: float | None = None
        self._started_images = images
        self._waited = 0.0
        self._file: TextIO | None = None
        self._tensorboard: _TensorBoard | None = None
        if workdir is not None:
            path = workdir / "metrics.jsonl"
            _drop_rows_after(path, images)
            self._file = path.open("a", encoding="utf-8")
            self._tensorboard = _TensorBoard(workdir / "tensorboard", images)

    def sums(self) -> dict[str, Any]:
        """Returns the unfinished row, as JSON values."""
        return {"steps": self._steps, "totals": self._totals}

    def add(self, images: int, metrics: dict[str, float], waited: float) -> dict[str, float] | None:
        """Adds the metrics of the step that ended at `images`; returns a row when one is complete.

        `waited` is the time in seconds the step waited for its batch.
        """
        self._steps += 1
        if self._started is None:  # the first step compiles: the clock starts after it
            self._started, self._started_images = time.perf_counter(), images
        else:
            self._waited += waited
        for name, value in metrics.items():
            self._totals[name] = self._totals.get(name, 0.0) + value
        row_complete = images // self._every > self._images // self._every
        self._images = images
        if not row_complete:
            return None
        now = time.perf_counter()
        seconds = max(now - self._started, 1e-9)
        row = {
            "images": images,
            "epoch": images / self._epoch_images,
            **{name: total / self._steps for name, total in sorted(self._totals.items())},
            "images_per_second": (images - self._started_images) / seconds,
            "data_wait": self._waited / seconds,
        }
        self._write(row)
        self._steps, self._totals = 0, {}
        self._started, self._started_images, self._waited = now, images, 0.0
        return row

    def add_scores(self, images: int, scores: dict[str, float]) -> None:
        """Writes a row of scores, computed at `images` seen."""
        self._write({"images": images} | scores)

    def _write(self, row: dict[str, float]) -> None:
        if self._file is None or self._tensorboard is None:
            return
        self._file.write(json.dumps({name: v if math.isfinite(v) else None for name, v in row.items()}) + "\n")
        self._file.flush()
        for name in row.keys() - {"images"}:
            self._tensorboard.add(summary.scalar(name, row[name]), int(row["images"]))

    def add_picture(self, name: str, picture: np.ndarray, images: int) -> None:
        """Puts a uint8 [H, W, 3] picture into TensorBoard."""
        if self._tensorboard is not None:
            self._tensorboard.add(summary.image(name, picture, dataformats="HWC"), images)

    def close(self) -> None:
        """Flushes and closes the files."""
        if self._file is not None:
            self._file.close()
        if self._tensorboard is not None:
            self._tensorboard.close()


class _TensorBoard:
    """A file for TensorBoard. At an error tensorboardX's own writer ends its thread, and the run waits for ever."""

    def __init__(self, folder: Path, images: int) -> None:
        """Opens a new file in `folder`; a run that continues at `images` makes TensorBoard forget what came after."""
        folder.mkdir(exist_ok=True)
        self._file = EventsWriter(str(folder / "events"))
        self._flushed = time.monotonic()
        if images:
            session = SessionLog(status=SessionLog.START)
            self._file.write_event(Event(wall_time=time.time(), step=images + 1, session_log=session))

    def add(self, value: Any, images: int) -> None:
        """Writes a tensorboardX summary at `images` seen."""
        self._file.write_event(Event(wall_time=time.time(), step=images, summary=value))
        if time.monotonic() - self._flushed > _FLUSH:
            self._file.flush()
            self._flushed = time.monotonic()

    def close(self) -> None:
        """Writes what is left and closes the file."""
        self._file.close()


def _drop_rows_after(path: Path, images: int) -> None:
    if not path.exists():
        return
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:  # cut off in the middle by a kill; all that follows is newer than any checkpoint
            break
        if row["images"] <= images:
            rows.append(line + "\n")
    write_atomic(path, "".join(rows))


class ProgressLine:
    """Shows images, images/s, time left and losses: a live bar on a terminal, elsewhere one line a row of metrics."""

    def __init__(self, console: rich.console.Console, *, total: int, images: int) -> None:
        """Starts at `images` of `total`."""
        self._console = console
        self.total = total
        self._bar = rich.progress.Progress(
            rich.progress.BarColumn(bar_width=20),
            rich.progress.TextColumn("{task.completed:,}/{task.total:,} images"),
            rich.progress.TextColumn("{task.fields[rate]}"),
            rich.progress.TextColumn("{task.fields[losses]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("train", total=total, completed=images, rate="compiling", losses="")
        self._bar.start()

    def step(self, images: int) -> None:
        """Moves the bar to `images` seen."""
        self._bar.update(self._task, completed=images)

    def row(self, row: dict[str, float]) -> None:
        """Shows a row of metrics."""
        images = int(row["images"])
        left = (self.total - images) / row["images_per_second"] if row["images_per_second"] else math.inf
        rate = f"{row['images_per_second']:.3g} images/s · {format_duration(left)} left"
        named = {name.removeprefix("loss_"): value for name, value in row.items() if name.startswith("loss_")}
        losses = " · ".join(f"{name} {value:.3f}" for name, value in named.items())
        losses += f" · waiting for data {row['data_wait']:.0%}"
        self._bar.update(self._task, rate=rate, losses=losses)
        if not self._console.is_terminal:
            self._console.print(f"{images:,}/{self.total:,} images · {rate} · {losses}", soft_wrap=True)

    def close(self) -> None:
        """Stops updating the bar and leaves it on the screen."""
        self._bar.stop()
