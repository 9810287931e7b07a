"""Joining the other processes of a run, and ending when one of them is lost."""

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import rich.console

import launch as launcher
from bitmoji_jax.distributed import HEARTBEAT_TIMEOUT, check_process_flags
from bitmoji_jax.errors import InputError
from bitmoji_jax.training import stop_signal
from bitmoji_jax.training.stop_signal import StopSignal
from tests.processes import free_address, launch, place
from tests.test_exactness import rows, wait_for_checkpoints


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
    assert launcher.main(["--exp", "demo", *flags]) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1


def test_a_signal_that_comes_twice_at_once_is_one_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    with StopSignal(rich.console.Console(quiet=True)) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.agreed(row_complete=False)
        monkeypatch.setattr(stop_signal, "_SAME_SIGNAL", 0.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.slow
def test_without_a_job_it_says_what_to_give(tmp_path: Path, tiny_dataset: Path) -> None:
    process = launch(tmp_path, tiny_dataset, "--distributed")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert output.startswith("error: --distributed found no job to join: give --coordinator HOST:PORT")
    assert output.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("alone", [0, 1])
def test_a_process_that_waits_in_vain_says_so(alone: int, tmp_path: Path, tiny_dataset: Path) -> None:
    process = launch(tmp_path, tiny_dataset, *place(free_address(), alone), "--join-timeout", "1")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output.startswith("error: the processes of this run did not all join within 1 s")
    assert output.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_ends_the_other_and_the_run_can_be_continued(
    lost: int, tmp_path: Path, tiny_dataset: Path
) -> None:
    def start() -> list[subprocess.Popen[str]]:
        address = free_address()
        # So many epochs that nothing ends by itself.
        return [
            launch(tmp_path, tiny_dataset, *place(address, i), devices=2, batch_size=4, epochs=10_000) for i in range(2)
        ]

    both = start()
    wait_for_checkpoints(tmp_path, 2, both[0])
    assert [process.poll() for process in both] == [None, None], [process.communicate()[0] for process in both]
    children = [child for process in both for child in psutil.Process(process.pid).children()]
    both[lost].kill()
    started = time.monotonic()
    output, _ = both[1 - lost].communicate(timeout=120)
    assert time.monotonic() - started < HEARTBEAT_TIMEOUT + 20
    assert both[1 - lost].returncode == 1, output
    said = [line for line in output.splitlines() if line.startswith("error: ")]
    assert said == output.splitlines()[-1:]
    assert "lost" in said[0]
    assert "continues from the newest checkpoint" in said[0]
    both[lost].communicate(timeout=20)
    psutil.wait_procs(children, timeout=20)
    assert not any(child.is_running() for child in children)

    if lost == 1:
        return  # what is left does not depend on who was lost, and takes a while
    both = start()
    wait_for_checkpoints(tmp_path, 1, both[0])
    for process in both:
        process.send_signal(signal.SIGTERM)
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [130, 130], outputs
    assert "Continuing at" in outputs[0]
    assert np.all(np.diff([row["images"] for row in rows(tmp_path)]) > 0)
