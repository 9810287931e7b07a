"""The folder of a run: used by one process at a time, with the configuration it was made from."""

import contextlib
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import rich.console
from jax.experimental import multihost_utils

from bitmoji_jax.config import ExperimentConfig, from_json, to_json
from bitmoji_jax.data.fingerprint import keep_contents, kept_contents
from bitmoji_jax.data.pipeline import Dataset
from bitmoji_jax.errors import InputError
from bitmoji_jax.files import make_folder, write_atomic
from bitmoji_jax.lock import HeldError, hold
from bitmoji_jax.training.changes import differences, longer
from bitmoji_jax.training.stages import stage_folder, stage_names, stage_section

_LOCK = ".lock"
_CLAIMED_MS = 300_000  # for process 0 to find out who holds the lock


@contextlib.contextmanager
def claimed(
    workdir: Path, config: ExperimentConfig, *, overwrite: bool, console: rich.console.Console
) -> Iterator[None]:
    """Locks `workdir` for this run, and checks that a run in it agrees with `config`.

    Args:
      workdir: created where it does not exist.
      config: may differ from the one in `workdir` where `changes.differences` allows it.
      overwrite: first remove all that `workdir` holds.
      console: for a line where the schedule of `config` is longer than that of the run, and where the lock takes long.

    Raises:
      InputError: another process trains there, it cannot be written to, or its run has another configuration.
    """
    with contextlib.ExitStack() as stack:
        problem = None
        if jax.process_index() == 0:
            try:
                _claim(stack, workdir, config, overwrite, console)
            except InputError as error:
                problem = error
        failed = problem is not None
        if jax.process_count() > 1:  # the other processes would wait for this one otherwise
            # What follows waits for 30 s only, on CPUs.
            ocp.multihost.get_barrier_sync_fn()(key="workdir claimed", timeout_ms=_CLAIMED_MS)
            failed = bool(multihost_utils.broadcast_one_to_all(np.array(failed)))
        if failed:
            raise problem or InputError(f"process 0 cannot use the workdir {workdir}; its own message says why")
        yield


def _claim(
    stack: contextlib.ExitStack,
    workdir: Path,
    config: ExperimentConfig,
    overwrite: bool,
    console: rich.console.Console,
) -> None:
    try:
        make_folder(workdir, "--workdir")
        stack.enter_context(hold(workdir / _LOCK, console.print))
        if overwrite:
            _clear(workdir)
        if grown := _check_config(workdir, config):
            console.print(f"Longer than before, with the learning rate of the longer schedule: {', '.join(grown)}")
    except HeldError as error:
        raise InputError(f"another process trains in {workdir} ({error}); choose another --workdir") from error
    except OSError as error:
        raise InputError(
            f"cannot write to the workdir {workdir} ({error.strerror}); choose another --workdir"
        ) from error


def _clear(workdir: Path) -> None:
    foreign = any(workdir.iterdir()) and not (workdir / "config.json").exists()
    if foreign and {path.name for path in workdir.iterdir()} != {_LOCK}:
        raise InputError(f"{workdir} holds files but no run, so --overwrite leaves it alone; choose another --workdir")
    for path in workdir.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()


def _check_config(workdir: Path, config: ExperimentConfig) -> list[str]:
    """Returns what is longer than in the run."""
    path = workdir / "config.json"
    if not path.exists():
        return []
    try:
        theirs = from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path} ({error}); start again with --overwrite") from error
    if changed := differences(config, theirs):
        raise InputError(
            f"{workdir} holds a run with another configuration: {'; '.join(changed)}. "
            "Use its values, another --workdir, or --overwrite to start again"
        )
    grown = longer(config, theirs)
    checkpoints = {name: (stage_folder(workdir, name) / "checkpoints").glob("*") for name in stage_names(config)}
    begun = [name for name, paths in checkpoints.items() if any(path.name.isdigit() for path in paths)]
    for name, following in itertools.pairwise(begun):
        if line := grown.get(stage_section(name)):
            raise InputError(
                f"{line}: but {following} has begun with the networks of {name} as they are. For more of {name}, start "
                f"another run from this one: another --workdir and --init-from {workdir}"
            )
    return [*grown.values()]


def record(workdir: Path, config: ExperimentConfig, dataset: Dataset) -> None:
    """Writes the config.json and the dataset.json of a run; to be called while it is claimed.

    Raises:
      InputError: the run was trained on another dataset, or a file cannot be read or written.
    """
    before, now = kept_contents(workdir), dataset.contents()
    if before is not None and not before.agree(now):
        counts = f"{before} then, {now} now" if before.sizes != now.sizes else "as many images, but other ones"
        raise InputError(
            f"{workdir} holds a run on another dataset, or its files have changed since: {counts}. Put the old one "
            "back, use another --workdir, or --overwrite to start again"
        )
    if jax.process_index() == 0:
        try:
            keep_contents(workdir, now)
            write_atomic(workdir / "config.json", to_json(config))
        except OSError as error:
            raise InputError(f"cannot write to the workdir {workdir} ({error.strerror})") from error
