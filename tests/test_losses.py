from collections.abc import Callable

import jax
import numpy as np
import pytest

from bitmoji_jax.training.losses import absolute_error, discriminator_loss, least_squares

as_is_and_jitted = pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])
RNG = np.random.default_rng(0)
REAL, FAKE = RNG.normal(size=(2, 3, 5, 4, 1)).astype(np.float32)
IMAGES, TARGETS = RNG.uniform(-1, 1, (2, 2, 6, 5, 3)).astype(np.float32)


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
