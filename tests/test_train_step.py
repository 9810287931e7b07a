"""The compiled step against the same quantities computed apart, its schedule, averages and traces."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bitmoji_jax.config import ExperimentConfig, TrainConfig
from bitmoji_jax.models.networks import make_discriminator, make_network
from bitmoji_jax.ops.image import to_float
from bitmoji_jax.parallel import make_mesh
from bitmoji_jax.training import train_step as module
from bitmoji_jax.training import translate_stage as stage_module
from bitmoji_jax.training.image_pool import query_pool
from bitmoji_jax.training.train_state import average, create_train_state
from bitmoji_jax.training.train_step import Batch, make_train_step
from bitmoji_jax.training.translate_stage import learning_rate, translate_stage


def without_augmentation(config: ExperimentConfig) -> ExperimentConfig:
    """So that the images that the networks see are known."""
    return dataclasses.replace(config, data=dataclasses.replace(config.data, crop_margin=0.0, flip=False))


def make_batch(seed: int, n: int = 2) -> Batch:
    rng = np.random.default_rng(seed)
    return {
        domain: {
            "image": rng.integers(0, 256, (1, n, 32, 32, 3), dtype=np.uint8),
            "landmarks": np.full((1, n, 5, 2), np.nan, np.float32),
            "gender": rng.integers(0, 3, (1, n), dtype=np.int32),  # which this step does not use
        }
        for domain in ("x", "y")
    }


class Stepped(NamedTuple):
    """A few steps of one compiled program, with what was there before each."""

    config: ExperimentConfig
    states: list[Any]
    pools: list[Any]
    metrics: list[Any]
    donated: tuple[Any, Any]
    """State and pools that a step took, which nothing else referred to."""
    traces: int
    """Traces of `query_pool`."""


STEPS = 4


@pytest.fixture(scope="module")
def stepped(tiny_config: ExperimentConfig) -> Stepped:
    config = without_augmentation(tiny_config)
    traces = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "query_pool", lambda *args: traces.append(1) or query_pool(*args))
        # A frozen network, for nothing: it must come out as it went in.
        patch.setattr(stage_module, "frozen_params", lambda _: {"net": {"kernel": jnp.arange(3.0)}})
        stage = translate_stage(config, 12)
        state, pools = create_train_state(stage, make_mesh())
        step = make_train_step(stage)
        states, all_pools, all_metrics = [jax.tree.map(np.asarray, state)], [jax.tree.map(np.asarray, pools)], []
        for t in range(STEPS):
            state, pools, metrics = step(state, pools, make_batch(t))
            states.append(jax.tree.map(np.asarray, state))
            all_pools.append(jax.tree.map(np.asarray, pools))
            all_metrics.append(jax.tree.map(np.asarray, metrics))
        donated = create_train_state(stage, make_mesh())
        step(*donated, make_batch(0))
    return Stepped(config, states, all_pools, all_metrics, donated, len(traces))


def test_metrics_are_the_losses_of_the_paper(stepped: Stepped) -> None:
    before, pools, metrics = stepped.states[0], stepped.pools[1], stepped.metrics[0]
    batch = make_batch(0)
    generator, discriminator = make_network(stepped.config, "g"), make_discriminator(stepped.config)
    x, y = (np.asarray(to_float(jnp.asarray(batch[d]["image"][0]))) for d in ("x", "y"))
    g, f = (lambda image, p=before.generators[k]: np.asarray(generator.apply(p, image)) for k in ("g", "f"))
    d_x, d_y = (lambda i, p=before.discriminators[k]: np.asarray(discriminator.apply(p, i)) for k in ("d_x", "d_y"))
    fake_x, fake_y = f(y), g(x)
    expected = {
        "adversarial_g": np.mean((d_y(fake_y) - 1) ** 2),
        "adversarial_f": np.mean((d_x(fake_x) - 1) ** 2),
        "cycle_x": np.mean(np.abs(f(fake_y) - x)),
        "cycle_y": np.mean(np.abs(g(fake_x) - y)),
        "identity_x": np.mean(np.abs(f(x) - x)),
        "identity_y": np.mean(np.abs(g(y) - y)),
        "loss_d_x": (np.mean((d_x(x) - 1) ** 2) + np.mean(d_x(fake_x) ** 2)) / 2,
        "loss_d_y": (np.mean((d_y(y) - 1) ** 2) + np.mean(d_y(fake_y) ** 2)) / 2,
        "learning_rate": 2e-4,
    }
    expected["loss_generators"] = (
        expected["adversarial_g"] + expected["adversarial_f"]
        + 10 * (expected["cycle_x"] + expected["cycle_y"])
        + 5 * (expected["identity_x"] + expected["identity_y"])
    )  # fmt: skip
    assert metrics.keys() == expected.keys() | {"grad_norm_generators", "grad_norm_discriminators"}
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=2e-5, err_msg=name)
    # The pools hold the fakes made before the update.
    np.testing.assert_allclose(pools["y"].images[0, :2], fake_y, atol=1e-4)
    np.testing.assert_allclose(pools["x"].images[0, :2], fake_x, atol=1e-4)
    assert [int(state.images) for state in stepped.states] == [0, 2, 4, 6, 8]


def test_first_update_is_one_adam_step_down_both_gradients(stepped: Stepped) -> None:
    """Adam's first step is the learning rate times the sign of the gradient."""
    before, after, metrics = stepped.states[0], stepped.states[1], stepped.metrics[0]
    for name, old, new, opt in (
        ("generators", before.generators, after.generators, after.generator_opt),
        ("discriminators", before.discriminators, after.discriminators, after.discriminator_opt),
    ):
        grads = jax.tree.map(lambda mu: np.asarray(mu) / 0.5, opt.mu)
        norm = np.sqrt(sum(np.sum(grad**2) for grad in jax.tree.leaves(grads)))
        np.testing.assert_allclose(metrics[f"grad_norm_{name}"], norm, rtol=1e-4)
        for grad, a, b in zip(*(jax.tree.leaves(tree) for tree in (grads, old, new)), strict=True):
            clear = np.abs(grad) > 1e-4
            np.testing.assert_allclose((b - a)[clear], -2e-4 * np.sign(grad[clear]), rtol=2e-2)


