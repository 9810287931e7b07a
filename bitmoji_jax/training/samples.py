"""Sample grids: the same test images through the networks of a stage, at different times."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw

from bitmoji_jax.config import ExperimentConfig
from bitmoji_jax.data.pipeline import Dataset
from bitmoji_jax.files import write_atomic
from bitmoji_jax.models.networks import Params
from bitmoji_jax.ops.image import resize, to_float, to_uint8
from bitmoji_jax.training.stage import Stage
from bitmoji_jax.training.train_state import TrainState

_HEADER = 14  # pixels; the default font is 10 high


def sample_images(dataset: Dataset, count: int) -> dict[str, np.ndarray]:
    """Reads the first `count` test images of each domain (of the train split where there is no test split).

    Where photos have true avatars, as in the synthetic set, these are the avatars, in the same order.

    Returns:
      {"x", "y"}: uint8 [count, S, S, 3]; fewer where the split is smaller.
    """
    split_x = "testA" if "testA" in dataset.splits else "trainA"
    split_y = "testB" if "testB" in dataset.splits else "trainB"
    count = min(count, len(dataset.splits[split_x]), len(dataset.splits[split_y]))
    pairs = dataset.test_pairs()[:count] or [(i, i) for i in range(count)]
    return {
        "x": np.stack([dataset.read(split_x, i)["image"] for i, _ in pairs]),
        "y": np.stack([dataset.read(split_y, i)["image"] for _, i in pairs]),
    }


class Sampler:
    """Draws grids of the same test images at different times of a stage, with the raw and the averaged weights."""

    def __init__(self, config: ExperimentConfig, stage: Stage, dataset: Dataset, folder: Path) -> None:
        """Reads the images; pictures go to `folder`, which the first one creates."""
        self._folder = folder
        images = sample_images(dataset, config.log.sample_images)
        self._images = {domain: jnp.asarray(array) for domain, array in images.items()}

        self._names = stage.column_names

        @jax.jit
        def columns(trained: Mapping[str, Params], frozen: Mapping[str, Params], images: dict[str, jax.Array]) -> Any:
            drawn = stage.columns(trained, frozen, {domain: to_float(array) for domain, array in images.items()})
            size = max(column.shape[1] for column in drawn)
            return [to_uint8(resize(column, size)) for column in drawn]

        self._columns = columns

    def save(self, state: TrainState, images: int) -> dict[str, np.ndarray]:
        """Writes samples/raw_IMAGES.png and samples/ema_IMAGES.png; returns both pictures, uint8 [H, W, 3]."""
        pictures = {
            name: make_grid(dict(zip(self._names, self._columns(trained, state.frozen, self._images), strict=True)))
            for name, trained in (("raw", state.generators), ("ema", state.ema))
        }
        if jax.process_index() == 0:
            for name, picture in pictures.items():
                save_picture(picture, self._folder / f"{name}_{images:08d}.png")
        return pictures


def make_grid(columns: Mapping[str, Any]) -> np.ndarray:
    """Returns a picture, uint8 [height, width, 3]: a row an image, a column [N, S, S, 3] under its name."""
    images = [np.asarray(column) for column in columns.values()]
    body = np.concatenate([column.reshape(-1, *column.shape[2:]) for column in images], axis=1)
    header = Image.new("RGB", (body.shape[1], _HEADER), "white")
    draw = ImageDraw.Draw(header)
    for i, name in enumerate(columns):
        draw.text((i * images[0].shape[2] + 2, 1), name, fill="black")
    return np.concatenate([np.asarray(header), body])


def save_picture(picture: np.ndarray, path: Path) -> None:
    """Writes a PNG, whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG")
    write_atomic(path, file.getvalue())
