"""Where lines for people are written: what becomes of a terminal, pipe or log file ends nothing that prints there."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

import rich.console


def one_line(text: str, longest: int | None = None) -> str:
    """Returns text from outside as one line to print, cut after `longest` characters.

    Control characters, of file names for instance, are escaped: a terminal would execute them.
    """
    if longest is not None and len(text) > longest:
        text = text[:longest] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class SteadyStream:
    """A text stream that loses what cannot be written: the pipe is closed, the disk is full, the terminal is gone."""

    def __init__(self, stream: TextIO) -> None:
        """Writes to `stream`; what its encoding lacks is escaped."""
        self._stream = stream
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # ASCII terminals, and file names that are not UTF-8

    def write(self, text: str) -> int:
        """Writes text if that is possible; returns its length."""
        with _lost():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flushes if that is possible."""
        with _lost():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _lost() -> contextlib.suppress:
    # Besides OSError: the stream is closed, or a signal handler prints while something else does.
    return contextlib.suppress(OSError, ValueError, RuntimeError)


@contextlib.contextmanager
def steady_streams() -> Iterator[None]:
    """Makes sys.stdout and sys.stderr steady while it is entered; drops at the end what could not be written."""
    former = sys.stdout, sys.stderr
    streams = [open(os.devnull, "w") if stream is None else stream for stream in former]  # noqa: SIM115 (for good)
    sys.stdout, sys.stderr = (cast(TextIO, SteadyStream(stream)) for stream in streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        for stream in streams:
            _flush_or_drop(stream)


def _flush_or_drop(stream: TextIO) -> None:
    try:
        stream.flush()
    except (OSError, ValueError, RuntimeError):
        # Python would try once more when it ends, and exit with 120.
        with _lost():
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


def make_console(*, stderr: bool = False, quiet: bool = False) -> rich.console.Console:
    """Makes a console on stdout or stderr that prints text as it is: without markup, colours of numbers or wrapping.

    A `quiet` one prints nothing.
    """
    stream = cast(TextIO, SteadyStream(sys.stderr if stderr else sys.stdout))
    return rich.console.Console(file=stream, quiet=quiet, highlight=False, soft_wrap=True, markup=False)
