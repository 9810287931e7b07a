"""The time and the memory that a command takes."""

import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import psutil  # type: ignore[import-untyped]


class Measured(NamedTuple):
    """Time and memory of a command."""

    seconds: float
    """From its start to its end."""
    peak_rss: int
    """Greatest resident memory of all of its processes together, in bytes; a shared page counts once for each."""


def run_measured(
    arguments: Sequence[str], *, every: float = 0.02, on_sample: Callable[[int], None] = lambda _: None, **popen: Any
) -> Measured:
    """Runs a command to its end and measures it.

    Args:
      arguments: the command; its stdout is discarded.
      every: seconds between samples of its memory.
      on_sample: called with each sample, the resident memory in bytes.
      popen: further arguments of `subprocess.Popen`, such as env.

    Raises:
      SystemExit: the command failed.
    """
    start = time.monotonic()
    command = psutil.Popen(arguments, stdout=subprocess.DEVNULL, **popen)
    peak = 0
    while command.poll() is None:
        try:
            now = resident(command)
        except psutil.NoSuchProcess:
            break
        peak = max(peak, now)
        on_sample(now)
        time.sleep(every)
    if command.wait() != 0:
        raise SystemExit(f"failed with {command.returncode}: {' '.join(arguments)}")
    return Measured(time.monotonic() - start, peak)


def resident(process: psutil.Process) -> int:
    """Returns the resident memory of a process and its descendants in bytes; a shared page counts once for each."""
    total = 0
    for each in (process, *process.children(recursive=True)):
        try:
            total += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total
