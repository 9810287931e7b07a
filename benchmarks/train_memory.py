"""Memory that training takes, and whether it grows.

    python -m benchmarks.train_memory

runs the demo and prints a line of JSON: the peak of resident memory, and its median in each tenth of the run after
the first row of metrics, when everything is compiled.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.measured_command import run_measured


def measure() -> dict[str, object]:
    """Runs the demo in its own process and measures it."""
    with tempfile.TemporaryDirectory() as name:
        workdir = Path(name) / "run"
        metrics = workdir / "metrics.jsonl"
        steady: list[int] = []

        def collect(resident: int) -> None:
            if metrics.exists() and metrics.stat().st_size > 0:
                steady.append(resident)

        command = [sys.executable, "launch.py", "--exp", "demo", "--workdir", str(workdir)]
        measured = run_measured(command, every=0.2, on_sample=collect)
        images = json.loads(metrics.read_text().splitlines()[-1])["images"]
        batch_size = json.loads((workdir / "config.json").read_text())["train"]["batch_size"]
    tenths = [steady[len(steady) * i // 10 : len(steady) * (i + 1) // 10] for i in range(10)]
    return {
        "steps": images // batch_size,
        "peak_rss_mb": round(measured.peak_rss / 1e6),
        "median_rss_mb": [round(statistics.median(tenth) / 1e6) for tenth in tenths],
    }


if __name__ == "__main__":
    print(json.dumps(measure()))
