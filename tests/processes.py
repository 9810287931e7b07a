"""launch.py in processes of its own, on a run of tiny images."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def launch(
    workdir: Path, data: Path, *extra: str, devices: int = 1, batch_size: int = 2, pool_size: int = 5, epochs: int = 8
) -> subprocess.Popen[str]:
    """Starts launch.py on epochs of 12 images, with a checkpoint every 8 images, on virtual CPU devices."""
    flags = {
        "workdir": workdir, "data.dir": data, "data.image_size": 32, "generator.features": 4,
        "generator.res_blocks": 0, "generator.upsample": "nearest", "discriminator.features": 4,
        "train.batch_size": batch_size, "train.pool_size": pool_size,
        "train.constant_epochs": epochs - 4, "train.decay_epochs": 4,
        "log.metrics_every": 10, "log.samples_every": 1000, "log.sample_images": 2, "log.checkpoint_every": 8,
    }  # fmt: skip
    command = [sys.executable, "launch.py", "--exp", "demo", *extra]
    command += [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Waits for success; returns what was printed."""
    output, _ = process.communicate(timeout=480)
    assert process.returncode == 0, output
    return output


def free_address() -> str:
    """HOST:PORT of this machine that nothing listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def place(coordinator: str, process: int, processes: int = 2) -> list[str]:
    """The flags of one of several processes."""
    flags = {"--coordinator": coordinator, "--num-processes": str(processes), "--process-id": str(process)}
    return ["--distributed", *(word for flag in flags.items() for word in flag)]
