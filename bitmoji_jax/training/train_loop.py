"""The loop: from a configuration and a folder to a finished, interrupted or continued run."""

import dataclasses
import functools
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import rich.console

from bitmoji_jax.cache import use_compilation_cache
from bitmoji_jax.config import ExperimentConfig
from bitmoji_jax.data.pipeline import Dataset, abstract_batch, open_dataset, train_batches
from bitmoji_jax.distributed import CONTINUE
from bitmoji_jax.errors import InputError, RunError
from bitmoji_jax.inference.translator import make_translate
from bitmoji_jax.inference.weights import BEST, Weights, save_weights
from bitmoji_jax.metrics.paired import paired_error
from bitmoji_jax.parallel import local, make_mesh
from bitmoji_jax.progress import format_duration
from bitmoji_jax.training.checkpoint import Checkpointer
from bitmoji_jax.training.metrics_log import MetricsLog, ProgressLine
from bitmoji_jax.training.objective import Metrics
from bitmoji_jax.training.profiler import WARM_UP_STEPS, Profiler
from bitmoji_jax.training.samples import Sampler
from bitmoji_jax.training.stop_signal import StopSignal
from bitmoji_jax.training.train_state import TrainState, abstract_train_state, create_train_state
from bitmoji_jax.training.train_step import Batch, lower_train_step
from bitmoji_jax.training.validation import LoopScores
from bitmoji_jax.training.workdir import claimed

