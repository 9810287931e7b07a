from collections.abc import Callable

import jax
import numpy as np
import pytest

from bitmoji_jax.training.losses import (
    absolute_error,
    binary_cross_entropy,
    colour_distance,
    discriminator_loss,
    feature_distance,
    hinge_discriminator_loss,
    hinge_generator_loss,
    least_squares,
)

as_is_and_jitted = pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])
RNG = np.random.default_rng(0)
REAL, FAKE = RNG.normal(size=(2, 3, 5, 4, 1)).astype(np.float32)
IMAGES, TARGETS = RNG.uniform(-1, 1, (2, 2, 6, 5, 3)).astype(np.float32)
REAL_HEADS, FAKE_HEADS = (
    [RNG.normal(scale=2, size=shape).astype(np.float32) for shape in ((3, 6, 5, 1), (3, 2, 1, 1))] for _ in range(2)
)
MAPS, TARGET_MAPS = (
    [RNG.normal(size=shape).astype(np.float32) for shape in ((2, 6, 5, 3), (2, 3, 2, 7))] for _ in range(2)
)


@as_is_and_jitted
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_least_squares_is_the_mean_squared_distance_from_the_target(jit: Callable, target: float) -> None:
    by_hand = sum((float(score) - target) ** 2 for score in REAL.flat) / REAL.size
    np.testing.assert_allclose(jit(least_squares)(REAL, target), by_hand, rtol=1e-6)


def test_least_squares_of_known_scores() -> None:
    scores = np.array([0.0, 1.0, 3.0, -1.0], np.float32).reshape(1, 2, 2, 1)
    assert least_squares(scores, 1.0) == (1 + 0 + 4 + 4) / 4
    assert least_squares(scores, 0.0) == (0 + 1 + 9 + 1) / 4


@as_is_and_jitted
def test_discriminator_loss_is_half_the_sum_of_both_errors(jit: Callable) -> None:
    real, fake = REAL.astype(np.float64), FAKE.astype(np.float64)
    by_hand = (np.mean((real - 1) ** 2) + np.mean(fake**2)) / 2
    np.testing.assert_allclose(jit(discriminator_loss)(REAL, FAKE), by_hand, rtol=1e-6)


def test_a_perfect_discriminator_has_no_loss_a_reversed_one_has_1() -> None:
    ones, zeros = np.ones((2, 3, 3, 1), np.float32), np.zeros((2, 3, 3, 1), np.float32)
    assert discriminator_loss(ones, zeros) == 0
    assert discriminator_loss(zeros, ones) == 1


@as_is_and_jitted
def test_absolute_error_is_the_mean_absolute_difference(jit: Callable) -> None:
    by_hand = sum(abs(float(a) - float(b)) for a, b in zip(IMAGES.flat, TARGETS.flat, strict=True)) / IMAGES.size
    np.testing.assert_allclose(jit(absolute_error)(IMAGES, TARGETS), by_hand, rtol=1e-6)


