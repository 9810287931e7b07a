"""The loop: from a configuration and a folder to a finished, interrupted or continued run."""

import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import rich.console
from jax.sharding import Mesh

from bitmoji_jax.cache import use_compilation_cache
from bitmoji_jax.config import ExperimentConfig
from bitmoji_jax.console import make_console
from bitmoji_jax.data.pipeline import Dataset, abstract_batch, open_dataset, train_batches
from bitmoji_jax.distributed import CONTINUE
from bitmoji_jax.errors import RunError
from bitmoji_jax.inference.translator import make_translate
from bitmoji_jax.inference.weights import BEST
from bitmoji_jax.metrics.images import paired_error
from bitmoji_jax.models.networks import Params, photo_to_avatar
from bitmoji_jax.ops.batching import resized
from bitmoji_jax.parallel import local
from bitmoji_jax.training.checkpoint import Checkpointer
from bitmoji_jax.training.devices import check_batches, mesh_of
from bitmoji_jax.training.metrics_log import MetricsLog, ProgressLine
from bitmoji_jax.training.profiler import Profiler
from bitmoji_jax.training.samples import Sampler
from bitmoji_jax.training.stage import Batch, Stage
from bitmoji_jax.training.stages import make_stage, stage_folder, stage_names
from bitmoji_jax.training.step_monitor import Step, StepMonitor
from bitmoji_jax.training.stop_signal import StopSignal
from bitmoji_jax.training.train_state import Pools, TrainState, abstract_train_state, create_train_state
from bitmoji_jax.training.train_step import TrainStep, lower_train_step
from bitmoji_jax.training.validation import Validation
from bitmoji_jax.training.warm_start import Start, load_start, start_from
from bitmoji_jax.training.workdir import claimed, record

_COMPILED_MS = 900_000  # for all processes to have compiled the step


class Interrupted(KeyboardInterrupt):
    """SIGINT, SIGTERM or SIGHUP came, and the run was saved."""


class Hook(NamedTuple):
    """Something that is done between two steps, whenever a multiple of `every` images is passed, and at the end."""

    every: int
    call: Callable[[TrainState, Pools, int], None]  # with the images seen
    when_stopping: bool = False  # also before an interrupted run ends


def train(
    config: ExperimentConfig,
    workdir: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    profile_steps: int = 0,
    devices: int | None = None,
) -> None:
    """Trains to the end of the schedule, continuing the run in `workdir` if there is one.

    Writes config.json, checkpoints/, best.safetensors, metrics.jsonl, tensorboard/ and samples/ there. On several hosts
    each calls this after `jax.distributed.initialize()`, with a workdir that all of them share.

    Args:
      config: the experiment.
      workdir: the run's folder.
      overwrite: remove the run in `workdir` and start again.
      profile_steps: steps to record with the JAX profiler, into `workdir`/profile.
      devices: how many of this process's devices to train on; None: all, and those of the other processes.

    Raises:
      InputError: the configuration contradicts the run in `workdir`, or does not fit the data or the devices.
      RunError: a loss is no longer finite, or a file cannot be written.
      Interrupted: a signal came, and the run was saved.
    """
    workdir = Path(workdir)
    console = make_console(quiet=jax.process_index() > 0)
    mesh = mesh_of(devices)
    check_batches(config, mesh.size)
    use_compilation_cache()
    with claimed(workdir, config, overwrite=overwrite, console=console):
        dataset = open_dataset(config.data)
        record(workdir, config, dataset)
        if dataset.paired_test:
            console.print(
                "Training on the built-in synthetic set: drawn faces, no photos. For your own pictures: python -m "
                "bitmoji_jax prepare --photos DIR --avatars DIR --out data/mine, then add --data.dir data/mine"
            )
        console.print(_describe(config, dataset, mesh, workdir))
        try:
            _train(config, workdir, dataset, mesh, console, profile_steps)
        except OSError as error:
            raise RunError(f"the run stopped: {error}. Its newest checkpoint in {workdir} is intact") from error
        except jax.errors.JaxRuntimeError as error:
            if jax.process_count() == 1:
                raise
            reason = str(error).strip().split("\n")[0]
            raise RunError(
                f"this process and the others cannot go on ({reason}): one may be lost. {CONTINUE}"
            ) from error


