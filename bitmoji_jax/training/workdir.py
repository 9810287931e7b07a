"""The folder of a run: used by one process at a time, with the configuration it was made from."""

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from bitmoji_jax.config import ExperimentConfig, differences, from_json, to_json
from bitmoji_jax.errors import InputError
from bitmoji_jax.files import make_folder, write_atomic

_LOCK = ".lock"


@contextlib.contextmanager
def claimed(workdir: Path, config: ExperimentConfig, *, overwrite: bool) -> Iterator[None]:
    """Locks `workdir` for this run, and writes its config.json or checks that it agrees with `config`.

    Args:
      workdir: created where it does not exist.
      config: may differ from the one in `workdir` in its `log` section only, and then replaces it.
      overwrite: first remove all that `workdir` holds.

    Raises:
      InputError: another process trains there, it cannot be written to, or its run has another configuration.
    """
    with contextlib.ExitStack() as stack:
        problem = None
        if jax.process_index() == 0:
            try:
                _claim(stack, workdir, config, overwrite)
            except InputError as error:
                problem = error
        failed = problem is not None
        if jax.process_count() > 1:  # the other processes would wait for this one otherwise
            failed = bool(multihost_utils.broadcast_one_to_all(np.array(failed)))
        if failed:
            raise problem or InputError(f"process 0 cannot use the workdir {workdir}; its own message says why")
        yield


def _claim(stack: contextlib.ExitStack, workdir: Path, config: ExperimentConfig, overwrite: bool) -> None:
    try:
        make_folder(workdir, "--workdir")
        lock = stack.enter_context((workdir / _LOCK).open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if overwrite:
            _clear(workdir)
        _check_config(workdir, config)
        write_atomic(workdir / "config.json", to_json(config))
    except BlockingIOError as error:
        raise InputError(f"another process trains in {workdir}; choose another --workdir") from error
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


def _check_config(workdir: Path, config: ExperimentConfig) -> None:
    path = workdir / "config.json"
    if not path.exists():
        return
    try:
        theirs = from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path} ({error}); start again with --overwrite") from error
    if changed := differences(config, theirs):
        raise InputError(
            f"{workdir} holds a run with another configuration: {'; '.join(changed)}. "
            "Use its values, another --workdir, or --overwrite to start again"
        )
