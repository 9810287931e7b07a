"""A lock that every file system has: a file, created by one process alone, that says who holds it.

`flock` is missing on some network file systems. A lock of this kind outlives a process that was killed, so a new one
must be able to tell. On the host of the holder it looks the process up. Elsewhere it watches the file, whose time the
holder renews, and which is compared with itself, so that clocks need not agree.
"""

import contextlib
import dataclasses
import datetime
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_BEAT, _WATCH = 10.0, 60.0
"""Seconds between signs of life of a holder, and without one after which a holder on another host has ended."""

_WRITTEN = 0.5
"""Seconds in which a lock that was created is also written, and one that was taken over would be taken by another."""


class HeldError(Exception):
    """Another process holds the lock; the text says which."""


@dataclasses.dataclass(frozen=True)
class _Holder:
    host: str
    place: str  # of process numbers: those of another boot or container name other processes
    pid: int
    started: str  # tells the process from a later one of the same number
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


@contextlib.contextmanager
def hold(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Holds the lock `path`, a file that is there as long as it is held. The lock of an ended process is taken over.

    `say` is told, a line each time, where that takes a while to find out.

    Raises:
        HeldError: another process, or this one, holds it.
        OSError: the file cannot be written.
    """
    ours = json.dumps(dataclasses.asdict(_this_process())).encode()
    descriptor = _create(path, ours)
    if descriptor is None:
        descriptor = _take_over(path, ours, say)
    released = threading.Event()

    def give_signs_of_life() -> None:
        while not released.wait(_BEAT):
            with contextlib.suppress(OSError):
                os.utime(descriptor)

    thread = threading.Thread(target=give_signs_of_life, daemon=True)
    thread.start()
    try:
        yield
    finally:
        released.set()
        thread.join()
        os.close(descriptor)
        with contextlib.suppress(OSError):
            if path.read_bytes() == ours:
                path.unlink()


def has_ended(path: Path) -> bool | None:
    """Returns whether the holder of a lock has ended, None if that cannot be looked up here; OSError without a lock."""
    return _has_ended(_read(path))


def _create(path: Path, content: bytes) -> int | None:
    """Creates a file, and returns it opened; None if it exists."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return None
    try:
        os.write(descriptor, content)
    except OSError:
        os.close(descriptor)
        path.unlink()
        raise
    return descriptor


def _take_over(path: Path, ours: bytes, say: Callable[[str], None]) -> int:
    before = _read(path)
    if _holder(before) is None:  # another process is about to write it, or was killed when it did
        time.sleep(_WRITTEN)
        before = _read(path)
    ended = _has_ended(before)
    if ended is None:
        say(f"{path}: {_holder(before)}, cannot be looked up here. Waiting {_WATCH:.0f} s for a sign of it")
        ended = not _changes(path)
        if ended:
            say(f"No sign of {_holder(before)}: it has ended")
    if not ended or _read(path) != before:
        raise HeldError(str(_holder(_read(path)) or "another process"))
    new = path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}")
    new.unlink(missing_ok=True)
    descriptor = _create(new, ours)
    assert descriptor is not None
    os.replace(new, path)
    time.sleep(_WRITTEN)  # of several that take it over at once, the last has it
    if _read(path) != ours:
        os.close(descriptor)
        raise HeldError(str(_holder(_read(path))))
    return descriptor


def _changes(path: Path) -> bool:
    """Watches a file; returns whether it changed."""

    def look() -> tuple[bytes, int]:
        with path.open("rb") as file:  # opened each time, so that a network file system looks too
            return file.read(), os.fstat(file.fileno()).st_mtime_ns

    before, end = look(), time.monotonic() + _WATCH
    while time.monotonic() < end:
        time.sleep(min(1.0, _WATCH))
        if look() != before:
            return True
    return False


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""  # given back just now


def _holder(content: bytes) -> _Holder | None:
    """None for what was not written to the end, and for the empty files of earlier versions."""
    try:
        return _Holder(**json.loads(content))
    except (ValueError, TypeError):
        return None


def _has_ended(content: bytes) -> bool | None:
    holder = _holder(content)
    if holder is None:
        return True
    if holder.place != _this_process().place:
        return None
    return _start_of(holder.pid) != holder.started


def _this_process() -> _Holder:
    now = datetime.datetime.now().isoformat(" ", "minutes")
    return _Holder(socket.gethostname(), _place(), os.getpid(), _start_of(os.getpid()) or "", now)


def _place() -> str:
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def _start_of(pid: int) -> str | None:
    """When a process began, in ticks, "" where the system does not say; None if it has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # somebody else's
    with contextlib.suppress(OSError):
        state, *values = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
        return None if state in "ZX" else values[18]  # a zombie does nothing any more
    return ""