def test_networks_start_from_keys_of_their_own(stepped: Stepped) -> None:
    state = stepped.states[0]
    kernels = [
        params["params"]["Conv_0"]["kernel"] for params in (*state.generators.values(), *state.discriminators.values())
    ]
    for i, a in enumerate(kernels):
        for b in kernels[:i]:
            assert a.shape != b.shape or not np.allclose(a, b)


def test_frozen_parameters_have_no_optimizer_and_stay_as_they_are(stepped: Stepped) -> None:
    for state in stepped.states:
        np.testing.assert_array_equal(state.frozen["net"]["kernel"], np.arange(3.0))
    last = stepped.states[-1]
    assert jax.tree.structure(last.generator_opt.mu) == jax.tree.structure(last.generators)
    assert jax.tree.structure(last.discriminator_opt.mu) == jax.tree.structure(last.discriminators)
    assert jax.tree.structure(last.ema) == jax.tree.structure(last.generators)


def test_average_of_the_step_is_that_of_its_weights(stepped: Stepped) -> None:
    for before, after in zip(stepped.states[:-1], stepped.states[1:], strict=True):
        expected = average(before.ema, after.generators, before.images, 2, stepped.config.train.ema_halflife)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8), after.ema, expected)


def test_average_follows_the_ramp_then_the_half_life() -> None:
    # Half-life 1 image, batch 2: decay 0.25 at most. The ramp starts at 0.1.
    ema = np.float64(0.0)
    for t, value in enumerate([1.0, 2.0, -1.0, 0.5, 3.0]):
        decay = min(0.25, (1 + t) / (10 + t))
        expected = decay * ema + (1 - decay) * value
        ema = float(average(jnp.float32(ema), jnp.float32(value), jnp.int32(2 * t), 2, 1.0))
        assert ema == pytest.approx(expected, rel=1e-6)


def test_many_steps_are_traced_and_compiled_once(stepped: Stepped) -> None:
    assert stepped.traces == 2  # once for each domain


def test_learning_rate_ends() -> None:
    config = TrainConfig(learning_rate=2e-4, constant_epochs=100, decay_epochs=100)
    rate = lambda images: float(learning_rate(config, images, epoch_images=1000))  # noqa: E731
    assert rate(0) == rate(100_000) == pytest.approx(2e-4)
    assert rate(150_000) == pytest.approx(1e-4)
    assert rate(200_000) == 0
    assert rate(200_001) == 0
    constant = dataclasses.replace(config, decay_epochs=0)
    assert float(learning_rate(constant, 99_999, epoch_images=1000)) == pytest.approx(2e-4)


def test_step_takes_the_memory_of_state_and_pools(stepped: Stepped) -> None:
    state, pools = stepped.donated
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.generators, state.generator_opt, pools)))


def test_bfloat16_keeps_parameters_and_losses_in_float32(stepped: Stepped) -> None:
    train = dataclasses.replace(stepped.config.train, compute_dtype="bfloat16", identity_weight=0.0)
    config = dataclasses.replace(stepped.config, train=train)
    stage = translate_stage(config, 12)
    state, _, metrics = make_train_step(stage)(*create_train_state(stage, make_mesh()), make_batch(0))
    floats = [leaf for leaf in jax.tree.leaves((state, metrics)) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert {leaf.dtype for leaf in floats} == {jnp.dtype("float32")}
    assert "identity_x" not in metrics
    terms = ("adversarial_g", "adversarial_f", "cycle_x", "cycle_y")
    exact = sum(weight * stepped.metrics[0][name] for name, weight in zip(terms, (1, 1, 10, 10), strict=True))
    assert float(metrics["loss_generators"]) != float(exact)
    np.testing.assert_allclose(metrics["loss_generators"], exact, rtol=2e-2)
