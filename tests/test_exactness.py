"""However a run is cut up, over time, devices or processes, it is the same run."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
WALL_CLOCK = {"images_per_second", "data_wait"}


def launch(workdir: Path, data: Path, *extra: str, devices: int = 1) -> subprocess.Popen[str]:
    """Starts launch.py on a run of 96 images in 48 steps, with a checkpoint every 8 images."""
    flags = {
        "workdir": workdir, "data.dir": data, "data.image_size": 32, "generator.features": 4,
        "generator.res_blocks": 0, "generator.upsample": "nearest", "discriminator.features": 4,
        "train.batch_size": 2, "train.pool_size": 5, "train.constant_epochs": 4, "train.decay_epochs": 4,
        "log.metrics_every": 10, "log.samples_every": 1000, "log.sample_images": 2, "log.checkpoint_every": 8,
    }  # fmt: skip
    command = [sys.executable, "launch.py", "--exp", "demo", *extra]
    command += [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


def rows(workdir: Path) -> list[dict[str, float]]:
    """metrics.jsonl without what the clock says."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in WALL_CLOCK} for line in lines]


def final_checkpoint(workdir: Path) -> dict[str, Any]:
    """Parameters, optimizers, averages, pools, place in the data: all arrays by their path."""
    folder = workdir / "checkpoints"
    newest = max(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    arrays = {}
    for item in ("state", "pools"):
        path = folder / str(newest) / item
        structure = ocp.PyTreeCheckpointHandler().metadata(path).tree
        # As NumPy: a checkpoint of two processes names devices that are not here.
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), structure)
        tree = ocp.PyTreeCheckpointer().restore(path, restore_args=as_numpy)
        arrays |= {item + jax.tree_util.keystr(k): v for k, v in jax.tree.leaves_with_path(tree)}
    for path in (folder / str(newest)).glob("data/process*.json"):
        arrays[f"data/{path.name}"] = path.read_text()
    return arrays


def assert_same_run(ours: Path, theirs: Path) -> None:
    assert rows(ours) == rows(theirs)
    a, b = final_checkpoint(ours), final_checkpoint(theirs)
    assert a.keys() == b.keys()
    assert any(key.startswith("pools") for key in a)
    assert any(key.startswith("data") for key in a)
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Path) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "uninterrupted"
    finish(launch(workdir, tiny_dataset))
    return workdir


def wait_for_checkpoints(workdir: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Returns when the process has added `count` checkpoints or has ended."""
    seen = set(os.listdir(workdir / "checkpoints")) if (workdir / "checkpoints").exists() else set()
    new: set[str] = set()
    deadline = time.monotonic() + 120
    while len(new) < count and process.poll() is None and time.monotonic() < deadline:
        if (workdir / "checkpoints").exists():
            new |= {name for name in os.listdir(workdir / "checkpoints") if name.isdigit()} - seen
        time.sleep(0.002)


def test_killed_at_random_moments_is_the_same_run(tmp_path: Path, tiny_dataset: Path, uninterrupted: Path) -> None:
    workdir = tmp_path / "killed"
    moments = random.Random(0)
    kills = 0
    for _ in range(4):
        process = launch(workdir, tiny_dataset)
        wait_for_checkpoints(workdir, 2, process)
        time.sleep(moments.uniform(0, 0.15))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills >= 3
    assert "Continuing at" in finish(launch(workdir, tiny_dataset))
    assert_same_run(workdir, uninterrupted)


def test_sigterm_saves_exits_130_and_continues(tmp_path: Path, tiny_dataset: Path, uninterrupted: Path) -> None:
    workdir = tmp_path / "terminated"
    process = launch(workdir, tiny_dataset)
    wait_for_checkpoints(workdir, 1, process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "saved at" in output
    finish(launch(workdir, tiny_dataset))
    assert_same_run(workdir, uninterrupted)


def test_two_processes_are_two_devices_of_one_process(tmp_path: Path, tiny_dataset: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    together = [
        launch(tmp_path / "two", tiny_dataset, "--distributed", "--coordinator", coordinator,
               "--num-processes", "2", "--process-id", str(i))
        for i in range(2)
    ]  # fmt: skip
    for process in together:
        finish(process)
    finish(launch(tmp_path / "one", tiny_dataset, devices=2))
    for ours, theirs in zip(rows(tmp_path / "two"), rows(tmp_path / "one"), strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, err_msg=name)
    a, b = final_checkpoint(tmp_path / "two"), final_checkpoint(tmp_path / "one")
    np.testing.assert_array_equal(a["pools['x']['count']"], b["pools['x']['count']"])
    np.testing.assert_allclose(a["pools['x']['images']"], b["pools['x']['images']"], atol=1e-3)


def steps(out: Path, *, devices: int, accumulation_steps: int = 1) -> dict[str, np.ndarray]:
    command = [sys.executable, "tests/device_steps.py", str(devices), str(accumulation_steps), str(out)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=240)
    with np.load(out) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def one_device(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return steps(tmp_path_factory.mktemp("steps") / "one.npz", devices=1)


@pytest.mark.parametrize(("devices", "accumulation_steps"), [(4, 1), (1, 4), (2, 2)])
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
            # Each device has a pool of its own, so the order differs; while they fill, nothing else does.
            ours, theirs = (images[np.argsort(images.mean(axis=(1, 2, 3)))] for images in (ours, theirs))
            np.testing.assert_allclose(ours, theirs, atol=2e-3, err_msg=name)
        elif name.startswith(("metrics", "grad")):
            np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-6, err_msg=name)
        elif "mu" not in name and "nu" not in name:
            # A bias before a norm has no gradient but rounding noise, which Adam makes as large as any: up to the
            # learning rate each step.
            noise = 4 * 2 * 2e-4 if name.endswith("['bias']") else 2e-5
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=noise, err_msg=name)
        compared += 1
    assert compared > 100