_LONG_RUN = 3600.0  # seconds; a plain CPU that will take longer says so
_MEETING_MS = 900_000  # for all processes to have compiled the step


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM came, and the run was saved."""


def train(
    config: ExperimentConfig, workdir: str | os.PathLike[str], *, overwrite: bool = False, profile_steps: int = 0
) -> None:
    """Trains to the end of the schedule, continuing the run in `workdir` if there is one.

    Writes config.json, checkpoints/, best.safetensors (where KID can be had), metrics.jsonl, tensorboard/ and samples/
    there. On several hosts each calls this
    after `jax.distributed.initialize()`, with a workdir that all of them share.

    Args:
      config: the experiment.
      workdir: the run's folder.
      overwrite: remove the run in `workdir` and start again.
      profile_steps: steps to record with the JAX profiler, into `workdir`/profile.

    Raises:
      InputError: the configuration contradicts the run in `workdir`, or does not fit the data or the devices.
      RunError: a loss is no longer finite, or a file can't be written.
      Interrupted: a signal came, and the run was saved.
    """
    workdir = Path(workdir)
    # Without markup: what stands in brackets, in a path or in bitmoji-jax[eval], is to be seen.
    console = rich.console.Console(quiet=jax.process_index() > 0, highlight=False, soft_wrap=True, markup=False)
    _check_batch(config)
    use_compilation_cache()
    with claimed(workdir, config, overwrite=overwrite):
        dataset = open_dataset(config.data)
        if dataset.paired_test:
            console.print(
                "Training on the built-in synthetic set: drawn faces, no photos. For your own pictures: python -m "
                "bitmoji_jax prepare --photos DIR --avatars DIR --out data/mine, then add --data.dir data/mine"
            )
        console.print(_describe(config, dataset, workdir))
        try:
            _train(config, workdir, dataset, console, profile_steps)
        except OSError as error:
            raise RunError(f"the run stopped: {error}. Its newest checkpoint in {workdir} is intact") from error
        except jax.errors.JaxRuntimeError as error:
            if jax.process_count() == 1:
                raise
            reason = str(error).strip().split("\n")[0]
            raise RunError(
                f"this process and the others can't go on ({reason}): one may be lost. {CONTINUE}"
            ) from error


def _train(
    config: ExperimentConfig, workdir: Path, dataset: Dataset, console: rich.console.Console, profile_steps: int
) -> None:
    train_config, log = config.train, config.log
    total = train_config.total_images(dataset.epoch_images)

    mesh = make_mesh()
    translate = make_translate(config)
    loop_scores: LoopScores | None = None
    best: dict[str, float] | None = None

    with ExitStack() as stack:
        checkpoints = stack.enter_context(
            Checkpointer(workdir / "checkpoints", keep=log.keep_checkpoints, console=console)
        )
        abstract = abstract_train_state(config, mesh)
        restored = checkpoints.restore(*abstract)
        start = 0
        sums: dict[str, Any] | None = None
        if restored is not None:
            state, pools = restored.state, restored.pools
            start = int(state.images)
            sums, best = restored.progress["sums"], restored.progress.get("best")
            _check_dataset(dataset, restored.progress["sizes"])
            console.print(f"Continuing at {start:,} of {total:,} images")
        if start < total:
            # Compiled while everything else is made ready, once nothing speaks against this run.
            batch = abstract_batch(dataset, train_config.batch_size, mesh)
            lowered = lower_train_step(config, dataset.epoch_images, batch, *abstract)
            compiling = stack.enter_context(ThreadPoolExecutor(1)).submit(lowered.compile)
        if restored is None:
            state, pools = create_train_state(config, mesh)
        sampler = Sampler(config, dataset, workdir / "samples")
        images = start
        batches = train_batches(
            dataset,
            config.data,
            batch_size=train_config.batch_size,
            seed=train_config.seed,
            mesh=mesh,
            start=images // train_config.batch_size,
        )
        metrics_log = stack.enter_context(
            closing(
                MetricsLog(
                    workdir if jax.process_index() == 0 else None,
                    every=log.metrics_every,
                    images=images,
                    sums=sums,
                    epoch_images=dataset.epoch_images,
                )
            )
        )
        progress = stack.enter_context(closing(ProgressLine(console, total=total, images=images)))
        watch = _Watch(workdir, metrics_log, progress, console)
        profiler = stack.enter_context(closing(Profiler(workdir / "profile", profile_steps)))
        stop = stack.enter_context(StopSignal(console))

        def samples(state: TrainState, images: int) -> None:
            for name, picture in sampler.save(local(state), images).items():
                metrics_log.add_picture(name, picture, images)

        def take_scores() -> None:
            nonlocal best
            if loop_scores is None:
                return
            ema = local(state.ema)
            x2y, y2x = (functools.partial(translate, ema[name]) for name in ("g", "f"))
            scores = loop_scores(x2y, images)
            metrics_log.add_scores(images, scores)
            if "kid" in scores and (best is None or scores["kid"] < best["kid"]):
                best = {"kid": scores["kid"], "images": images}
                guard = loop_scores.guard(x2y, y2x)
                save_weights(workdir / BEST, Weights(config, images, jax.device_get(ema), guard))

        # A copy, because the first step takes the arrays of the state it starts from.
        initial = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree))(state) if start == 0 else None
        if start < total:
            train_step = compiling.result()
            # Together: those that come to the first sum over all devices wait there for 30 s only, on CPUs.
            ocp.multihost.get_barrier_sync_fn()(key="train step compiled", timeout_ms=_MEETING_MS)
        while images < total:
            profiler.step(state)
            started = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - started
            state, pools, metrics = train_step(state, pools, batch)
            before, images = images, images + train_config.batch_size
            # Looks at the step before while this one runs: no device waits for the host, and two steps at most are
            # in flight.
            row_complete = watch.dispatched(_Step(images, metrics, batch, waited))
            if before == start:
                # The first step is there, and said to be, before anything is done that it need not wait for.
                row_complete |= watch.catch_up()
                if initial is not None:
                    samples(initial, 0)
                    initial = None
                if jax.process_index() == 0:
                    # One process looks, the others go on to the next step and wait for it there.
                    loop_scores = LoopScores(dataset, config.data.image_size, console)

            stopping = stop.agreed(row_complete)
            checkpoint_due = _passed(log.checkpoint_every, before, images) or images >= total or stopping
            samples_due = _passed(log.samples_every, before, images) or images >= total
            scores_due = _passed(log.scores_every, before, images) or images >= total
            if checkpoint_due or samples_due or scores_due:
                watch.catch_up()
            if scores_due:
                take_scores()
            if samples_due:
                samples(state, images)
            if checkpoint_due:
                progress_so_far = {"sums": metrics_log.sums(), "sizes": dataset.sizes(), "best": best}
                checkpoints.save(state, pools, progress_so_far)
            if stopping:
                checkpoints.wait()
                raise Interrupted(f"saved at {images:,} images in {workdir}; the same command continues")
    if dataset.paired_test:
        _print_paired_error(functools.partial(translate, local(state.ema["g"])), dataset, console)
    if best is not None:
        kid = f"{1000 * best['kid']:.0f} at {best['images']:,} images"
        console.print(f"Lowest KID × 1000, training images: {kid}. Those weights are in {workdir / BEST}")
    console.print(f"Done: {images:,} images. Sample grids are in {workdir / 'samples'}")


def _check_batch(config: ExperimentConfig) -> None:
    parts = jax.device_count() * config.train.accumulation_steps
    if config.train.batch_size % parts:
        raise InputError(
            f"train.batch_size {config.train.batch_size} can't be shared evenly by {jax.device_count()} devices × "
            f"{config.train.accumulation_steps} accumulation steps; make it a multiple of {parts}"
        )


def _check_dataset(dataset: Dataset, sizes: dict[str, int]) -> None:
    if dataset.sizes() != sizes:
        raise InputError(
            f"the dataset has changed since the run began: {sizes} then, {dataset.sizes()} now; "
            "put the old one back, use another --workdir, or --overwrite to start again"
        )


def _describe(config: ExperimentConfig, dataset: Dataset, workdir: Path) -> str:
    sizes = " · ".join(f"{name} {count:,}" for name, count in dataset.sizes().items())
    devices = f"{jax.device_count()} × {jax.devices()[0].device_kind}"
    return f"{sizes} · {config.data.image_size} px · {devices} · {workdir}"


def _passed(every: int, before: int, images: int) -> bool:
    """Whether a multiple of `every` lies in (before, images]."""
    return images // every > before // every


def _print_paired_error(
    translate: Callable[[np.ndarray], np.ndarray], dataset: Dataset, console: rich.console.Console
) -> None:
    pairs = dataset.test_pairs()
    photos = np.stack([dataset.read("testA", i)["image"] for i, _ in pairs])
    avatars = np.stack([dataset.read("testB", i)["image"] for _, i in pairs])
    error = paired_error(translate(photos), photos, avatars, dataset.mean_image("trainB"))
    console.print(
        f"Mean absolute error from the true avatar, {len(pairs)} test faces, grey levels of 255: "
        f"translated {error.translated.mean():.1f} · the mean avatar for everybody {error.mean_avatar.mean():.1f} · "
        f"the photo itself {error.copied.mean():.1f}"
    )


def _here(array: jax.Array) -> np.ndarray:
    """What this process holds of an array whose first axis is that of the devices."""
    return np.concatenate([shard.data for shard in array.addressable_shards])


@dataclasses.dataclass(frozen=True)
class _Step:
    """A dispatched step whose metrics have not been looked at yet."""

    images: int
    metrics: Metrics
    batch: Batch
    waited: float


class _Watch:
    """Fetches metrics one step late, logs them, and stops the run when they are not finite."""

    def __init__(
        self, workdir: Path, metrics_log: MetricsLog, progress: ProgressLine, console: rich.console.Console
    ) -> None:
        self._workdir = workdir
        self._metrics_log = metrics_log
        self._progress = progress
        self._console = console
        self._pending: _Step | None = None
        self._times: list[tuple[float, int]] = []  # when the first steps ended, and at how many images

    def dispatched(self, step: _Step) -> bool:
        """Looks at the step before `step`; returns whether that completed a row of metrics."""
        row_complete = self.catch_up()
        self._pending = step
        return row_complete

    def catch_up(self) -> bool:
        """Looks at the last step dispatched; returns whether it completed a row of metrics."""
        step, self._pending = self._pending, None
        if step is None:
            return False
        metrics = {name: float(value) for name, value in jax.device_get(step.metrics).items()}
        if bad := [name for name, value in metrics.items() if not math.isfinite(value)]:
            path = self._workdir / f"nonfinite_{step.images}_process{jax.process_index()}.npz"
            arrays: dict[str, Any] = {f"{d}_{k}": _here(a) for d, row in step.batch.items() for k, a in row.items()}
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
        if left > _LONG_RUN and jax.default_backend() == "cpu":
            self._console.print(
                f"This will take about {format_duration(left)} on this CPU. For a first result in minutes: "
                "python launch.py --exp demo"
            )
