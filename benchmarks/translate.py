"""Time and memory of `translate`, from the start of the command to the files.

    python -m benchmarks.translate [--photos DIR]

prints a line of JSON: one photo with nothing compiled yet, one photo with a warm cache (the median of several), and a
folder. Without --photos the folder contains portraits of the size of phone photos, made from the photo of an astronaut
in scikit-image, rotated and scaled.
"""

import dataclasses
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import tyro
from PIL import Image
from skimage import data

from benchmarks.measured_command import Measured, run_measured


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    photos: Path | None = None
    """A folder of photos; generated ones if not given."""
    images: int = 200
    """How many to generate."""
    width: int = 3024
    """Width of generated photos in pixels; their height is 4/3 of it."""
    repeats: int = 5
    """Starts with a warm cache."""


def write_photos(folder: Path, count: int, width: int) -> None:
    """Writes JPEGs of a person, each framed differently."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    person = Image.fromarray(data.astronaut())
    for index in range(count):
        side = round(width * rng.uniform(0.5, 1.0))
        rotated = person.rotate(rng.uniform(-15, 15), Image.Resampling.BICUBIC, fillcolor=(128, 120, 110))
        photo = Image.new("RGB", (width, width * 4 // 3), (128, 120, 110))
        photo.paste(
            rotated.resize((side, side), Image.Resampling.BICUBIC),
            (round(rng.uniform(0, width - side)), round(rng.uniform(0, width * 4 // 3 - side))),
        )
        photo.save(folder / f"{index}.jpg", quality=90)


def measure(options: Options) -> dict[str, object]:
    """Runs the command several times and measures it."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        photos = options.photos
        if photos is None:
            photos = root / "photos"
            write_photos(photos, options.images, options.width)
        one = next(path for path in sorted(photos.rglob("*")) if path.is_file())
        environment = os.environ | {"XDG_CACHE_HOME": str(root / "cache")}
        runs = 0

        def run(source: Path) -> Measured:
            nonlocal runs
            runs += 1
            command = [sys.executable, "-m", "bitmoji_jax", "translate", str(source), "--out", str(root / f"out{runs}")]
            return run_measured(command, env=environment)

        first = run(one)
        warm = [run(one).seconds for _ in range(options.repeats)]
        folder = run(photos)
        made = sum(path.is_file() for path in (root / f"out{runs}").rglob("*"))
    return {
        "cores": os.cpu_count() or 1,
        "first_s": round(first.seconds, 2),
        "warm_s": round(statistics.median(warm), 2),
        "folder_avatars": made,
        "folder_s": round(folder.seconds, 2),
        "avatars_per_s": round(made / folder.seconds, 2),
        "peak_rss_mb": round(folder.peak_rss / 1e6),
    }


if __name__ == "__main__":
    print(json.dumps(measure(tyro.cli(Options))))
