"""Runs of the launcher in processes of their own, on tiny images and networks."""

import json
import os
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

ROOT = Path(__file__).parent.parent

STUCK = 600
"""Seconds after which a test gives up on a process. Tests wait for events; this only ends one that would never come."""

_WALL_CLOCK = {"images_per_second", "data_wait"}


def launch(
    workdir: Path,
    data: Path,
    *flags: str,
    cheaply: bool = True,
    devices: int = 1,
    batch_size: int = 2,
    pool_size: int = 5,
    epochs: int = 8,
) -> subprocess.Popen[str]:
    """Starts launch.py on epochs of 12 images, with a checkpoint every 8 images, on virtual CPU devices.

    It is launch.py itself only if not `cheaply`, see launch_cheaply.py.
    """
    values = {
        "workdir": workdir, "data.dir": data, "data.image_size": 32, "generator.features": 4,
        "generator.res_blocks": 0, "generator.upsample": "nearest", "discriminator.features": 4,
        "train.batch_size": batch_size, "train.pool_size": pool_size,
        "train.constant_epochs": epochs - 4, "train.decay_epochs": 4, "refine.images": 0, "teach.images": 0,
        "log.metrics_every": 10, "log.samples_every": 1000, "log.sample_images": 2, "log.checkpoint_every": 8,
    }  # fmt: skip
    program = ["-m", "tests.launch_cheaply"] if cheaply else ["launch.py"]
    command = [sys.executable, *program, "--exp", "demo", *flags]
    command += [word for name, value in values.items() for word in (f"--{name}", str(value))]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """Waits until the process exits with `code`; returns its output."""
    output, _ = process.communicate(timeout=STUCK)
    assert process.returncode == code, output
    return output


def terminate(processes: list[subprocess.Popen[str]]) -> list[str]:
    """Sends SIGTERM to all processes of a run and waits until each has exited with 130; returns their outputs."""
    for process in processes:
        process.send_signal(signal.SIGTERM)
    return [finish(process, 130) for process in processes]


def wait_for_checkpoints(workdir: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Waits until `count` checkpoints have been added or the process has ended."""
    before = checkpoints(workdir)
    added: set[int] = set()  # a run deletes old ones
    deadline = time.monotonic() + STUCK
    while len(added) < count and process.poll() is None:
        assert time.monotonic() < deadline, f"{len(added)} checkpoints within {STUCK} s"
        added |= checkpoints(workdir) - before
        time.sleep(0.002)


def checkpoints(workdir: Path) -> set[int]:
    """Images seen at each complete checkpoint of a run."""
    folder = workdir / "checkpoints"
    return {int(name) for name in os.listdir(folder) if name.isdigit()} if folder.exists() else set()


def newest_checkpoint(workdir: Path) -> dict[str, Any]:
    """All arrays of the newest checkpoint by their path: images seen, parameters, optimizers, averages, pools."""
    arrays: dict[str, Any] = {}
    for item in ("state", "pools"):
        path = workdir / "checkpoints" / str(max(checkpoints(workdir))) / item
        if item == "pools" and not path.exists():  # a stage that keeps no images
            continue
        structure = ocp.PyTreeCheckpointHandler().metadata(path).tree
        # As NumPy: a checkpoint of two processes refers to devices that this process does not have.
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), structure)
        tree = ocp.PyTreeCheckpointer().restore(path, restore_args=as_numpy)
        arrays |= {item + jax.tree_util.keystr(k): v for k, v in jax.tree.leaves_with_path(tree)}
    return arrays


def rows(workdir: Path) -> list[dict[str, float]]:
    """The rows of metrics.jsonl without the values that depend on speed."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in _WALL_CLOCK} for line in lines]


def free_address() -> str:
    """HOST:PORT of this machine with a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def place(coordinator: str, process: int, processes: int = 2) -> list[str]:
    """The flags of one of several processes."""
    flags = {"--coordinator": coordinator, "--num-processes": str(processes), "--process-id": str(process)}
    return ["--distributed", *(word for flag in flags.items() for word in flag)]
