"""The terms of the losses against the paper's formulas in NumPy, as pure functions of images and scores."""

import dataclasses
import itertools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bitmoji_jax.config import ExperimentConfig, TrainConfig
from bitmoji_jax.ops.platform import tracing_for
from bitmoji_jax.training.critics import Critic, make_critics
from bitmoji_jax.training.objective import (
    Translations,
    discriminator_terms,
    generator_terms,
    total,
    translate_all,
)
from bitmoji_jax.training.sample import Pair, Sample

CONFIG = TrainConfig(cycle_weight=10.0, identity_weight=5.0)
CRITICS = make_critics(ExperimentConfig())


@pytest.fixture
def images() -> Iterator[np.ndarray]:
    """Any number of batches of random images."""
    random = np.random.default_rng(0)
    return (random.uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32) for _ in itertools.count())


def pair_of(images: Iterator[np.ndarray]) -> Pair:
    return {"x": Sample(jnp.asarray(next(images))), "y": Sample(jnp.asarray(next(images)))}


def score(critic: Critic, sample: Sample) -> jax.Array:
    """Another linear score of patches for each critic."""
    weights = {"d_x": (1.0, 0.3), "d_y": (0.5, -0.2)}[critic.name]
    return weights[0] * sample.image[:, ::4, ::4, :1] + weights[1]


def test_generators_minimise_the_terms_of_the_paper(images: Iterator[np.ndarray]) -> None:
    out = Translations(pair_of(images), pair_of(images), pair_of(images), pair_of(images))
    x, y, fake_x, fake_y, rec_x, rec_y, idt_x, idt_y = (
        np.asarray(pair[domain].image) for pair in out for domain in "xy"
    )
    expected = {
        "adversarial_g": np.mean((0.5 * fake_y[:, ::4, ::4, 0] - 0.2 - 1) ** 2),
        "adversarial_f": np.mean((fake_x[:, ::4, ::4, 0] + 0.3 - 1) ** 2),
        "cycle_x": np.mean(np.abs(rec_x - x)),
        "cycle_y": np.mean(np.abs(rec_y - y)),
        "identity_x": np.mean(np.abs(idt_x - x)),
        "identity_y": np.mean(np.abs(idt_y - y)),
    }
    loss, metrics = total(generator_terms(out, score, CRITICS, CONFIG))
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)
    weights = {"adversarial_g": 1, "adversarial_f": 1, "cycle_x": 10, "cycle_y": 10, "identity_x": 5, "identity_y": 5}
    np.testing.assert_allclose(loss, sum(weights[name] * value for name, value in expected.items()), rtol=1e-5)


def test_a_cycle_of_cells_compares_their_means(images: Iterator[np.ndarray]) -> None:
    fours = np.ones((4, 4, 1), np.float32)
    real, fake = ({d: Sample(jnp.kron(s.image, fours)) for d, s in pair_of(images).items()} for _ in range(2))
    pattern = jnp.tile(jnp.array([1.0, -1.0]), 16)[:, None]  # of mean 0 in each cell of 2 x 2 pixels
    rec = {d: Sample(s.image + 0.25 + pattern) for d, s in real.items()}
    out = Translations(real, fake, rec, None)
    values = {t.name: t.value for t in generator_terms(out, score, CRITICS, dataclasses.replace(CONFIG, cycle="cells"))}
    np.testing.assert_allclose([values["cycle_x"], values["cycle_y"]], 0.25, rtol=1e-5)


def test_with_noise_what_is_translated_back_differs_and_nothing_else() -> None:
    def translate(params: float, sample: Sample) -> Sample:
        return dataclasses.replace(sample, image=sample.image * params)

    keys = jax.random.split(jax.random.key(0), 2)
    real = {d: Sample(jnp.full((2, 16, 16, 3), value), key=keys) for d, value in (("x", 0.5), ("y", -0.25))}
    exact, noisy = (
        translate_all(translate, {"g": 2.0, "f": 3.0}, real, identity=True, noise=noise) for noise in (False, True)
    )
    assert exact.idt is not None
    assert noisy.idt is not None
    for a, b in ((exact.fake, noisy.fake), (exact.idt, noisy.idt)):
        for domain in "xy":
            np.testing.assert_array_equal(a[domain].image, b[domain].image)
    for domain, factor in (("x", 3.0), ("y", 2.0)):
        noise = np.asarray(noisy.rec[domain].image - exact.rec[domain].image) / factor
        assert abs(noise.mean()) < 0.005
        assert 0.045 < noise.std() < 0.055
        assert np.abs(noise[0] - noise[1]).max() > 0.1  # each image has its own


def test_without_identity_images_there_is_no_identity_term(images: Iterator[np.ndarray]) -> None:
    out = Translations(pair_of(images), pair_of(images), pair_of(images), None)
    names = [term.name for term in generator_terms(out, score, CRITICS, CONFIG)]
    assert names == ["adversarial_g", "adversarial_f", "cycle_x", "cycle_y"]


def test_discriminators_minimise_half_of_both_least_squares_errors(images: Iterator[np.ndarray]) -> None:
    real, fake = pair_of(images), pair_of(images)
    loss, metrics = total(discriminator_terms(real, fake, score, CRITICS))
    expected = {}
    for domain, (scale, shift) in {"x": (1.0, 0.3), "y": (0.5, -0.2)}.items():
        of_real, of_fake = (scale * np.asarray(p[domain].image)[:, ::4, ::4, 0] + shift for p in (real, fake))
        expected[f"loss_d_{domain}"] = (np.mean((of_real - 1) ** 2) + np.mean(of_fake**2)) / 2
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(loss, sum(expected.values()), rtol=1e-5)


@pytest.mark.parametrize("batch", [2, 4])  # in one pass and, from 4 images on, in two
@pytest.mark.parametrize("platform", ["cpu", "cuda"])
def test_each_image_goes_through_the_generators_of_the_paper(batch: int, platform: str) -> None:
    def translate(params: float, sample: Sample) -> Sample:
        assert sample.condition is not None
        return Sample(sample.image * params, sample.landmarks, condition=sample.condition)

    random = np.random.default_rng(0)
    real = {
        domain: Sample(
            jnp.asarray(random.uniform(-1, 1, (batch, 4, 4, 3)), jnp.float32),
            jnp.full((batch, 5, 2), mark),
            condition=jnp.full((batch, 4, 4, 1), mark),
        )
        for domain, mark in (("x", 1.0), ("y", 2.0))
    }
    with tracing_for(platform):
        out = translate_all(translate, {"g": 2.0, "f": 3.0}, real, identity=True)
    for pair, factors in ((out.fake, (3, 2)), (out.rec, (6, 6)), (out.idt, (3, 2))):
        assert pair is not None
        for domain, factor in zip("xy", factors, strict=True):
            source = {"x": "y", "y": "x"}[domain] if pair is out.fake else domain
            np.testing.assert_allclose(pair[domain].image, factor * real[source].image, rtol=1e-6)
            # What is known of an image goes with it.
            np.testing.assert_array_equal(pair[domain].landmarks, real[source].landmarks)
            np.testing.assert_array_equal(pair[domain].condition, real[source].condition)
    assert translate_all(translate, {"g": 2.0, "f": 3.0}, real, identity=False).idt is None
