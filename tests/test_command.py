"""What every command does with errors, signals and outputs that are gone."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from bitmoji_jax.command import TRACEBACK, run_command
from bitmoji_jax.errors import InputError, RunError
from tests.processes import ROOT, STUCK


def raising(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("no such thing;\n make it"), 2, "error: no such thing; make it"),
        (RunError("disk full"), 1, "error: disk full"),
        (OSError(28, "No space left on device"), 1, "error: No space left on device"),
        (
            FileNotFoundError(2, "No such file or directory", "a\x1b[2J"),
            1,
            r"error: a\x1b[2J: No such file or directory",
        ),
        (PermissionError(), 1, "error: PermissionError"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (KeyboardInterrupt("saved"), 130, "interrupted: saved"),
        (
            KeyError("x"),
            70,
            f"error: unexpected KeyError: 'x' ({TRACEBACK}=1 in the environment shows where, for a report)",
        ),
        (
            MemoryError(),
            70,
            f"error: unexpected MemoryError ({TRACEBACK}=1 in the environment shows where, for a report)",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_an_error_is_one_line_and_an_exit_code(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(raising(error)) == code
    assert capsys.readouterr() == ("", line + "\n")


def test_the_exit_code_is_that_of_the_command_and_system_exit_passes() -> None:
    assert run_command(lambda: None) == 0
    assert run_command(lambda: 3) == 3
    with pytest.raises(SystemExit):
        run_command(raising(SystemExit(2)))


def test_a_long_message_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(ValueError("x" * 10_000))) == 70
    assert len(capsys.readouterr().err) < 600


def test_tracebacks_are_shown_on_request(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(TRACEBACK, "1")
    assert run_command(raising(KeyError("x"))) == 70
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("error: unexpected KeyError")


@pytest.mark.slow
@pytest.mark.parametrize("to", ["|", ">/dev/full"])
def test_help_ends_well_where_nobody_reads_it(to: str) -> None:
    command = (
        f"{sys.executable} -m bitmoji_jax --help {to}" + (" head -1" if to == "|" else "") + "; echo ${PIPESTATUS[0]}"
    )
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=STUCK)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "0"


@pytest.mark.slow
@pytest.mark.parametrize(("ends", "code"), [("signal.pause()", 143), ("return 5", 5)])
def test_the_first_process_of_a_container_passes_signals_on(ends: str, code: int) -> None:
    source = f"""
import os, signal, sys
from bitmoji_jax.command import run_command
os.getpid = lambda own=os.getpid, first=os.getpid(): 1 if own() == first else own()
def command():
    print("ready", flush=True)
    {ends}
sys.exit(run_command(command))
"""
    process = subprocess.Popen([sys.executable, "-c", source], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    if code == 143:
        process.terminate()
    assert process.wait(timeout=STUCK) == code
