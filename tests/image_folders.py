"""Folders of images to prepare, and datasets read back."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from bitmoji_jax.data.builder import GENDERS, SPLITS, Example


def fill(folder: Path, count: int, *, seed: int, size: int = 48, first: int = 0) -> Path:
    """Writes `count` different images, 000.png and so on; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(first, first + count):
        coarse = np.random.default_rng([seed, index]).integers(0, 256, (3, 3, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((size, size)).save(folder / f"{index:03}.png")
    return folder


def read_split(out: Path, split: str) -> Iterator[Example]:
    """Yields the examples of a split in their order on disk, images still encoded."""
    for row in tfds.builder_from_directory(out).as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()}):
        attributes = row.get("attributes", {}).items()
        yield Example(
            id=row["id"].decode(),
            image=row["image"],
            gender=GENDERS[row["gender"]],
            landmarks=row["landmarks"],
            attributes={k: v.decode() if isinstance(v, bytes) else float(v) for k, v in attributes},
        )


def read(out: Path) -> dict[str, dict[str, Example]]:
    """All examples by split and id."""
    return {split: {example.id: example for example in read_split(out, split)} for split in SPLITS}
