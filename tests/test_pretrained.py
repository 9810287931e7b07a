"""The weights in the package: that they load, and that what they do has not changed."""

import importlib.resources
from pathlib import Path

import jax
import numpy as np
import pytest

from bitmoji_jax import Translator
from bitmoji_jax.config import DataConfig
from bitmoji_jax.data.pipeline import open_dataset
from bitmoji_jax.data.synthetic.dataset import synthetic_dataset
from bitmoji_jax.inference.weights import pretrained_weights
from bitmoji_jax.metrics.images import colour_inversion, cycle_psnr, does_nothing


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """16 synthetic faces of 64 px."""
    folder = synthetic_dataset(64, train_images=1, test_images=16, cache_dir=tmp_path_factory.mktemp("synthetic"))
    dataset = open_dataset(DataConfig(dir=str(folder)))
    return np.stack([dataset.read("testA", i)["image"] for i in range(16)])


def test_synthetic_faces_become_avatars_of_the_scores_measured_when_the_weights_were_made(photos: np.ndarray) -> None:
    translator = Translator.pretrained("res5")
    avatars = translator(photos)
    assert colour_inversion(photos, avatars).value == pytest.approx(0.84, abs=0.03)
    assert does_nothing(photos, avatars).value == pytest.approx(56, abs=3)
    assert cycle_psnr(photos, translator.y2x(avatars)).mean() == pytest.approx(14.9, abs=0.5)


@pytest.mark.parametrize(("name", "network"), [("res5", "g"), ("bitmoji", "s")])
def test_the_file_is_small_and_says_what_it_was_made_from(name: str, network: str) -> None:
    folder = importlib.resources.files("bitmoji_jax.inference")
    assert Path(str(folder / f"{name}.safetensors")).stat().st_size <= 16e6
    weights = pretrained_weights(name)
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"{weights.images:,} pairs" in card
    assert f"{weights.config.data.image_size} px" in card
    assert f"{sum(leaf.size for leaf in jax.tree.leaves(weights.networks[network])):,} parameters" in card
    # Paths would name a machine.
    assert not str(weights.config.data.dir).startswith("/")
    assert not str(weights.config.train.init_from).startswith("/")


def test_the_default_draws_avatars_of_256_px(photos: np.ndarray) -> None:
    translator = Translator.pretrained()
    assert translator.size == 256
    assert translator.directions == {"x2y", "y2x"}
    avatars = translator(photos[:2])
    assert avatars.shape == (2, 256, 256, 3)
    assert translator.y2x(avatars).shape == (2, 64, 64, 3)
