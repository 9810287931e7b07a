"""How much memory training takes, and whether it grows.

    python -m benchmarks.train_memory

runs the demo and prints a line of JSON: the peak of resident memory, and its median in each tenth of the run after
the first row of metrics, when everything is compiled.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from benchmarks.prepare import resident


def measure() -> dict[str, object]:
    """Runs the demo in a process of its own and watches it."""
    with tempfile.TemporaryDirectory() as name:
        workdir = Path(name) / "run"
        command = psutil.Popen(
            [sys.executable, "launch.py", "--exp", "demo", "--workdir", str(workdir)], stdout=subprocess.DEVNULL
        )
        peak, steady = 0, []
        while command.poll() is None:
            try:
                now = resident(command)
            except psutil.NoSuchProcess:
                break
            peak = max(peak, now)
            metrics = workdir / "metrics.jsonl"
            if metrics.exists() and metrics.stat().st_size > 0:
                steady.append(now)
            time.sleep(0.2)
        if command.wait() != 0:
            raise SystemExit("the demo failed")
        images = json.loads(metrics.read_text().splitlines()[-1])["images"]
        batch_size = json.loads((workdir / "config.json").read_text())["train"]["batch_size"]
    tenths = [steady[len(steady) * i // 10 : len(steady) * (i + 1) // 10] for i in range(10)]
    return {
        "steps": images // batch_size,
        "peak_rss_mb": round(peak / 1e6),
        "median_rss_mb": [round(statistics.median(tenth) / 1e6) for tenth in tenths],
    }


if __name__ == "__main__":
    print(json.dumps(measure()))