def _train(
    config: ExperimentConfig,
    workdir: Path,
    dataset: Dataset,
    mesh: Mesh,
    console: rich.console.Console,
    profile_steps: int,
) -> None:
    networks: dict[str, Params] = {}
    titles = stage_names(config)
    for number, title in enumerate(titles, 1):
        stage = make_stage(config, title, networks, dataset)
        if len(titles) > 1:
            console.print(f"Stage {number} of {len(titles)}: {title}")
        state = _train_stage(config, stage, workdir, dataset, mesh, console, profile_steps, networks)
        trained = stage.networks_of(local(state.ema), local(state.frozen))
        networks |= trained
    if dataset.paired_test:
        _print_paired_error(config, trained, dataset, mesh, console)


def _train_stage(
    config: ExperimentConfig,
    stage: Stage,
    workdir: Path,
    dataset: Dataset,
    mesh: Mesh,
    console: rich.console.Console,
    profile_steps: int,
    earlier: Mapping[str, Params],
) -> TrainState:
    """Trains a stage to its end in its folder, continuing what is there; returns its last state.

    `earlier` are the networks of the stages before, which `train.init_from` does not replace.
    """
    log, folder = config.log, stage_folder(workdir, stage.name)
    batch_size, total = stage.schedule.batch_size, stage.schedule.total

    with ExitStack() as stack:
        checkpoints = stack.enter_context(
            Checkpointer(folder / "checkpoints", keep=log.keep_checkpoints, console=console)
        )
        abstract = abstract_train_state(stage, mesh)
        restored = checkpoints.restore(*abstract)
        start, progress_before = 0, {}
        if restored is not None:
            start, progress_before = int(restored.state.images), restored.progress
            rate = f", learning rate {float(stage.schedule.rate(restored.state.images)):.3g}" if start < total else ""
            console.print(f"Continuing at {start:,} of {total:,} images{rate}")
        elif (source := config.train.init_from) is not None:
            begin = load_start(source)
        if start < total:
            # Compiled in the background, once the checkpoint has been read and agrees.
            batch = abstract_batch(dataset, batch_size, mesh)
            lowered = lower_train_step(stage, batch, *abstract)
            compiling = stack.enter_context(ThreadPoolExecutor(1)).submit(lowered.compile)
        if restored is None:
            state, pools = create_train_state(stage, mesh)
            state = start_from(state, Start(stage.start(), {}), "the stage before")
            if source is not None:
                new = {name: params for name, params in begin.networks.items() if name not in earlier}
                state = start_from(state, Start(new, begin.critics), source)
                if start < total and (missing := sorted(state.discriminators.keys() - begin.critics.keys())):
                    console.print(f"{source} has no critics {', '.join(missing)}: they start from noise")
        else:
            state, pools = restored.state, restored.pools

        metrics_log = stack.enter_context(
            closing(
                MetricsLog(
                    folder if jax.process_index() == 0 else None,
                    every=log.metrics_every,
                    images=start,
                    sums=progress_before.get("sums"),
                    epoch_images=dataset.epoch_images,
                )
            )
        )
        sampler = Sampler(config, stage, dataset, folder / "samples")
        best = progress_before.get("best")
        validation = Validation(config, stage, dataset, folder, console, mesh.local_devices, best=best)

        def save_samples(state: TrainState, pools: Pools, images: int) -> None:
            del pools
            for name, picture in sampler.save(local(state), images).items():
                metrics_log.add_picture(name, picture, images)

        def validate(state: TrainState, pools: Pools, images: int) -> None:
            del pools
            if jax.process_index() == 0:  # the others go on to the next step and wait for this one there
                metrics_log.add_scores(images, validation(local(state), images))

        def save_checkpoint(state: TrainState, pools: Pools, images: int) -> None:
            del images
            progress = {"sums": metrics_log.sums(), "best": validation.best}
            checkpoints.save(state, pools, progress)

        if start < total:
            progress_line = stack.enter_context(closing(ProgressLine(console, total=total, images=start)))
            batches = train_batches(
                dataset,
                config.data,
                batch_size=batch_size,
                seed=stage.seed,
                mesh=mesh,
                start=start // batch_size,
            )
            # A copy, because the first step takes the arrays of the state it starts from.
            initial = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree))(state) if start == 0 else None
            profiler = stack.enter_context(closing(Profiler(folder / "profile", profile_steps)))
            stop = stack.enter_context(StopSignal(console))
            train_step = compiling.result()
            # Together: a process that comes to the first sum over all devices waits there for 30 s only, on CPUs.
            ocp.multihost.get_barrier_sync_fn()(key=f"{stage.name} step compiled", timeout_ms=_COMPILED_MS)
            state, stopped_at = run_steps(
                train_step,
                state,
                pools,
                batches,
                images=start,
                total=total,
                batch_size=batch_size,
                monitor=StepMonitor(folder, metrics_log, progress_line, console),
                # In this order: a checkpoint holds the best score so far.
                hooks=(
                    Hook(log.scores_every, validate),
                    Hook(log.samples_every, save_samples),
                    Hook(log.checkpoint_every, save_checkpoint, when_stopping=True),
                ),
                stop=stop,
                profiler=profiler,
                # Drawn after the first step, which need not wait for them.
                after_first_step=lambda: None if initial is None else save_samples(initial, pools, 0),
            )
            if stopped_at is not None:
                checkpoints.wait()
                raise Interrupted(f"saved at {stopped_at:,} images in {folder}; the same command continues")
    if validation.best is not None:
        kid = f"{1000 * validation.best['kid']:.0f} at {validation.best['images']:,} images"
        console.print(f"Lowest KID × 1000, training images: {kid}. Those weights are in {folder / BEST}")
    console.print(f"Done: {total:,} images. Sample grids are in {folder / 'samples'}")
    return state


