"""What is done with the metrics of each step: fetched one step late, logged, and checked to be finite."""

import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import rich.console

from bitmoji_jax.errors import RunError
from bitmoji_jax.ops.platform import on_cpu
from bitmoji_jax.progress import format_duration
from bitmoji_jax.training.metrics_log import MetricsLog, ProgressLine
from bitmoji_jax.training.objective import Metrics
from bitmoji_jax.training.profiler import WARM_UP_STEPS
from bitmoji_jax.training.train_step import Batch

_LONG_RUN = 3600.0  # seconds; a run on a CPU that will take longer says so


class Step(NamedTuple):
    """A dispatched step whose metrics have not been fetched yet."""

    images: int  # seen when it ends
    metrics: Metrics
    batch: Batch
    waited: float  # seconds, for the batch


class StepMonitor:
    """Fetches metrics one step late, logs them, and stops the run when they are not finite."""

    def __init__(
        self, workdir: Path, metrics_log: MetricsLog, progress: ProgressLine, console: rich.console.Console
    ) -> None:
        """Writes rows to `metrics_log`, the state to `progress`, and a batch that fails to `workdir`."""
        self._workdir = workdir
        self._metrics_log = metrics_log
        self._progress = progress
        self._console = console
        self._pending: Step | None = None
        self._times: list[tuple[float, int]] = []  # when the first steps ended, and at how many images

    def dispatched(self, step: Step) -> bool:
        """Fetches the metrics of the step before `step`; returns whether that completed a row of metrics.

        So no device waits for the host, and two steps at most are in flight.
        """
        row_complete = self.catch_up()
        self._pending = step
        return row_complete

    def catch_up(self) -> bool:
        """Fetches the metrics of the last step dispatched; returns whether it completed a row of metrics.

        Raises:
          RunError: a metric is not finite; the batch has been saved.
        """
        step, self._pending = self._pending, None
        if step is None:
            return False
        metrics = {name: float(value) for name, value in jax.device_get(step.metrics).items()}
        if bad := [name for name, value in metrics.items() if not math.isfinite(value)]:
            path = self._workdir / f"nonfinite_{step.images}_process{jax.process_index()}.npz"
            arrays: dict[str, Any] = {f"{d}_{k}": _local(a) for d, row in step.batch.items() for k, a in row.items()}
            np.savez(path, **arrays)
            raise RunError(
                f"{', '.join(bad)} not finite at {step.images:,} images: stopped. The batch is in {path}; the newest "
                "checkpoint is from before. A lower train.learning_rate in a new --workdir may help"
            )
        row = self._metrics_log.add(step.images, metrics, step.waited)
        self._progress.step(step.images)
        if row is not None:
            self._progress.row(row)
        if len(self._times) <= WARM_UP_STEPS:
            self._times.append((time.perf_counter(), step.images))
            if len(self._times) > WARM_UP_STEPS:
                self._warn_if_long()
        return row is not None

    def _warn_if_long(self) -> None:
        # Not from the first step on, which sample grids follow.
        (start, first), (end, last) = self._times[1], self._times[-1]
        left = (end - start) / (last - first) * (self._progress.total - last)
        if left > _LONG_RUN and on_cpu():
            self._console.print(
                f"This will take about {format_duration(left)} on this CPU. For a first result in minutes: --exp demo"
            )


def _local(array: jax.Array) -> np.ndarray:
    """The part of an array sharded along its first axis that this process holds."""
    return np.concatenate([shard.data for shard in array.addressable_shards])