@as_is_and_jitted
@pytest.mark.parametrize("shape", [(1, 6, 5, 3), (2, 6, 5, 1), (2, 5, 6, 3), (6, 5, 3), ()])
def test_absolute_error_refuses_shapes_that_differ(jit: Callable, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        jit(absolute_error)(IMAGES, np.zeros(shape, np.float32))


def test_losses_are_float32_scalars() -> None:
    for loss in (least_squares(REAL, 1.0), discriminator_loss(REAL, FAKE), absolute_error(IMAGES, TARGETS)):
        assert loss.shape == ()
        assert loss.dtype == np.float32


def test_gradients_are_those_of_the_formulas() -> None:
    np.testing.assert_allclose(jax.grad(least_squares)(REAL, 1.0), 2 * (REAL - 1) / REAL.size, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(
        jax.grad(absolute_error)(IMAGES, TARGETS), np.sign(IMAGES - TARGETS) / IMAGES.size, rtol=1e-6
    )


@as_is_and_jitted
def test_hinge_losses_are_means_over_patches_then_over_heads(jit: Callable) -> None:
    """The first head has fifteen times as many patches as the second, and counts as much."""
    generated = [sum(-float(s) for s in head.flat) / head.size for head in FAKE_HEADS]
    np.testing.assert_allclose(jit(hinge_generator_loss)(FAKE_HEADS), sum(generated) / 2, rtol=1e-5)
    real = [sum(max(0.0, 1 - float(s)) for s in head.flat) / head.size for head in REAL_HEADS]
    fake = [sum(max(0.0, 1 + float(s)) for s in head.flat) / head.size for head in FAKE_HEADS]
    by_hand = (sum(real) + sum(fake)) / 2
    np.testing.assert_allclose(jit(hinge_discriminator_loss)(REAL_HEADS, FAKE_HEADS), by_hand, rtol=1e-5)


@pytest.mark.parametrize(("real", "fake", "loss"), [(1, -1, 0), (5, -9, 0), (0, 0, 2), (-1, -1, 2), (-1, 2, 5)])
def test_hinge_loss_of_known_scores(real: float, fake: float, loss: float) -> None:
    heads = [[np.full((1, n, n, 1), score, np.float32) for n in (1, 4)] for score in (real, fake)]
    assert hinge_discriminator_loss(*heads) == loss
    assert hinge_generator_loss(heads[1]) == -fake


@as_is_and_jitted
def test_colour_distance_compares_the_means_of_16_by_16_cells(jit: Callable) -> None:
    images, targets = np.random.default_rng(1).uniform(-1, 1, (2, 2, 48, 32, 3)).astype(np.float32)
    cells = [
        abs(float((images - targets)[n, 3 * i : 3 * i + 3, 2 * j : 2 * j + 2, c].mean()))
        for n, i, j, c in np.ndindex(2, 16, 16, 3)
    ]
    np.testing.assert_allclose(jit(colour_distance)(images, targets), np.mean(cells), rtol=1e-5)
    lines = np.zeros((1, 32, 32, 3), np.float32)
    lines[:, :, ::2], lines[:, :, 1::2] = 0.5, -0.5  # a texture whose means are 0
    assert jit(colour_distance)(lines, 0 * lines) == 0


@as_is_and_jitted
def test_feature_distance_is_relative_to_the_target_of_each_image_and_map(jit: Callable) -> None:
    by_hand = [
        np.abs(a - b).astype(np.float64).mean() / (np.abs(b).astype(np.float64).mean() + 1e-3)
        for ours, theirs in zip(MAPS, TARGET_MAPS, strict=True)
        for a, b in zip(ours, theirs, strict=True)
    ]
    np.testing.assert_allclose(jit(feature_distance)(MAPS, TARGET_MAPS), np.mean(by_hand), rtol=1e-5)


def test_feature_distance_of_known_maps() -> None:
    assert feature_distance(MAPS, MAPS) == 0
    np.testing.assert_allclose(feature_distance([3 * m for m in MAPS], MAPS), 2, rtol=1e-2)
    assert np.isfinite(feature_distance(MAPS, [0 * m for m in MAPS]))
    with pytest.raises(ValueError, match="shorter"):
        feature_distance(MAPS, MAPS[:1])


@as_is_and_jitted
def test_cross_entropy_is_the_mean_over_all_and_unknown_images_count_as_0(jit: Callable) -> None:
    logits = np.array([0.3, -2.0, 4.0, -0.5, 1.0], np.float32)
    is_class, known = np.array([True, True, False, False, True]), np.array([True, True, True, True, False])
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    by_hand = -np.log(np.where(is_class, probability, 1 - probability))[:4].sum() / 5
    np.testing.assert_allclose(jit(binary_cross_entropy)(logits, is_class, known), by_hand, rtol=1e-5)
    assert jit(binary_cross_entropy)(logits, is_class, np.zeros(5, bool)) == 0


def test_cross_entropy_of_sure_logits_is_finite_and_unknown_images_give_no_gradient() -> None:
    logits, true = np.array([200.0, -200.0], np.float32), np.array([True, True])
    np.testing.assert_allclose(binary_cross_entropy(logits, true, true), 100)
    gradient = jax.grad(binary_cross_entropy)(logits, true, np.array([True, False]))
    np.testing.assert_array_equal(gradient[1], 0)
