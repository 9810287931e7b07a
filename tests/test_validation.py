import io
from pathlib import Path

import numpy as np
import pytest
import rich.console

from bitmoji_jax.config import DataConfig
from bitmoji_jax.data.pipeline import Dataset, open_dataset
from bitmoji_jax.metrics.kid import kid
from bitmoji_jax.training import validation
from bitmoji_jax.training.validation import LoopScores
from tests.tiny_images import SIZE


class Told:
    """A console, and what it was told."""

    def __init__(self) -> None:
        self._file = io.StringIO()
        self.console = rich.console.Console(file=self._file, width=500)

    @property
    def text(self) -> str:
        return self._file.getvalue()


def mean_colours(images: np.ndarray) -> np.ndarray:
    return images.mean(axis=(1, 2)).astype(np.float32)


@pytest.fixture
def dataset(tiny_dataset: Path) -> Dataset:
    return open_dataset(DataConfig(dir=str(tiny_dataset), image_size=SIZE))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    monkeypatch.setattr(validation, "load_efficientnet_lite0", lambda: mean_colours)
    return Told()


def read(dataset: Dataset, split: str) -> np.ndarray:
    return np.stack([dataset.read(split, i)["image"] for i in range(len(dataset.splits[split]))])


def test_kid_is_that_of_translated_training_photos_against_training_avatars(dataset: Dataset, told: Told) -> None:
    scores = LoopScores(dataset, SIZE, told.console)(lambda photos: photos[:, ::-1] // 2, 100)
    photos, avatars = read(dataset, "trainA"), read(dataset, "trainB")
    expected = kid(mean_colours(photos[:, ::-1] // 2), mean_colours(avatars), subsets=1).mean
    assert scores["kid"] == pytest.approx(expected)


def test_an_avatar_that_is_the_photo_or_its_negative_raises_the_alarm(dataset: Dataset, told: Told) -> None:
    scores = LoopScores(dataset, SIZE, told.console)
    assert scores(lambda photos: photos, 1000)["output_change"] == 0
    assert "Alarm at 1,000 images: avatars differ from their photos by 0.0 grey levels" in told.text
    assert "dark becomes light" not in told.text
    assert scores(lambda photos: 255 - photos, 2000)["luma_correlation"] == pytest.approx(-1)
    assert "Alarm at 2,000 images: dark becomes light" in told.text
