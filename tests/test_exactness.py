"""A run that is interrupted, or spread over devices and processes, is the same run."""

import functools
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.processes import (
    ROOT,
    STUCK,
    finish,
    free_address,
    launch,
    newest_checkpoint,
    place,
    rows,
    terminate,
    wait_for_checkpoints,
)

pytestmark = pytest.mark.slow


def assert_same_run(ours: Path, theirs: Path) -> None:
    assert rows(ours) == rows(theirs)
    a, b = newest_checkpoint(ours), newest_checkpoint(theirs)
    assert a.keys() == b.keys()
    assert any(key.startswith("pools") for key in a)
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def test_a_run_that_is_killed_and_terminated_is_the_same_run(tmp_path: Path, tiny_dataset: Path) -> None:
    # Of launch.py itself, whose rows have a KID that is one.
    start = functools.partial(launch, data=tiny_dataset, cheaply=False)
    uninterrupted, interrupted = tmp_path / "uninterrupted", tmp_path / "interrupted"
    finish(start(uninterrupted))
    moments = random.Random(0)
    for _ in range(2):
        process = start(interrupted)
        wait_for_checkpoints(interrupted, 2, process)
        time.sleep(moments.uniform(0, 0.15))  # so that it dies anywhere in a step or in a save
        process.kill()
        finish(process, -signal.SIGKILL)
    process = start(interrupted)
    wait_for_checkpoints(interrupted, 1, process)
    assert "saved at" in terminate([process])[0]
    assert "Continuing at" in finish(start(interrupted))
    assert_same_run(interrupted, uninterrupted)


def assert_close_runs(ours: Path, theirs: Path) -> None:
    """Asserts equality up to the order of sums. A wrong or repeated batch would change losses by percents."""
    compared = 0
    for a, b in zip(rows(ours), rows(theirs), strict=True):
        assert a.keys() == b.keys()
        assert a["images"] == b["images"]
        for name in a:
            if name.startswith(("adversarial", "cycle", "identity", "loss")):
                np.testing.assert_allclose(a[name], b[name], rtol=1e-4, err_msg=f"{name} at {a['images']}")
                compared += 1
            elif name.startswith("grad_norm"):  # discontinuous, at the kinks of ReLU and of absolute errors
                np.testing.assert_allclose(a[name], b[name], rtol=0.05, err_msg=f"{name} at {a['images']}")
    assert compared >= 80


def test_a_run_goes_on_with_other_numbers_of_devices_and_processes(tmp_path: Path, tiny_dataset: Path) -> None:
    # Pools that never fill: until then no result depends on which device gets an image. A small learning rate: rounding
    # depends on the shapes, and at a larger one its differences would grow until they hide a wrong batch.
    options: dict[str, Any] = {"batch_size": 4, "pool_size": 100}
    slow = ("--train.learning-rate", "1e-6")
    whole, changing = tmp_path / "whole", tmp_path / "changing"
    finish(launch(whole, tiny_dataset, *slow, devices=1, **options))

    def stop_after_a_checkpoint(processes: list[subprocess.Popen[str]]) -> str:
        wait_for_checkpoints(changing, 1, processes[0])
        return terminate(processes)[0]

    stop_after_a_checkpoint([launch(changing, tiny_dataset, *slow, devices=2, **options)])
    coordinator = free_address()
    output = stop_after_a_checkpoint(
        [launch(changing, tiny_dataset, *slow, *place(coordinator, i), devices=2, **options) for i in range(2)]
    )
    assert "Continuing on 4 devices a run of 2: pools dealt out anew" in output
    # Two devices, of which the run takes one.
    output = finish(launch(changing, tiny_dataset, *slow, "--devices", "1", devices=2, **options))
    assert "Continuing on 1 devices a run of 4: pools dealt out anew" in output

    assert_close_runs(changing, whole)
    ours, theirs = newest_checkpoint(changing), newest_checkpoint(whole)
    for domain in "xy":
        means = []
        for arrays in (ours, theirs):
            assert arrays[f"pools['{domain}']['count']"].tolist() == [96]
            means.append(np.sort(arrays[f"pools['{domain}']['images']"][0, :96].mean(axis=(1, 2, 3))))
        np.testing.assert_allclose(*means, atol=1e-3)


def steps(out: Path, *, devices: int, accumulation_steps: int = 1) -> dict[str, np.ndarray]:
    command = [sys.executable, "tests/device_steps.py", str(devices), str(accumulation_steps), str(out)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=STUCK)
    with np.load(out) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def one_device(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return steps(tmp_path_factory.mktemp("steps") / "one.npz", devices=1)


@pytest.mark.parametrize(("devices", "accumulation_steps"), [(4, 1), (2, 2)])
def test_devices_and_accumulation_change_nothing(
    tmp_path: Path, one_device: dict[str, np.ndarray], devices: int, accumulation_steps: int
) -> None:
    # The script itself checks that all devices hold equal parameters.
    other = steps(tmp_path / "other.npz", devices=devices, accumulation_steps=accumulation_steps)
    assert other.keys() == one_device.keys()
    compared = 0
    for name, ours in one_device.items():
        theirs = other[name]
        if name.startswith("pool"):
            # Each device has its own pool, so the order differs; until pools are full, nothing else does.
            ours, theirs = (images[np.argsort(images.mean(axis=(1, 2, 3)))] for images in (ours, theirs))
            np.testing.assert_allclose(ours, theirs, atol=2e-3, err_msg=name)
        elif name.startswith(("metrics", "grad")):
            np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-6, err_msg=name)
        elif "mu" not in name and "nu" not in name:
            # The gradient of a bias before a norm is rounding noise, which Adam scales up to the learning rate in
            # each step.
            noise = 4 * 2 * 2e-4 if name.endswith("['bias']") else 2e-5
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=noise, err_msg=name)
        compared += 1
    assert compared > 100
