"""Hats of photos: what they are told by, how that is learned, and what a guide says of them."""

from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from bitmoji_jax.config import ExperimentConfig
from bitmoji_jax.data.pipeline import open_dataset
from bitmoji_jax.models import efficientnet, read_hat
from bitmoji_jax.models import networks as networks_module
from bitmoji_jax.models.features import load_params
from bitmoji_jax.models.networks import photo_to_avatar, read_guide
from bitmoji_jax.models.read_hat import BLOCKS, FEATURES, HatReader, hat_features
from bitmoji_jax.models.reader import HAT, HAT_COLOUR
from bitmoji_jax.models.wear_hat import COLOUR
from bitmoji_jax.training import fit_hats as fit_hats_module
from bitmoji_jax.training.fit_hats import fit_hats, logistic_regression
from tests.random_weights import random_weights

PHOTOS = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)


def test_features_are_those_of_efficientnet_before_its_last_block_of_the_upper_half() -> None:
    found = np.asarray(hat_features(PHOTOS))
    assert found.shape == (2, FEATURES)
    params = load_params(efficientnet.WEIGHTS)
    large = np.asarray(read_hat.resize(PHOTOS, 128))
    outputs = efficientnet.block_outputs(params, jnp.asarray(127.5 * (large[:, :64, 16:112] + 1)))
    assert len(outputs) == 1 + len(efficientnet.STRIDES) == BLOCKS + 2
    np.testing.assert_allclose(found, np.mean(outputs[-2], axis=(1, 2)), atol=1e-3)
    lower = PHOTOS.copy()
    lower[:, 33:] = 1
    np.testing.assert_array_equal(hat_features(lower), found)


def test_a_few_hats_among_many_heads_are_told_by_what_they_have_in_common() -> None:
    rng = np.random.default_rng(0)
    worn = np.arange(2000) < 60
    features = rng.normal(size=(2000, 8)) * np.arange(1, 9) + 5
    features[worn, 2] += 15  # five standard deviations
    fitted = logistic_regression(features.astype(np.float32), worn)
    logits = features @ fitted["kernel"] + fitted["bias"]
    assert (logits > 0)[worn].mean() > 0.85
    assert (logits > 0)[~worn].mean() < 0.01
    assert np.abs(fitted["kernel"] * features.std(axis=0)).argmax() == 2
    # At the minimum: the derivative by the bias, which has no ridge, is that of the weights alone.
    share = 1 / (1 + np.exp(-logits))
    weight = np.where(worn, 0.1 / worn.sum(), 0.9 / (~worn).sum())
    assert weight @ (share - worn) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("labels", [{0: 1.0, 1: 1.0, 5: 0.0, 6: 0.0, 7: 0.0}, {0: 1.0, 5: 0.0, 6: 0.0}, {}])
def test_h_is_fitted_to_the_labelled_training_photos_where_they_suffice(
    labels: dict[int, float], tiny_config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(tiny_config.data)

    rows = [{"attributes": {"hat": labels.get(i, np.nan)}} for i in range(12)]
    labelled: Any = SimpleNamespace(splits={"trainA": rows}, read=dataset.read)
    given = []

    def kept(features: np.ndarray, worn: np.ndarray) -> dict[str, np.ndarray]:
        given.append((features, worn))
        return logistic_regression(features, worn)

    monkeypatch.setattr(fit_hats_module, "_FEWEST", 2)
    monkeypatch.setattr(fit_hats_module, "logistic_regression", kept)
    params = fit_hats(labelled, 32)["params"]
    assert (params["kernel"].shape, params["bias"].shape) == ((FEATURES,), ())
    if len(labels) < 5:
        assert not given
        assert not (HatReader().apply({"params": params}, np.ones((1, FEATURES), np.float32)) > 0).any()
        return
    ((features, worn),) = given
    np.testing.assert_array_equal(worn, [True] * 4 + [False] * 6)  # each photo, and its mirror image
    image = dataset.read("trainA", 5)["image"][None].astype(np.float32) / 127.5 - 1
    np.testing.assert_allclose(features[4:6], hat_features(np.concatenate([image, image[:, :, ::-1]])), atol=1e-3)


def test_who_wears_a_hat_gets_one_in_its_colour_and_may_take_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = random_weights(names="sth", guided=True, mouth=True, compute_dtype="float32")
    config, networks = weights.config, dict(weights.networks)
    monkeypatch.setattr(
        networks_module, "hat_features", lambda photos: jnp.full((len(photos), FEATURES), photos[0, 0, 0, 0])
    )
    networks["h"] = {"params": {"kernel": np.full(FEATURES, 1 / FEATURES, np.float32), "bias": np.float32(0)}}
    photos = np.full((1, 32, 32, 3), (0.5, -0.5, -0.25), np.float32)  # all of it is hat
    for shown, worn in ((photos, True), (-photos, False)):
        guides = read_guide(config, networks, shown)
        assert guides[0, HAT] == pytest.approx(np.tanh(0.5 if worn else -0.5), abs=1e-5)
        colour = shown[0, 0, 0] if worn else COLOUR
        np.testing.assert_allclose(guides[0, HAT_COLOUR], colour, atol=0.01)
        as_read, other = (photo_to_avatar(config, networks, shown, g) for g in (guides, guides.at[:, HAT].set(-1.0)))
        assert (np.abs(as_read - other).max() > 0.1) == worn
    unknown = read_guide(config, {name: networks[name] for name in "st"}, photos)
    np.testing.assert_allclose(unknown[0, HAT:], [-1, *COLOUR], atol=1e-6)
