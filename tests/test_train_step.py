"""The compiled step against the same quantities worked out apart, and its schedule, averages and traces."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bitmoji_jax.config import ExperimentConfig, TrainConfig
from bitmoji_jax.models.networks import make_discriminator, make_generator
from bitmoji_jax.ops.image import to_float
from bitmoji_jax.parallel import make_mesh
from bitmoji_jax.training import train_step as module
from bitmoji_jax.training.train_state import Pools, TrainState, create_train_state, learning_rate
from bitmoji_jax.training.train_step import Batch, make_train_step


@pytest.fixture
def config(tiny_config: ExperimentConfig) -> ExperimentConfig:
    """Without augmentation, so that the images the networks see are known."""
    return dataclasses.replace(tiny_config, data=dataclasses.replace(tiny_config.data, crop_margin=0.0, flip=False))


def make_batch(seed: int, n: int = 2) -> Batch:
    rng = np.random.default_rng(seed)
    return {
        domain: {
            "image": rng.integers(0, 256, (1, n, 32, 32, 3), dtype=np.uint8),
            "landmarks": np.full((1, n, 5, 2), np.nan, np.float32),
        }
        for domain in ("x", "y")
    }


def copied(state: TrainState, pools: Pools) -> tuple[TrainState, Pools]:
    """The step takes its arguments' memory, so what is needed later is copied first."""
    return jax.tree.map(np.asarray, (state, pools))


def test_metrics_are_the_losses_of_the_paper(config: ExperimentConfig) -> None:
    state, pools = create_train_state(config, make_mesh())
    before, _ = copied(state, pools)
    batch = make_batch(0)
    after, pools, metrics = make_train_step(config, 12)(state, pools, batch)

    generator, discriminator = make_generator(config), make_discriminator(config)
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
    assert int(after.images) == 2


def test_first_update_is_one_adam_step_down_both_gradients(config: ExperimentConfig) -> None:
    """Adam's first step is the learning rate times the sign of the gradient."""
    state, pools = create_train_state(config, make_mesh())
    before, _ = copied(state, pools)
    after, _, metrics = make_train_step(config, 12)(state, pools, make_batch(0))
    for name, old, new, opt in (
        ("generators", before.generators, after.generators, after.generator_opt),
        ("discriminators", before.discriminators, after.discriminators, after.discriminator_opt),
    ):
        grads = jax.tree.map(lambda mu: np.asarray(mu) / 0.5, opt.mu)
        norm = np.sqrt(sum(np.sum(grad**2) for grad in jax.tree.leaves(grads)))
        np.testing.assert_allclose(metrics[f"grad_norm_{name}"], norm, rtol=1e-4)
        for grad, a, b in zip(*(jax.tree.leaves(tree) for tree in (grads, old, new)), strict=True):
            clear = np.abs(grad) > 1e-4
            np.testing.assert_allclose((np.asarray(b) - a)[clear], -2e-4 * np.sign(grad[clear]), rtol=2e-2)


def test_identity_weight_zero_leaves_identity_out(config: ExperimentConfig) -> None:
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, identity_weight=0.0))
    state, pools = create_train_state(config, make_mesh())
    _, _, metrics = make_train_step(config, 12)(state, pools, make_batch(0))
    assert "identity_x" not in metrics
    expected = metrics["adversarial_g"] + metrics["adversarial_f"] + 10 * (metrics["cycle_x"] + metrics["cycle_y"])
    np.testing.assert_allclose(metrics["loss_generators"], expected, rtol=1e-6)


def test_networks_start_from_keys_of_their_own(config: ExperimentConfig) -> None:
    state, _ = create_train_state(config, make_mesh())
    kernels = [
        params["params"]["Conv_0"]["kernel"] for params in (*state.generators.values(), *state.discriminators.values())
    ]
    for i, a in enumerate(kernels):
        for b in kernels[:i]:
            assert a.shape != b.shape or not np.allclose(a, b)


def test_average_follows_the_ramp_then_the_half_life(config: ExperimentConfig) -> None:
    # Half-life 1 image, batch 2: decay 0.25 at most. The ramp starts at 0.1.
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, ema_halflife=1.0))
    state, pools = create_train_state(config, make_mesh())
    step = make_train_step(config, 12)
    average = np.asarray(state.ema["g"]["params"]["Conv_0"]["kernel"])
    for t in range(5):
        state, pools, _ = step(state, pools, make_batch(t))
        decay = min(0.25, (1 + t) / (10 + t))
        average = decay * average + (1 - decay) * np.asarray(state.generators["g"]["params"]["Conv_0"]["kernel"])
        np.testing.assert_allclose(state.ema["g"]["params"]["Conv_0"]["kernel"], average, rtol=1e-5, atol=1e-8)


def test_many_steps_are_traced_and_compiled_once(config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    traces = []
    original = module.query_pool
    monkeypatch.setattr(module, "query_pool", lambda *args: traces.append(1) or original(*args))
    state, pools = create_train_state(config, make_mesh())
    step = make_train_step(config, 12)
    for t in range(4):
        state, pools, _ = step(state, pools, make_batch(t))
    assert len(traces) == 2  # once for each domain


def test_learning_rate_ends() -> None:
    config = TrainConfig(learning_rate=2e-4, constant_epochs=100, decay_epochs=100)
    rate = lambda images: float(learning_rate(config, images, epoch_images=1000))  # noqa: E731
    assert rate(0) == rate(100_000) == pytest.approx(2e-4)
    assert rate(150_000) == pytest.approx(1e-4)
    assert rate(200_000) == 0
    assert rate(200_001) == 0
    constant = dataclasses.replace(config, decay_epochs=0)
    assert float(learning_rate(constant, 99_999, epoch_images=1000)) == pytest.approx(2e-4)


def test_step_gives_the_memory_of_state_and_pools_on(config: ExperimentConfig) -> None:
    state, pools = create_train_state(config, make_mesh())
    make_train_step(config, 12)(state, pools, make_batch(0))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.generators, state.generator_opt, pools)))


def test_bfloat16_keeps_parameters_and_losses_in_float32(config: ExperimentConfig) -> None:
    exact = make_train_step(config, 12)(*create_train_state(config, make_mesh()), make_batch(0))[2]
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, compute_dtype="bfloat16"))
    state, _, metrics = make_train_step(config, 12)(*create_train_state(config, make_mesh()), make_batch(0))
    floats = [leaf for leaf in jax.tree.leaves((state, metrics)) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert {leaf.dtype for leaf in floats} == {jnp.dtype("float32")}
    assert float(metrics["loss_generators"]) != float(exact["loss_generators"])
    np.testing.assert_allclose(metrics["loss_generators"], exact["loss_generators"], rtol=2e-2)
