"""Speed of `prepare`, and the memory that all of its processes take together.

    python -m benchmarks.prepare --images 9000 --side 512

prints a line of JSON: images/s from the start of the command to its end, and the peak of all resident memory.
"""

import dataclasses
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from benchmarks.measured_command import run_measured


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    images: int = 9000
    """How many to prepare, half of them photos."""
    side: int = 512
    """Width and height of the generated images, JPEG."""
    size: int = 128
    """Width and height of the images in the dataset."""


def write_images(folder: Path, count: int, side: int, seed: int) -> None:
    """Writes images with about the detail of photos: smooth colours and a little noise."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 6, (side, side, 1)).astype(np.float32)
    for index in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((side, side))
        Image.fromarray((np.asarray(coarse) + noise).clip(0, 255).astype(np.uint8)).save(
            folder / f"{index}.jpg", quality=90
        )


def measure(options: Options) -> dict[str, float]:
    """Generates images, prepares them in another process, and measures it."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_images(root / "photos", options.images // 2, options.side, 0)
        write_images(root / "avatars", options.images - options.images // 2, options.side, 1)
        flags = {
            "--photos": root / "photos", "--avatars": root / "avatars", "--out": root / "out", "--size": options.size,
        }  # fmt: skip
        words = [str(word) for flag in flags.items() for word in flag]
        measured = run_measured([sys.executable, "-m", "bitmoji_jax", "prepare", *words])
        written = sum(path.stat().st_size for path in (root / "out").iterdir())
    return {
        **dataclasses.asdict(options),
        "cores": os.cpu_count() or 1,
        "seconds": round(measured.seconds, 2),
        "images_per_s": round(options.images / measured.seconds),
        "peak_rss_mb": round(measured.peak_rss / 1e6),
        "dataset_mb": round(written / 1e6, 1),
    }


if __name__ == "__main__":
    print(json.dumps(measure(tyro.cli(Options))))
