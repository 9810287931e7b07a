"""Sheets for a person to look at: avatars among real ones, unlabelled, and photos beside their avatars.

    python -m benchmarks.look --data DIR [--run RUN | --weights FILE] --out FOLDER

makes the avatars of random test photos, with the pretrained weights by default, and writes into the folder:
avatars_1.png and on, sheets of 24 numbered avatars at 128 px, half of them real, in random order; pairs_1.png and on,
sheets of 48 photos, each beside its avatar; key.json, which says what each number is. Write down which numbers look
real before reading it. The same seed gives the same photos, real avatars and order for every run on one dataset.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tyro
from PIL import Image, ImageDraw

from benchmarks.chosen import Chosen
from bitmoji_jax.config import DataConfig
from bitmoji_jax.data.pipeline import Dataset, open_dataset
from bitmoji_jax.errors import InputError
from bitmoji_jax.ops.batching import resized

_SIZE = 128  # pixels a side of each image
_LABEL = 16  # pixels of the strip for its number
_AVATARS, _AVATAR_COLUMNS = 24, 6
_PAIRS, _PAIR_COLUMNS = 48, 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Chosen):
    """What to draw."""

    out: Path
    """Folder for the sheets; it is created if it does not exist."""
    count: int = 96
    """Avatars, and as many real ones; fewer where there are fewer test images."""


def main(options: Options) -> None:
    """Draws and writes the sheets."""
    dataset = open_dataset(DataConfig(dir=options.data))
    available = [len(dataset.splits.get(split, ())) for split in ("testA", "testB")]
    count = min(options.count, *available)
    if count < 1:
        raise InputError(f"nothing to draw: {options.count} avatars of {available[0]} test photos, {available[1]} real")
    rng = np.random.default_rng(options.seed)
    chosen, real = (rng.permutation(images)[:count] for images in available)
    order = rng.permutation(2 * count)

    photos, avatars = _read(dataset, "testA", chosen), _read(dataset, "testB", real)
    made = options.open_translator()(photos)
    mixed = np.concatenate([resized(made, _SIZE), resized(avatars, _SIZE)])[order]
    pairs = np.concatenate([resized(photos, _SIZE), resized(made, _SIZE)], axis=2)
    truth = [("made", int(chosen[i])) if i < count else ("real", int(real[i - count])) for i in order]
    key = {str(number): {"avatar": what, "test_image": index} for number, (what, index) in enumerate(truth, 1)}

    options.out.mkdir(parents=True, exist_ok=True)
    for name, images, on_sheet, columns in (
        ("avatars", mixed, _AVATARS, _AVATAR_COLUMNS),
        ("pairs", pairs, _PAIRS, _PAIR_COLUMNS),
    ):
        for sheet, start in enumerate(range(0, len(images), on_sheet), 1):
            part = list(images[start : start + on_sheet])
            _sheet(part, start + 1, columns).save(options.out / f"{name}_{sheet}.png")
    (options.out / "key.json").write_text(json.dumps(key, indent=1) + "\n")
    print(f"{count} avatars among {count} real ones, and {count} pairs: {options.out}")


def _read(dataset: Dataset, split: str, indices: np.ndarray) -> np.ndarray:
    return np.stack([dataset.read(split, int(i))["image"] for i in indices])


def _sheet(images: Sequence[np.ndarray], first: int, columns: int) -> Image.Image:
    """Draws images, uint8 [H, W, 3], in rows, each above its number; numbers begin with `first`."""
    height, width = images[0].shape[:2]
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * width, rows * (height + _LABEL)), "white")
    pen = ImageDraw.Draw(sheet)
    for index, image in enumerate(images):
        x, y = index % columns * width, index // columns * (height + _LABEL)
        sheet.paste(Image.fromarray(image), (x, y))
        pen.text((x + width // 2, y + height + _LABEL // 2), str(first + index), fill="black", anchor="mm")
    return sheet


if __name__ == "__main__":
    main(tyro.cli(Options))
