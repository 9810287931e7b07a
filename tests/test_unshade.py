"""Cast shadows are taken out of photos: by how much light is missing, and before anything else is done with them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bitmoji_jax.data import disturb
from bitmoji_jax.data.disturb import cast_shadows
from bitmoji_jax.models.networks import as_seen, draw_roughly, make_network, photo_to_avatar, read_guide
from bitmoji_jax.models.unshade import LEAST_LIGHT, Unshade
from tests.random_weights import random_weights

SIZE = 32


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 0.6, (2, SIZE, SIZE, 3)).astype(np.float32)


def missing_light(monkeypatch: pytest.MonkeyPatch, logs: np.ndarray) -> Unshade:
    monkeypatch.setattr(Unshade, "missing", lambda self, photos: jnp.asarray(logs))  # noqa: ARG005
    network: Unshade = make_network(random_weights().config, "l")  # type: ignore[assignment]
    return network


def test_what_is_missing_is_given_back_and_no_more_than_is_believed(
    photos: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    light = np.ones_like(photos)
    light[:, :, :8], light[:, :, 8:16] = 0.5, LEAST_LIGHT / 4
    shaded = (photos + 1) * light - 1
    seen = np.asarray(missing_light(monkeypatch, -np.log(light)).apply({}, shaded))
    np.testing.assert_allclose(seen[:, :, :8], photos[:, :, :8], atol=1e-5)
    np.testing.assert_allclose(seen[:, :, 8:16] + 1, (shaded[:, :, 8:16] + 1) / LEAST_LIGHT, atol=1e-5)
    np.testing.assert_allclose(seen[:, :, 16:], photos[:, :, 16:], atol=1e-6)


def test_nothing_gets_darker_and_white_stays_white(monkeypatch: pytest.MonkeyPatch) -> None:
    photos = np.broadcast_to(np.array([-1, 0, 1], np.float32), (1, SIZE, SIZE, 3))
    for logs in (-1.0, 0.3):
        seen = np.asarray(missing_light(monkeypatch, np.full(photos.shape, logs)).apply({}, photos))
        np.testing.assert_allclose(seen[..., [0, 2]], photos[..., [0, 2]], atol=1e-6)
        np.testing.assert_allclose(seen[..., 1] + 1, np.exp(max(logs, 0)), rtol=1e-5)


def test_shadows_only_take_light_from_the_person_whose_light_is_else_the_same() -> None:
    photo = np.ones((SIZE, SIZE, 3), np.float32)
    photo[8:, 8:24] = np.random.default_rng(0).uniform(-1, 0.8, (SIZE - 8, 16, 3))
    pairs = [cast_shadows(jnp.asarray(photo), key) for key in jax.random.split(jax.random.key(0), 24)]
    shaded, lit = (np.stack(images) for images in zip(*pairs, strict=True))
    assert (shaded <= lit + 1e-5).all()
    taken = (lit - shaded).max(axis=(1, 2, 3))
    assert (taken > 0.2).sum() > 8
    assert (taken < 1e-4).any()
    np.testing.assert_allclose(shaded[:, :4], 1, atol=1e-4)
    np.testing.assert_allclose(lit[:, :4], 1, atol=1e-4)
    changed = np.abs(lit - photo).max(axis=(1, 2, 3))
    assert (changed > 0.1).any()
    assert (changed < 1e-4).any()


def test_without_a_fault_both_are_the_photo(photos: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    for share in ("_SHADOW_SHARE", "_PATCH_SHADOW_SHARE", "_LIGHT_SHARE"):
        monkeypatch.setattr(disturb, share, 0.0)
    for image in cast_shadows(jnp.asarray(photos[0]), jax.random.key(0)):
        np.testing.assert_allclose(image, photos[0], atol=1e-6)


@pytest.mark.parametrize("names", ["st", "gr"])
def test_all_that_is_done_with_a_photo_is_done_with_what_is_seen_of_it(photos: np.ndarray, names: str) -> None:
    guided = "s" in names
    weights = random_weights(names=names + "l", guided=guided, mouth=guided, compute_dtype="float32")
    config, networks = weights.config, weights.networks
    rest = {name: params for name, params in networks.items() if name != "l"}
    large = np.repeat(np.repeat(photos, 2, axis=1), 2, axis=2)
    for function in (photo_to_avatar, draw_roughly, *((read_guide,) if guided else ())):
        for shown in (photos, large):
            seen = as_seen(config, networks, shown)
            assert seen.shape == photos.shape
            assert np.abs(seen - as_seen(config, rest, shown)).max() > 0.1
            np.testing.assert_allclose(function(config, networks, shown), function(config, rest, seen), atol=2e-4)
