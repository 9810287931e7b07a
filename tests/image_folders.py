"""Folders of images to prepare, and datasets read back."""

from pathlib import Path

import numpy as np
from PIL import Image

from bitmoji_jax.data.builder import SPLITS, Example, read_split


def fill(folder: Path, count: int, *, seed: int, size: int = 48, first: int = 0) -> Path:
    """Writes `count` different images, 000.png and so on; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(first, first + count):
        coarse = np.random.default_rng([seed, index]).integers(0, 256, (3, 3, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((size, size)).save(folder / f"{index:03}.png")
    return folder


def read(out: Path) -> dict[str, dict[str, Example]]:
    """All examples by split and id."""
    return {split: {example.id: example for example in read_split(out, split)} for split in SPLITS}