def run_steps(
    train_step: TrainStep,
    state: TrainState,
    pools: Pools,
    batches: Iterator[Batch],
    *,
    images: int,
    total: int,
    batch_size: int,
    monitor: StepMonitor,
    hooks: Sequence[Hook],
    stop: StopSignal,
    profiler: Profiler,
    after_first_step: Callable[[], None],
) -> tuple[TrainState, int | None]:
    """Steps from `images` to `total` images, or until a signal, and calls the hooks that are due in between.

    Returns:
      The last state, and the images seen where a signal ended it before `total`, else None.
    """
    start = images
    while images < total:
        profiler.step(state)
        started = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter() - started
        state, pools, metrics = train_step(state, pools, batch)
        before, images = images, images + batch_size
        row_complete = monitor.dispatched(Step(images, metrics, batch, waited))
        if before == start:
            row_complete |= monitor.catch_up()
            after_first_step()
        stopping = stop.agreed(row_complete)
        due = [
            hook
            for hook in hooks
            if images // hook.every > before // hook.every or images >= total or (stopping and hook.when_stopping)
        ]
        if due:
            monitor.catch_up()
        for hook in due:
            hook.call(state, pools, images)
        if stopping:
            return state, images
    return state, None


def _describe(config: ExperimentConfig, dataset: Dataset, mesh: Mesh, workdir: Path) -> str:
    sizes = " · ".join(f"{name} {count:,}" for name, count in dataset.sizes().items())
    devices = f"{mesh.size} × {mesh.devices[0].device_kind}"
    return f"{sizes} · {config.data.image_size} px · {devices} · {workdir}"


def _print_paired_error(
    config: ExperimentConfig, networks: dict[str, Params], dataset: Dataset, mesh: Mesh, console: rich.console.Console
) -> None:
    pairs = dataset.test_pairs()
    photos = np.stack([dataset.read("testA", i)["image"] for i, _ in pairs])
    avatars = np.stack([dataset.read("testB", i)["image"] for _, i in pairs])
    translated = make_translate(functools.partial(photo_to_avatar, config), mesh.local_devices)(networks, photos)
    size = translated.shape[1]
    mean_avatar = resized(np.rint(dataset.mean_image("trainB"))[None].astype(np.uint8), size)[0]
    error = paired_error(translated, resized(photos, size), resized(avatars, size), mean_avatar)
    console.print(
        f"Mean absolute error from the true avatar, {len(pairs)} test faces, grey levels of 255: "
        f"translated {error.translated.mean():.1f} · the mean avatar for everybody {error.mean_avatar.mean():.1f} · "
        f"the photo itself {error.copied.mean():.1f}"
    )
