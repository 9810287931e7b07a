import io
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import rich.console

from bitmoji_jax.config import ExperimentConfig
from bitmoji_jax.data.pipeline import Dataset, open_dataset
from bitmoji_jax.metrics.kid import kid
from bitmoji_jax.training import validation
from bitmoji_jax.training.validation import Validation


def mean_colours(images: np.ndarray) -> np.ndarray:
    return images.mean(axis=(1, 2)).astype(np.float32)


@pytest.fixture(autouse=True)
def _cheap_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "load_squeezenet", lambda: mean_colours)


@pytest.fixture(autouse=True)
def _networks_are_functions_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos are translated by the function in the place of g, avatars by that in the place of f."""
    monkeypatch.setattr(validation, "make_translate", lambda way, _: way)
    monkeypatch.setattr(validation, "photo_to_avatar", lambda _, networks, photos: networks["g"](photos))
    monkeypatch.setattr(validation, "avatar_to_photo", lambda _, networks, avatars: networks["f"](avatars))


@pytest.fixture
def dataset(tiny_config: ExperimentConfig) -> Dataset:
    return open_dataset(tiny_config.data)


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def validate(tiny_config: ExperimentConfig, dataset: Dataset, tmp_path: Path, output: io.StringIO) -> Validation:
    """Of a stage that trains g and has f frozen."""
    stage: Any = types.SimpleNamespace(domain="y", best_from=10, networks_of=lambda trained, frozen: trained | frozen)
    console = rich.console.Console(file=output, width=500)
    return Validation(tiny_config, stage, dataset, tmp_path, console, jax.local_devices())


@pytest.fixture(autouse=True)
def saved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Images seen, of the weights that were saved as best."""
    saved: list[int] = []
    monkeypatch.setattr(validation, "save_weights", lambda _, weights: saved.append(weights.images))
    return saved


def read(dataset: Dataset, split: str) -> np.ndarray:
    return np.stack([dataset.read(split, i)["image"] for i in range(len(dataset.splits[split]))])


def state(x2y: Callable[[np.ndarray], np.ndarray]) -> Any:
    return types.SimpleNamespace(ema={"g": x2y}, frozen={"f": lambda images: images}, discriminators={})


def test_kid_is_that_of_translated_training_photos_against_training_avatars(
    dataset: Dataset, validate: Validation, saved: list[int]
) -> None:
    scores = validate(state(lambda photos: photos[:, ::-1] // 2), 100)
    photos, avatars = read(dataset, "trainA"), read(dataset, "trainB")
    expected = kid(mean_colours(photos[:, ::-1] // 2), mean_colours(avatars), subsets=1).mean
    assert scores["kid"] == pytest.approx(expected)
    assert saved == [100]


def test_where_f_is_trained_kid_is_that_of_its_photos_of_training_avatars(
    dataset: Dataset, validate: Validation
) -> None:
    validate._stage.domain = "x"  # type: ignore[misc]  # not frozen here
    networks: Any = types.SimpleNamespace(
        ema={"f": lambda avatars: avatars // 2}, frozen={"g": lambda photos: photos}, discriminators={}
    )
    expected = kid(mean_colours(read(dataset, "trainB") // 2), mean_colours(read(dataset, "trainA")), subsets=1).mean
    assert validate(networks, 100)["kid"] == pytest.approx(expected)


def test_the_weights_of_the_lowest_kid_are_kept(dataset: Dataset, validate: Validation, saved: list[int]) -> None:
    def like_avatars(photos: np.ndarray) -> np.ndarray:
        return np.resize(read(dataset, "trainB"), photos.shape)

    scores = [
        validate(state(function), images)["kid"]
        for images, function in (
            (9, like_avatars),  # too early to count
            (10, like_avatars),
            (20, lambda photos: 255 - photos),
            (30, like_avatars),
        )
    ]
    assert scores[0] == scores[1] == scores[3] < scores[2]
    assert saved == [10]
    assert validate.best == {"kid": scores[0], "images": 10}


def test_an_avatar_that_is_the_photo_or_its_negative_raises_the_alarm(
    validate: Validation, output: io.StringIO
) -> None:
    assert validate(state(lambda photos: photos), 1000)["output_change"] == 0
    assert "Alarm at 1,000 images: avatars differ from their photos by 0.0 grey levels" in output.getvalue()
    assert "dark becomes light" not in output.getvalue()
    assert validate(state(lambda photos: 255 - photos), 2000)["luma_correlation"] == pytest.approx(-1)
    assert "Alarm at 2,000 images: dark becomes light" in output.getvalue()
