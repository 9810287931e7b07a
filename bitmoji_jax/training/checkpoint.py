"""Checkpoints: all that a continued run needs to be the same run, in one atomic, asynchronous Orbax bundle.

The position in the data is not part of it: `train_batches` starts from the number of images seen.
"""

import contextlib
import dataclasses
import errno
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
import rich.console
from jax.experimental import multihost_utils

from bitmoji_jax.errors import InputError, RunError
from bitmoji_jax.training.image_pool import ImagePool
from bitmoji_jax.training.train_state import Pools, TrainState


class Restored(NamedTuple):
    """The contents of a checkpoint."""

    state: TrainState
    pools: Pools
    progress: dict[str, Any]


class Checkpointer:
    """The checkpoints of one run, named by the images seen. A context manager: leaving it waits for saves."""

    def __init__(self, folder: Path, *, keep: int, console: rich.console.Console) -> None:
        """Opens or creates `folder`; the newest `keep` checkpoints are kept, and damaged ones reported on `console`."""
        self._console = console
        self._folder = folder.resolve()
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep,
                cleanup_tmp_directories=True,
                enable_async_checkpointing=True,
                # Made in the background, a folder that cannot be created would show as a timeout after minutes.
                async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
            ),
            item_names=("state", "pools", "progress"),
        )

    def __enter__(self) -> "Checkpointer":
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is None:
            self.wait()
        # The error under way says more than a failure to close would.
        with contextlib.suppress(Exception) if exception[0] is not None else contextlib.nullcontext():
            self._manager.close()

    def latest(self) -> int | None:
        """Returns the images seen at the newest complete checkpoint, or None."""
        return self._manager.latest_step()

    def save(self, state: TrainState, pools: Pools, progress: dict[str, Any]) -> None:
        """Starts saving; training may go on and donate the arrays while files are written.

        Args:
          state: replicated over all devices.
          pools: with a leading axis of devices.
          progress: JSON values, such as sums of an unfinished row of metrics.

        Raises:
          RunError: this or an earlier save failed, for instance because the disk is full.
        """
        images = int(state.images)
        if self.latest() == images:
            return
        with self._explained():
            # Orbax meets a full disk in many threads at once, each with a traceback; one look beforehand is clearer.
            size = sum(leaf.nbytes for leaf in jax.tree.leaves((state, pools)))
            free = shutil.disk_usage(self._folder).free
            if free < size:
                raise OSError(f"it takes {size / 1e6:.0f} MB and the disk has {free / 1e6:.0f} MB left")
            self._manager.save(
                images,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(_fields(state)),
                    progress=ocp.args.JsonSave({**progress, "devices": _devices(state)}),
                    **_if_any(ocp.args.StandardSave, pools),
                ),
            )

    def wait(self) -> None:
        """Waits until everything is on disk; raises RunError if it cannot be written."""
        with self._explained():
            self._manager.wait_until_finished()
            self._manager.check_for_errors()

    def restore(self, state: TrainState, pools: Pools) -> Restored | None:
        """Restores the newest checkpoint that can be read, or returns None where there is none.

        A damaged one is moved to `damaged/` beside the checkpoints, and the one before is tried. Where the run used
        another number of devices, its pools are dealt out anew (`redeal`), with a line on the console.

        Args:
          state: of the right shapes and shardings, perhaps abstract; its values are not used.
          pools: likewise.

        Raises:
          InputError: every checkpoint is damaged.
          RunError: the system cannot read it now; it stays where it is.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        for images in steps:
            try:
                restored = self._restore_one(images, state, pools)
            except Exception as error:
                # A damaged file makes Orbax, TensorStore and JSON raise many kinds; the message keeps the cause.
                if _is_of_system(error):
                    raise RunError(
                        f"cannot read the checkpoint {self._folder / str(images)} ({_reason(error)}); the run is as it "
                        "was. If this stays, remove that folder to continue from the checkpoint before"
                    ) from error
                self._set_aside(images, error)
            else:
                return restored
        if steps:
            raise InputError(
                f"no checkpoint in {self._folder} can be read; they were moved to "
                f"{self._folder.parent / 'damaged'}. Start again with --overwrite"
            )
        return None

    def _restore_one(self, images: int, state: TrainState, pools: Pools) -> Restored:
        progress = self._manager.restore(images, args=ocp.args.Composite(progress=ocp.args.JsonRestore())).progress
        devices, here = progress["devices"], _devices(state)
        same = devices == here
        pools_as_saved = _abstract(pools) if same else _on_host(pools, devices)
        restored = self._manager.restore(
            images,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(_fields(_abstract(state))),
                **_if_any(ocp.args.StandardRestore, pools_as_saved),
            ),
        )
        stored = restored.pools if pools else {}
        dealt = {domain: dataclasses.replace(pools[domain], **fields) for domain, fields in stored.items()}
        if not same:
            dealt = {domain: redeal(pool, here) for domain, pool in dealt.items()}
            dealt = jax.tree.map(
                lambda new, like: jax.make_array_from_callback(new.shape, like.sharding, new.__getitem__), dealt, pools
            )
            self._console.print(f"Continuing on {here} devices a run of {devices}: pools dealt out anew")
        return Restored(dataclasses.replace(state, **restored.state), dealt, progress)

    def _set_aside(self, images: int, error: Exception) -> None:
        self._console.print(f"Checkpoint {images} is damaged ({_reason(error)}): trying the one before")
        if jax.process_index() == 0:
            target = self._folder.parent / "damaged" / str(images)
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(exist_ok=True)
            (self._folder / str(images)).rename(target)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("damaged checkpoint set aside")
        self._manager.reload()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if isinstance(error, jax.errors.JaxRuntimeError) and jax.process_count() > 1:
                raise  # the processes could not agree: nothing is wrong with the folder
            self._manager.reload()
            steps = self._manager.all_steps()
            safe = f"the checkpoint at {max(steps)} images is intact" if steps else "there is no checkpoint yet"
            raise RunError(f"cannot write a checkpoint to {self._folder}: {_reason(error)}; {safe}") from error


def _devices(state: TrainState) -> int:
    return len(state.images.sharding.device_set)


def redeal(pool: ImagePool, devices: int) -> ImagePool:
    """Deals the images in the pools of some devices out to the pools of `devices` others.

    One image of each old pool in turn, to each new pool in turn. Every pool keeps its size, so an image stays for as
    many queries of its device as before. With fewer devices each old pool gives up the same share of its images, which
    are of all ages alike; with more the new pools start partly filled, and fill from the images to come.

    Args:
      pool: NumPy; images [old devices, pool size, H, W, 3], count [old devices], conditions like images or None.
      devices: how many pools to make.

    Returns:
      The same with [devices, ...]; what is not filled is 0.
    """
    size = pool.images.shape[1]
    filled = [(slot, old) for slot in range(size) for old in range(len(pool.count)) if slot < pool.count[old]]
    filled = filled[: devices * size]

    def deal(stored: np.ndarray) -> np.ndarray:
        dealt = np.zeros((devices, *stored.shape[1:]), stored.dtype)
        for number, (slot, old) in enumerate(filled):
            dealt[number % devices, number // devices] = stored[old, slot]
        return dealt

    images, conditions = jax.tree.map(deal, (pool.images, pool.conditions))
    count = np.array([len(filled[device::devices]) for device in range(devices)], pool.count.dtype)
    return ImagePool(images=images, count=count, conditions=conditions)  # type: ignore[arg-type]


def _if_any(argument: Callable[[Any], Any], pools: Pools) -> dict[str, Any]:
    """The argument for the pools, unless there are none: Orbax saves nothing that is empty."""
    return {"pools": argument({domain: _fields(pool) for domain, pool in pools.items()})} if pools else {}


def _fields(record: Any) -> dict[str, Any]:
    """The fields of a dataclass by name, but for empty ones (None, {}).

    So a checkpoint is as those of versions that did not have such a field yet, and either can be restored.
    """
    values = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    return {name: value for name, value in values.items() if value is not None and jax.tree.leaves(value)}


def _is_of_system(error: BaseException) -> bool:
    """Whether a file is there and cannot be read, as on a network or without permission, which damages nothing."""
    while error.__cause__ is not None:
        error = error.__cause__
    absent = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
    return isinstance(error, OSError) and error.errno is not None and error.errno not in absent


def _reason(error: BaseException) -> str:
    """The cause in a few words: Orbax wraps it several times, and TensorStore puts the operation before the cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip().split("\n")[0] or type(error).__name__
    system = re.search(r"([^:]+) \[os_error_code", text)
    return system[1].strip() if system else text


def _on_host(pools: Pools, devices: int) -> Any:
    """Pools of `devices` devices as NumPy arrays, for Orbax to restore all of them."""
    return jax.tree.map(lambda a: np.empty((devices, *a.shape[1:]), a.dtype), pools)


def _abstract(tree: Any) -> Any:
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), tree)
