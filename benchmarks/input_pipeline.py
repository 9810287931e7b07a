"""Speed of reading and decoding images, and how long a device of a given speed would wait for them.

    python -m benchmarks.input_pipeline

prints a table, and on stdout a line of JSON: CPU time to read an image's row and to decode it, by Pillow and by the
package; pairs/s through the whole pipeline by number of threads; and the share of its time that a device waits if it
takes 100 or 400 pairs/s. Images are generated, 128 and 256 px. Rounds are interleaved, figures are medians.
"""

import dataclasses
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rich.console
import rich.table
import tyro
from PIL import Image

from bitmoji_jax.config import DataConfig
from bitmoji_jax.data.builder import Example, encode_image, write_dataset
from bitmoji_jax.data.images import decode_image
from bitmoji_jax.data.pipeline import Dataset, open_dataset, train_batches
from bitmoji_jax.parallel import make_mesh

_BATCH = 8


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    sizes: tuple[int, ...] = (128, 256)
    """Sides of the images in pixels."""
    threads: tuple[int, ...] = (1, 2, 4, 8)
    """Values of data.read_threads."""
    demands: tuple[float, ...] = (100, 400)
    """Pairs/s that the device takes."""
    images: int = 400
    """Images of each domain."""
    pairs: int = 800
    """Pairs read in each measurement."""
    rounds: int = 3
    short: bool = False
    """A few images once: a check that this runs; the times mean nothing."""


def drawn(size: int, index: int) -> np.ndarray:
    """Returns uint8 [size, size, 3] with about the detail of a photo: smooth colours and a little noise."""
    rng = np.random.default_rng(index)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize(
        (size, size), Image.Resampling.BICUBIC
    )
    return (np.asarray(coarse) + rng.normal(0, 3, (size, size, 1))).clip(0, 255).astype(np.uint8)


def by_pillow(encoded: bytes) -> np.ndarray:
    """Decodes with Pillow, as `decode_image` does for all but plain JPEGs."""
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image.convert("RGB"))


def cpu_microseconds(work: Callable[[int], Any], count: int) -> float:
    """Returns the CPU time of `work(i)`, the mean of `count` calls."""
    began = time.process_time()
    for index in range(count):
        work(index)
    return (time.process_time() - began) / count * 1e6


def batches_of(dataset: Dataset, config: DataConfig, threads: int) -> Any:
    config = dataclasses.replace(config, read_threads=threads)
    batches = train_batches(dataset, config, batch_size=_BATCH, seed=0, mesh=make_mesh())
    next(batches)  # starts the threads
    return batches


def pairs_per_second(batches: Any, pairs: int) -> float:
    """Reads at full speed."""
    began = time.perf_counter()
    for _ in range(pairs // _BATCH):
        next(batches)
    return pairs // _BATCH * _BATCH / (time.perf_counter() - began)


def wait_share(batches: Any, pairs: int, demand: float) -> float:
    """Returns the share of its time that a device waits if it takes `demand` pairs/s; the host sleeps meanwhile."""
    waited = 0.0
    began = time.perf_counter()
    for _ in range(pairs // _BATCH):
        asked = time.perf_counter()
        next(batches)
        waited += time.perf_counter() - asked
        time.sleep(_BATCH / demand)
    return waited / (time.perf_counter() - began)


def measure_size(size: int, options: Options, folder: Path) -> dict[str, Any]:
    """Measures all figures for images of one size."""
    examples = [Example(f"{i:05}", encode_image(drawn(size, i))) for i in range(options.images)]
    out = folder / str(size)
    write_dataset(out, {"trainA": examples, "trainB": examples}, size=size, attributes={}, description="benchmark")
    config = DataConfig(dir=str(out), image_size=size)
    dataset = open_dataset(config)
    rows = dataset.splits["trainA"]
    encoded = [rows[i]["image"] for i in range(options.images)]
    assert all(np.array_equal(decode_image(e), by_pillow(e)) for e in encoded[:20])

    images: dict[str, list[float]] = {"row": [], "decode": [], "decode_pillow": []}
    speed: dict[int, list[float]] = {threads: [] for threads in options.threads}
    waits: dict[tuple[int, float], list[float]] = {(t, d): [] for t in options.threads for d in options.demands}
    for _ in range(options.rounds):
        images["row"].append(cpu_microseconds(lambda i: rows[i], options.images))
        images["decode"].append(cpu_microseconds(lambda i: decode_image(encoded[i]), options.images))
        images["decode_pillow"].append(cpu_microseconds(lambda i: by_pillow(encoded[i]), options.images))
        for threads in options.threads:
            batches = batches_of(dataset, config, threads)
            speed[threads].append(pairs_per_second(batches, options.pairs))
            for demand in options.demands:
                waits[threads, demand].append(wait_share(batches, options.pairs, demand))
            batches.close()
    return {
        "jpeg_bytes": round(statistics.mean(map(len, encoded))),
        "cpu_us_an_image": {name: round(statistics.median(values)) for name, values in images.items()},
        "pairs_per_s": {threads: round(statistics.median(values)) for threads, values in speed.items()},
        "wait_share": {
            f"{threads} threads, {demand:g} pairs/s": round(statistics.median(values), 4)
            for (threads, demand), values in waits.items()
        },
    }


def measure(options: Options) -> dict[str, Any]:
    """Measures all sizes."""
    if options.short:
        options = dataclasses.replace(options, sizes=(32,), threads=(1, 2), images=10, pairs=16, rounds=1)
    with tempfile.TemporaryDirectory() as name:
        sizes = {size: measure_size(size, options, Path(name)) for size in options.sizes}
    return {"cores": os.cpu_count(), "load": os.getloadavg()[0], "sizes": sizes}


def show(result: dict[str, Any]) -> None:
    """Prints the tables on stderr."""
    console = rich.console.Console(stderr=True)
    for size, figures in result["sizes"].items():
        table = rich.table.Table("what", "figure", title=f"{size} px, JPEG of {figures['jpeg_bytes']:,} bytes")
        for name, value in figures["cpu_us_an_image"].items():
            table.add_row(f"{name}, CPU time an image", f"{value} µs")
        for threads, value in figures["pairs_per_s"].items():
            table.add_row(f"{threads} threads", f"{value} pairs/s")
        for name, value in figures["wait_share"].items():
            table.add_row(f"waiting at {name}", f"{value:.1%}")
        console.print(table)


if __name__ == "__main__":
    outcome = measure(tyro.cli(Options))
    show(outcome)
    print(json.dumps(outcome))
