"""Time from the command to the end of the first step, and what it is spent on.

    python -m benchmarks.cold_start

starts `python launch.py --exp demo` several times, each time with an empty compilation cache and then again with the
cache that this has filled, and stops it at the first row of metrics, when the first step is done. Prints a table of
medians, and on stdout a line of JSON. The built-in dataset is rendered first if it is not cached; that is timed apart.
"""

import dataclasses
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import rich.console
import rich.table
import tyro

from bitmoji_jax.data.synthetic.dataset import synthetic_dataset
from experiments import demo

# Messages that JAX logs with jax_log_compiles.
_TRACED = re.compile(r"Finished tracing (\S+) for \S+ in ([\d.e-]+) sec")
_LOWERED = re.compile(r"Finished jaxpr to MLIR module conversion (\S+) .*?in ([\d.e-]+) sec")
_COMPILED = re.compile(r"Finished XLA compilation of (\S+) .*?in ([\d.e-]+) sec")

_TINY = {
    "--data.image-size": "32",
    "--generator.features": "4",
    "--generator.res-blocks": "0",
    "--discriminator.features": "4",
    "--log.sample-images": "1",
}


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    rounds: int = 3
    """Starts with an empty and with a filled cache, alternating."""
    short: bool = False
    """One round with a tiny network: a check that this runs; the times mean nothing."""
    data: Path | None = None
    """A dataset; the built-in one unless given."""


@dataclasses.dataclass
class Start:
    """Seconds of one start."""

    total: float
    cpu: float
    """Of all cores together; other work on the machine changes it little."""
    traced: float = 0.0
    lowered: float = 0.0
    compiled: float = 0.0
    programs: dict[str, float] = dataclasses.field(default_factory=dict)
    """Tracing, lowering and compilation (or reading from the cache) of each program."""


def start(options: Options, cache: Path, workdir: Path) -> Start:
    """Starts the demo and stops it after the first step."""
    batch_size = demo.get_experiment().train.batch_size
    flags = {"--workdir": str(workdir), "--log.metrics-every": str(batch_size)}
    flags |= _TINY if options.short else {}
    flags |= {"--data.dir": str(options.data)} if options.data else {}
    command = [sys.executable, "launch.py", "--exp", "demo", *(word for flag in flags.items() for word in flag)]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_LOG_COMPILES": "1"}
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=1
    )
    assert process.stdout is not None
    assert process.stderr is not None
    log: list[str] = []
    reader = threading.Thread(target=log.extend, args=(process.stderr,), daemon=True)
    reader.start()
    for line in process.stdout:
        if line.startswith(f"{batch_size}/"):
            total = time.perf_counter() - began
            cpu = sum(psutil.Process(process.pid).cpu_times()[:2])
            break
    else:
        raise SystemExit(f"the demo ended before its first step:\n{''.join(log)}")
    process.kill()
    process.wait()
    reader.join()
    return _with_phases(Start(total, cpu), log)


def _with_phases(result: Start, log: list[str]) -> Start:
    programs: dict[str, float] = defaultdict(float)
    for line in log:
        for name, pattern in (("traced", _TRACED), ("lowered", _LOWERED), ("compiled", _COMPILED)):
            if match := pattern.search(line):
                seconds = float(match[2])
                setattr(result, name, getattr(result, name) + seconds)
                programs[match[1].removeprefix("jit(").removesuffix(")")] += seconds
    result.programs = dict(sorted(programs.items(), key=lambda item: -item[1]))
    return result


def import_seconds() -> tuple[float, dict[str, float]]:
    """Returns the time to import all that training imports, and the share of each top-level package."""
    code = "import launch, bitmoji_jax; bitmoji_jax.train"
    began = time.perf_counter()
    log = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], check=True, capture_output=True, text=True
    ).stderr
    total = time.perf_counter() - began
    shares: dict[str, float] = defaultdict(float)
    for line in log.splitlines():
        if match := re.match(r"import time:\s*(\d+) \|\s*\d+ \|\s*(\w+)", line):
            shares[match[2]] += int(match[1]) / 1e6
    return total, dict(sorted(shares.items(), key=lambda item: -item[1])[:12])


def measure(options: Options) -> dict[str, object]:
    """Alternates starts with an empty and with a filled cache."""
    began = time.perf_counter()
    if options.data is None:
        synthetic_dataset(32 if options.short else demo.get_experiment().data.image_size)
    rendered = time.perf_counter() - began
    starts: dict[str, list[Start]] = {"cold": [], "warm": []}
    imports = []
    with tempfile.TemporaryDirectory() as name:
        for number in range(1 if options.short else options.rounds):
            cache = Path(name) / f"cache{number}"
            for kind in starts:
                starts[kind].append(start(options, cache, Path(name) / f"{kind}{number}"))
            imports.append(import_seconds())
    median = statistics.median

    def summary(kind: str) -> dict[str, object]:
        of_kind = starts[kind]
        last = {name: round(s, 2) for name, s in list(of_kind[-1].programs.items())[:8]}
        phases = {
            name: round(median(getattr(s, name) for s in of_kind), 2)
            for name in ("total", "cpu", "traced", "lowered", "compiled")
        }
        spread = [round(min(s.total for s in of_kind), 2), round(max(s.total for s in of_kind), 2)]
        return {**phases, "total_min_max": spread, "programs": last}

    return {
        "cores": os.cpu_count(),
        "rounds": len(starts["cold"]),
        "dataset_s": round(rendered, 1),
        "import_s": round(median(total for total, _ in imports), 2),
        "import_by_package_s": {name: round(s, 2) for name, s in imports[-1][1].items()},
        **{kind: summary(kind) for kind in starts},
    }


def show(result: dict[str, object]) -> None:
    """Prints the table on stderr."""
    table = rich.table.Table("seconds", "empty cache", "filled cache", title="Start to the first step done")
    cold, warm = result["cold"], result["warm"]
    assert isinstance(cold, dict)
    assert isinstance(warm, dict)
    names = {
        "total": "all",
        "cpu": "all, CPU time",
        "traced": "tracing",
        "lowered": "lowering",
        "compiled": "compiling, or reading the cache",
    }
    for name, title in names.items():
        table.add_row(title, str(cold[name]), str(warm[name]))
    table.add_row("imports, alone", str(result["import_s"]), str(result["import_s"]))
    console = rich.console.Console(stderr=True)
    console.print(table)
    console.print("Programs, empty cache:", cold["programs"])
    console.print("Imports, by package:", result["import_by_package_s"])


if __name__ == "__main__":
    outcome = measure(tyro.cli(Options))
    show(outcome)
    print(json.dumps(outcome))
