import os
import subprocess
import sys
from pathlib import Path

import pytest

from bitmoji_jax.data.workers import map_in_workers
from bitmoji_jax.errors import InputError


def pid_and_item(item: int) -> tuple[int, int]:
    return os.getpid(), item


def leave_at_20(item: int) -> int:
    if item == 20:
        os._exit(7)
    return item


def fail_at_20(item: int) -> int:
    if item == 20:
        raise MemoryError("no room")
    return item


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order_from_as_many_processes_as_asked_for(workers: int) -> None:
    pids, items = zip(*map_in_workers(pid_and_item, range(100), workers), strict=True)
    assert items == tuple(range(100))
    assert len(set(pids)) <= workers
    assert (os.getpid() in pids) == (workers == 1)


def test_no_items_give_no_results() -> None:
    assert list(map_in_workers(pid_and_item, [], 2)) == []


def test_a_worker_that_dies_is_one_line() -> None:
    with pytest.raises(InputError, match="a worker process died with exit code 7") as error:
        list(map_in_workers(leave_at_20, range(40), 2))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_worker_is_raised_here_and_not_printed_there(
    workers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(MemoryError, match="no room"):
        list(map_in_workers(fail_at_20, range(40), workers))
    assert capfd.readouterr() == ("", "")


def test_workers_end_with_an_iterator_that_is_closed_early() -> None:
    results = map_in_workers(pid_and_item, range(100), 2)
    pid, _ = next(results)
    results.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_script_needs_no_main_guard_and_its_workers_import_no_jax(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from bitmoji_jax.data.workers import map_in_workers\n"
        "from tests.test_workers import heavy_modules\n"
        "print(*map_in_workers(heavy_modules, range(20), 2))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])}
    run = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
    assert (run.stdout.split(), run.stderr) == (["0"] * 20, "")


def heavy_modules(_: int) -> int:
    import bitmoji_jax.cli
    import bitmoji_jax.data.images
    import bitmoji_jax.data.synthetic.jobs  # noqa: F401

    return len({"jax", "flax", "tensorflow", "tensorflow_datasets"} & set(sys.modules))
