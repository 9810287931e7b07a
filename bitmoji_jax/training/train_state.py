"""All that a run has learned, and how it begins."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding

from bitmoji_jax.config import ExperimentConfig, TrainConfig
from bitmoji_jax.models.networks import Params, example_inputs, make_generator
from bitmoji_jax.parallel import REPLICATED, SHARDED, abstract
from bitmoji_jax.training.critics import frozen_params, make_critics
from bitmoji_jax.training.image_pool import ImagePool, empty_pool
from bitmoji_jax.training.sample import DOMAINS, Sample

Pools = dict[str, ImagePool]  # keys x, y: images made by F, by G; a leading axis of devices


@flax.struct.dataclass
class TrainState:
    """All that is learned, and the place in the schedule. The same on every device."""

    images: jax.Array  # int32 [], images of each domain seen
    key: jax.Array  # base of every random draw; draws fold in the running number of the image, so it never changes
    generators: dict[str, Params]  # g: X -> Y, f: Y -> X
    discriminators: dict[str, Params]  # by name of the critic: d_x, d_y
    ema: dict[str, Params]  # moving averages of g, f
    frozen: dict[str, Params]  # networks that are used and not trained: no gradient, no optimizer, no average
    generator_opt: optax.OptState
    discriminator_opt: optax.OptState


def make_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """Returns Adam without its step size, which follows `learning_rate`."""
    return optax.scale_by_adam(b1=config.beta1, b2=config.beta2, eps=1e-8)


def learning_rate(config: TrainConfig, images: jax.Array | float, epoch_images: int) -> jax.Array:
    """Returns the rate at `images` seen: constant for `constant_epochs`, then linear to 0, `epoch_images` an epoch."""
    constant = config.constant_epochs * epoch_images
    decay = config.decay_epochs * epoch_images
    left = jnp.clip((constant + decay - images) / decay, 0, 1) if decay else jnp.ones(())
    return config.learning_rate * left


def average(ema: Params, params: Params, images: jax.Array, batch_size: int, halflife: float) -> Params:
    """Updates the moving average `ema` with `params`, the weights after a batch that began at `images` seen.

    A ramp, min(decay, (1 + t) / (10 + t)) at update t, forgets the initialisation early on; after it a weight's share
    halves in `halflife` images.
    """
    updates = (images // batch_size).astype(jnp.float32)
    decay = jnp.minimum(0.5 ** (batch_size / halflife), (1 + updates) / (10 + updates))
    return jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, ema, params)


def create_train_state(config: ExperimentConfig, mesh: Mesh) -> tuple[TrainState, Pools]:
    """Returns the initial state, equal on every device of `mesh`, and empty pools [devices, ...], one a device."""
    # Created where the step wants them: anywhere else would cost a second trace. It runs once, so it is compiled
    # fast instead of fast when run: 2 s and not 10 for a small network on a CPU.
    fast = {"xla_backend_optimization_level": 0}
    state = jax.jit(_init_state(config), out_shardings=NamedSharding(mesh, REPLICATED), compiler_options=fast)()
    return state, jax.jit(_init_pools(config, mesh), out_shardings=NamedSharding(mesh, SHARDED))()


def abstract_train_state(config: ExperimentConfig, mesh: Mesh) -> tuple[TrainState, Pools]:
    """Returns shapes, types and places of what `create_train_state` makes, as `jax.ShapeDtypeStruct`s."""
    state, pools = jax.eval_shape(_init_state(config)), jax.eval_shape(_init_pools(config, mesh))
    return abstract(state, mesh, REPLICATED), abstract(pools, mesh, SHARDED)


def _init_state(config: ExperimentConfig) -> Callable[[], TrainState]:
    generator, critics, frozen = make_generator(config), make_critics(config), frozen_params(config)
    optimizer = make_optimizer(config.train)

    def init() -> TrainState:
        g_key, f_key, d_x_key, d_y_key, key = jax.random.split(jax.random.key(config.train.seed), 5)
        image, condition = example_inputs(config)
        init_generator = jax.jit(generator.init)
        generators = {name: init_generator(key, image, condition) for name, key in (("g", g_key), ("f", f_key))}
        # Those of the paper have keys of their own; a critic added later leaves them and G and F as they would be.
        d_keys = {"d_x": d_x_key, "d_y": d_y_key}
        init_critic = {critic.module: jax.jit(critic.module.init) for critic in critics}
        discriminators = {}
        for i, critic in enumerate(critics):
            inputs = critic.inputs(frozen, Sample(image, condition=condition))
            d_key = d_keys.get(critic.name, jax.random.fold_in(key, i))
            discriminators[critic.name] = init_critic[critic.module](d_key, inputs)
        return TrainState(
            images=jnp.zeros((), jnp.int32),
            key=jax.random.key_data(key),
            generators=generators,
            discriminators=discriminators,
            ema=generators,
            frozen=frozen,
            generator_opt=optimizer.init(generators),
            discriminator_opt=optimizer.init(discriminators),
        )

    return init


def _init_pools(config: ExperimentConfig, mesh: Mesh) -> Callable[[], Pools]:
    def init() -> Pools:
        image, condition = example_inputs(config)
        pool: Any = empty_pool(config.train.pool_size, Sample(image, condition=condition))
        stacked = jax.tree.map(lambda a: jnp.repeat(a[None], mesh.size, axis=0), pool)
        return dict.fromkeys(DOMAINS, stacked)

    return init
