"""Joining the other processes of a run, and ending when one of them is lost."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import rich.console

import experiments
from bitmoji_jax import launcher
from bitmoji_jax.distributed import check_process_flags
from bitmoji_jax.errors import InputError
from bitmoji_jax.training.stop_signal import SAME_SIGNAL, StopSignal
from tests.processes import STUCK, finish, free_address, launch, place, rows, terminate, wait_for_checkpoints


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("node1:8476", None, None), "together, or none"),
        ((None, 2, 0), "together, or none"),
        (("node1:8476", 2, None), "together, or none"),
        (("node1", 2, 0), "give HOST:PORT"),
        ((":8476", 2, 0), "give HOST:PORT"),
        (("node1:port", 2, 0), "give HOST:PORT"),
        (("node1:70000", 2, 0), "give HOST:PORT"),
        (("node1:8476", 0, 0), "--num-processes 0"),
        (("node1:8476", 2, 2), "--process-id 2: it must be from 0 to 1"),
        (("node1:8476", 2, -1), "--process-id -1"),
    ],
)
def test_a_place_that_cannot_be_is_an_input_error(given: tuple[str | None, int | None, int | None], said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        check_process_flags(*given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("given", [(None, None, None), ("node1:8476", 2, 1), ("[::1]:8476", 1, 0)])
def test_a_place_that_can_be_is_none(given: tuple[str | None, int | None, int | None]) -> None:
    check_process_flags(*given)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--coordinator", "node1:8476", "--num-processes", "2", "--process-id", "0"], "need --distributed"),
        (["--distributed", "--num-processes", "2"], "together, or none"),
        (["--distributed", "--join-timeout", "0"], "--join-timeout 0"),
    ],
)
def test_flags_that_contradict_each_other_exit_2_with_one_line(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launcher.main(["--exp", "demo", *flags], experiments, prog="launch.py") == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1


@pytest.fixture
def _interrupts() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt; a shell starts what runs in its background with SIGINT ignored."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.mark.usefixtures("_interrupts")
def test_the_same_signal_twice_at_once_stops_once_and_a_later_one_interrupts() -> None:
    now = 0.0
    with StopSignal(rich.console.Console(quiet=True), clock=lambda: now) as stop:
        signal.raise_signal(signal.SIGINT)
        now = SAME_SIGNAL / 2
        signal.raise_signal(signal.SIGINT)
        assert stop.agreed(row_complete=False)
        now = 2 * SAME_SIGNAL
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("told", "code", "said"),
    [
        ("", 1, "error: the processes of this run did not all join within 7 s"),
        ("child.joined()", 1, "error: another process of this run was lost"),
        ("child.joined(), child.ends(130, 'interrupted: saved')", 130, "interrupted: saved"),
        ("child.ends(2, 'error: no job')", 2, "error: no job"),
        ("child.joined(), child.ends(0, '')", 0, ""),
    ],
)
def test_what_was_told_before_an_abort_counts(told: str, code: int, said: str) -> None:
    lines = ["import os, sys", "from bitmoji_jax.distributed import supervise"]
    lines += [f"sys.exit(supervise(lambda child: ([{told}], os.abort()), timeout=7))"]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=STUCK)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == bool(said)


@pytest.mark.slow
def test_without_a_job_it_says_what_to_give(tmp_path: Path, tiny_dataset: Path) -> None:
    output = finish(launch(tmp_path, tiny_dataset, "--distributed"), 2)
    assert output.startswith("error: --distributed found no job to join: give --coordinator HOST:PORT")
    assert output.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("alone", [0, 1])
def test_a_process_that_waits_in_vain_says_so(alone: int, tmp_path: Path, tiny_dataset: Path) -> None:
    output = finish(launch(tmp_path, tiny_dataset, *place(free_address(), alone), "--join-timeout", "1"), 1)
    assert output.startswith("error: the processes of this run did not all join within 1 s")
    assert output.count("\n") == 1


@pytest.mark.slow
def test_a_lost_process_ends_the_other_and_the_run_can_be_continued(tmp_path: Path, tiny_dataset: Path) -> None:
    children = []

    def start(workdir: Path) -> list[subprocess.Popen[str]]:
        address = free_address()
        # So many epochs that no process ends by itself.
        return [
            launch(workdir, tiny_dataset, *place(address, i), devices=2, batch_size=4, epochs=10_000) for i in range(2)
        ]

    def start_and_lose(lost: int) -> list[subprocess.Popen[str]]:
        both = start(tmp_path / f"without_{lost}")
        wait_for_checkpoints(tmp_path / f"without_{lost}", 2, both[0])
        assert [process.poll() for process in both] == [None, None], [process.communicate()[0] for process in both]
        children.extend(child for process in both for child in psutil.Process(process.pid).children())
        both[lost].kill()
        return both

    def check_end(both: list[subprocess.Popen[str]], lost: int) -> None:
        output = finish(both[1 - lost], 1)
        [error] = [line for line in output.splitlines() if line.startswith("error: ")]
        assert error == output.splitlines()[-1]
        assert "lost" in error
        assert "continues from the newest checkpoint" in error
        finish(both[lost], -signal.SIGKILL)

    without_1 = start_and_lose(1)  # noticed after HEARTBEAT_TIMEOUT only: the rest runs meanwhile
    check_end(start_and_lose(0), 0)

    continued = start(tmp_path / "without_0")  # how it continues does not depend on which process was lost
    wait_for_checkpoints(tmp_path / "without_0", 1, continued[0])
    assert "Continuing at" in terminate(continued)[0]
    assert np.all(np.diff([row["images"] for row in rows(tmp_path / "without_0")]) > 0)

    check_end(without_1, 1)
    assert not psutil.wait_procs(children, timeout=STUCK)[1]
