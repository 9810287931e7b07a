"""The frame of every command: an error becomes one line on stderr and an exit code, never a traceback."""

import contextlib
import logging
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence

from bitmoji_jax.console import one_line, steady_streams
from bitmoji_jax.errors import InputError, RunError

TRACEBACK = "BITMOJI_TRACEBACK"
"""Name of the environment variable that, set to 1, shows tracebacks of errors."""

_LONGEST = 400  # characters of the message of an unexpected error: those of JAX may hold a whole program


def run_command(command: Callable[[], int | None], tell: Callable[[int, str], None] | None = None) -> int:
    """Calls `command` and returns its exit code (None is 0), or that of the error that ended it.

    The code and the line of an error are told to `tell`; without one, the line is printed.

    2 bad usage or input (`InputError`); 1 the work cannot go on (`RunError`, and errors of the system such as a full
    disk); 130 interrupted; 70 an error that nobody foresaw. SystemExit, of --help and bad usage, passes through.
    """
    # As the first process of a container. Its signals have no effect unless they are handled, and Python cannot handle
    # one while the network runs; so the command is a child, for which they have.
    if os.getpid() == 1 and (child := _fork()):
        return _wait_for(child)
    with steady_streams():
        _quiet_libraries()
        try:
            return command() or 0
        except (Exception, KeyboardInterrupt) as error:
            if tracebacks_wanted() and isinstance(error, Exception):
                traceback.print_exc()
            code, line = explain(error)
            if tell is None:
                print(line, file=sys.stderr)
            else:
                tell(code, line)
            return code


def expand_home(words: Sequence[str]) -> list[str]:
    """Replaces ~ where a word or the value of a flag (`--out=~/x`) begins with it, as shells do for words alone."""
    return [
        re.sub(r"^(--[\w.-]+=)?(~.*)$", lambda found: (found[1] or "") + os.path.expanduser(found[2]), word, flags=re.S)
        for word in words
    ]


def tracebacks_wanted() -> bool:
    """Whether the user has asked for tracebacks."""
    return os.environ.get(TRACEBACK) == "1"


def explain(error: BaseException) -> tuple[int, str]:
    """Returns the exit code of an error, and one line about it."""
    code, text = _code_and_text(error)
    return code, one_line(" ".join(text.split()))


def _code_and_text(error: BaseException) -> tuple[int, str]:
    if isinstance(error, KeyboardInterrupt):
        return 130, f"interrupted: {error}" if str(error) else "interrupted"
    if isinstance(error, InputError):
        return 2, f"error: {error}"
    if isinstance(error, RunError):
        return 1, f"error: {error}"
    if isinstance(error, OSError):
        of_file = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return 1, f"error: {of_file}{error.strerror or str(error) or type(error).__name__}"
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if len(what) > _LONGEST:
        what = what[:_LONGEST] + "..."
    return 70, f"error: unexpected {what} ({TRACEBACK}=1 in the environment shows where, for a report)"


def _quiet_libraries() -> None:
    """Leaves what goes wrong to the error that ends the command, which reports it once."""
    if tracebacks_wanted():
        return
    # Orbax logs a failed write many times, with tracebacks.
    for library in ("absl", "asyncio"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    # Errors in threads are raised where their results are wanted; Python prints them besides.
    threading.excepthook = lambda _: None
    sys.unraisablehook = lambda _: None


def _fork() -> int:
    """Makes a child in a group of its own, to which the parent passes signals on; returns its number, or 0 in it."""
    passed_on = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    former = signal.pthread_sigmask(signal.SIG_BLOCK, passed_on)  # what comes in between waits
    child = os.fork()
    if child:
        os.setpgid(child, child)  # so that Ctrl-C, which a terminal sends to a whole group, is not received twice
        for number in passed_on:
            signal.signal(number, lambda received, _: _signal_group(child, received))
    signal.pthread_sigmask(signal.SIG_SETMASK, former)
    return child


def _wait_for(child: int) -> int:
    """Waits until a child ends; returns its exit code, 128 + N after signal N."""
    while True:
        ended, status = os.waitpid(-1, 0)  # also processes whose parents are gone, which the first process inherits
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _signal_group(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, number)
