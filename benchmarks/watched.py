"""Runs a command and watches its memory."""

import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import psutil  # type: ignore[import-untyped]


class Watched(NamedTuple):
    """What a command took."""

    seconds: float
    """From its start to its end."""
    peak_rss: int
    """Most resident memory of all of its processes together, in bytes; pages that they share count in each."""


def run_watched(
    arguments: Sequence[str], *, every: float = 0.02, seen: Callable[[int], None] = lambda _: None, **popen: Any
) -> Watched:
    """Runs a command to its end.

    Args:
      arguments: the command; its stdout is thrown away.
      every: seconds between looks.
      seen: called with the resident memory in bytes at each look.
      popen: more arguments of `subprocess.Popen`, such as env.

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
        seen(now)
        time.sleep(every)
    if command.wait() != 0:
        raise SystemExit(f"failed with {command.returncode}: {' '.join(arguments)}")
    return Watched(time.monotonic() - start, peak)


def resident(process: psutil.Process) -> int:
    """Resident memory of a process and its descendants in bytes; pages that they share count in each."""
    total = 0
    for each in (process, *process.children(recursive=True)):
        try:
            total += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total
