"""Whether a run that is killed again and again is the same run as one that is not.

    python -m benchmarks.kill_soak

trains a small run of all three stages without interruption, and once more with `kill -9` at 20 random moments: while
it starts, compiles, reads a checkpoint, steps, draws samples, scores or saves. After each kill the same command is
started again, and nothing else is done. Then the rows of metrics, the newest checkpoints, the best weights and the
sample grids of both runs must be equal, bit for bit. Prints a line for each kill and, on stdout, a line of JSON; exit
code 1 if anything differs.
"""

import dataclasses
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rich.console
import safetensors.numpy
import tyro

from tests.processes import checkpoints, newest_checkpoint, rows

_SMALL = {
    "data.image_size": 32,
    "generator.features": 4,
    "generator.res_blocks": 0,
    "generator.upsample": "nearest",
    "discriminator.features": 4,
    "refiner.output_size": 64,
    "refiner.features": 8,
    "train.batch_size": 2,
    "log.metrics_every": 4,
    "log.samples_every": 40,
    "log.checkpoint_every": 8,
    "log.scores_every": 40,
}


@dataclasses.dataclass(frozen=True)
class Options:
    """How often, and on what."""

    kills: int = 20
    seed: int = 0
    """Of the moments."""
    data: Path | None = None
    """A dataset; the built-in one unless given."""
    epochs: float = 0.2
    """Of the first stage."""
    pairs: int = 60
    """Of each later stage; 0 leaves them out."""
    short: bool = False
    """Three kills in a run of the first stage: a check that this runs."""


def start(workdir: Path, options: Options) -> subprocess.Popen[str]:
    """Starts the run, or continues it; its output goes to a file beside it."""
    values = {
        **_SMALL,
        "workdir": workdir,
        "train.constant_epochs": options.epochs / 2,
        "train.decay_epochs": options.epochs / 2,
        "refine.images": options.pairs,
        "teach.images": options.pairs,
    }
    values |= {"data.dir": options.data} if options.data else {}
    command = [sys.executable, "launch.py", "--exp", "demo"]
    command += [word for name, value in values.items() for word in (f"--{name}", str(value))]
    with workdir.with_suffix(".log").open("a", encoding="utf-8") as log:
        return subprocess.Popen(command, cwd=Path(__file__).parent.parent, text=True, stdout=log, stderr=log)


def soak(options: Options, folder: Path, console: rich.console.Console) -> dict[str, Any]:
    """Trains both runs in `folder` and returns the kills and what differs."""
    whole, killed = folder / "uninterrupted", folder / "killed"
    finish(start(whole, options), whole)
    total, moments = len(metrics(whole)), random.Random(options.seed)
    console.print(f"uninterrupted: {total} rows of metrics")
    # Every fourth kill comes while the run starts; the others when a row has been written, or within a step after it.
    early = options.kills // 4
    after = sorted(moments.sample(range(1, total), options.kills - early))
    plan: list[int | None] = [*after]
    for _ in range(early):
        plan.insert(moments.randrange(len(plan) + 1), None)
    kills: list[dict[str, Any]] = []
    starting = 5.0  # seconds, as the last start took
    for row in plan:
        process, began, before = start(killed, options), time.monotonic(), written(killed)
        if row is None:
            time.sleep(moments.uniform(0, starting))
        else:
            # Until then the files are those of the run before, whose last rows have no checkpoint.
            while process.poll() is None and written(killed) == before:
                time.sleep(0.01)
            starting = time.monotonic() - began
            while process.poll() is None and len(metrics(killed)) < row:
                time.sleep(0.005)
            time.sleep(moments.uniform(0, 0.2))
        process.kill()
        if process.wait() != -signal.SIGKILL:
            finish(process, killed)
        kills.append(place(killed))
        console.print(f"killed {len(kills)} of {options.kills}: {kills[-1]}")
    finish(start(killed, options), killed)
    found = differences(killed, whole)
    return {"rows": total, "kills": kills, "stages": len(stages(whole)), "different": found}


def metrics(workdir: Path) -> list[bytes]:
    """The complete rows of metrics of all stages."""
    return [line for path in _logs(workdir) for line in path.read_bytes().split(b"\n")[:-1]]


def written(workdir: Path) -> list[int]:
    """When the files of metrics were written."""
    return [path.stat().st_mtime_ns for path in _logs(workdir)]


def _logs(workdir: Path) -> list[Path]:
    paths = (workdir / name / "metrics.jsonl" for name in ("", "refine", "teach"))
    return [path for path in paths if path.exists()]


def finish(process: subprocess.Popen[str], workdir: Path) -> None:
    """Waits until the run ends well, or ends this program with its last words."""
    if code := process.wait():
        tail = workdir.with_suffix(".log").read_text(encoding="utf-8")[-2000:]
        sys.exit(f"the run in {workdir} ended with exit code {code}:\n{tail}")


def stages(workdir: Path) -> list[Path]:
    """The folders of the stages that have begun."""
    return [folder for name in ("", "refine", "teach") if (folder := workdir / name).joinpath("checkpoints").is_dir()]


def place(workdir: Path) -> dict[str, Any]:
    """Where a run is that was killed: its stage, the newest checkpoint, and whether it was saving."""
    begun = stages(workdir)
    if not begun:
        return {"stage": None, "images": 0, "saving": False}
    folder = begun[-1]
    unfinished = [path for path in (folder / "checkpoints").iterdir() if not path.name.isdigit()]
    name = "translate" if folder == workdir else folder.name
    return {"stage": name, "images": max(checkpoints(folder), default=0), "saving": bool(unfinished)}


def differences(ours: Path, theirs: Path) -> list[str]:
    """Names what differs between two runs."""
    found = []
    for folder in stages(theirs):
        other = ours / folder.relative_to(theirs)
        name = str(folder.relative_to(theirs))
        found += [f"{name}: rows of metrics"] if rows(other) != rows(folder) else []
        pairs = {"checkpoint": (newest_checkpoint(other), newest_checkpoint(folder))}
        best = [safetensors.numpy.load_file(each / "best.safetensors") for each in (other, folder)]
        pairs["best.safetensors"] = (best[0], best[1])
        pictures = [{path.name: path.read_bytes() for path in (each / "samples").iterdir()} for each in (other, folder)]
        found += [f"{name}: samples"] if pictures[0] != pictures[1] else []
        for what, (a, b) in pairs.items():
            equal = a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)
            found += [] if equal else [f"{name}: {what}"]
    return found


if __name__ == "__main__":
    asked = tyro.cli(Options)
    if asked.short:
        asked = dataclasses.replace(asked, kills=3, pairs=0)
    with tempfile.TemporaryDirectory() as scratch:
        result = soak(asked, Path(scratch), rich.console.Console(stderr=True, highlight=False, soft_wrap=True))
    print(json.dumps(result))
    sys.exit(bool(result["different"]))
