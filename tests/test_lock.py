import json
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from bitmoji_jax import lock
from bitmoji_jax.lock import HeldError, has_ended, hold


def silent(line: str) -> None:
    pytest.fail(f"said {line!r}")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lock, "_WATCH", 0.5)
    monkeypatch.setattr(lock, "_BEAT", 0.05)
    monkeypatch.setattr(lock, "_WRITTEN", 0.01)
    return tmp_path / ".lock"


def written_elsewhere(path: Path) -> None:
    """As by a process of another host."""
    with hold(path, silent):
        holder = json.loads(path.read_text())
    path.write_text(json.dumps(holder | {"host": "elsewhere", "place": "elsewhere", "pid": 7}))


def test_it_says_who_holds_it_and_nothing_is_left(path: Path) -> None:
    with hold(path, silent):
        holder = json.loads(path.read_text())
        assert (holder["host"], holder["pid"]) == (socket.gethostname(), os.getpid())
        assert has_ended(path) is False
        with (
            pytest.raises(HeldError, match=rf"process {os.getpid()} on {socket.gethostname()}, since 2"),
            hold(path, silent),
        ):
            pass
    assert list(path.parent.iterdir()) == []


def test_that_of_a_killed_process_is_taken_over_without_a_word_also_from_a_zombie(path: Path) -> None:
    script = "import sys, time; from bitmoji_jax.lock import hold; from pathlib import Path\n"
    script += "with hold(Path(sys.argv[1]), print): print('held', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(HeldError, match=f"process {process.pid}"), hold(path, silent):
            pass
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
        with hold(path, silent):
            assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_later_process_of_the_same_number_is_not_its_holder(path: Path) -> None:
    with hold(path, silent):
        holder = json.loads(path.read_text())
    path.write_text(json.dumps(holder | {"started": "1"}))
    assert has_ended(path) is True


@pytest.mark.parametrize("content", [b"", b'{"host": "a', b"{}", b"\xff"])
def test_one_that_was_never_written_or_is_of_an_earlier_version_is_taken_over(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with hold(path, silent):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_holder_on_another_host_is_watched_and_has_ended_without_a_sign(path: Path) -> None:
    written_elsewhere(path)
    assert has_ended(path) is None
    said: list[str] = []
    with hold(path, said.append):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert len(said) == 2
    assert "process 7 on elsewhere" in said[0]
    assert "cannot be looked up here" in said[0]


def test_a_holder_on_another_host_that_gives_signs_of_life_keeps_it(path: Path) -> None:
    written_elsewhere(path)
    content, done = path.read_bytes(), threading.Event()

    def live() -> None:
        while not done.wait(0.02):
            os.utime(path)

    thread = threading.Thread(target=live)
    thread.start()
    with pytest.raises(HeldError, match="process 7 on elsewhere"), hold(path, lambda _: None):
        pass
    done.set()
    thread.join()
    assert path.read_bytes() == content


def test_a_holder_gives_signs_of_life(path: Path) -> None:
    with hold(path, silent):
        os.utime(path, (0, 0))
        assert lock._changes(path)


def _try(path: Path, go: Any, held: Any, all_have_tried: Any) -> None:
    go.wait()
    try:
        with hold(path, print):
            held.put(True)
            all_have_tried.wait()
    except HeldError:
        held.put(False)


@pytest.mark.slow
def test_one_of_many_processes_takes_over(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, all_have_tried = context.Queue(), context.Event()
    path.write_text("")
    arguments = (path, context.Barrier(8), held, all_have_tried)
    processes = [context.Process(target=_try, args=arguments) for _ in range(8)]
    for process in processes:
        process.start()
    assert sorted(held.get(timeout=60) for _ in processes) == 7 * [False] + [True]
    all_have_tried.set()
    for process in processes:
        process.join()


def test_a_disk_that_is_full_leaves_no_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"), hold(path, silent):
            pass
    assert not path.exists()
