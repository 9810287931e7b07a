"""All that a run has learned, and how it begins."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding

from bitmoji_jax.config import ExperimentConfig, TrainConfig
from bitmoji_jax.models.networks import Params, image_shape, make_networks
from bitmoji_jax.parallel import REPLICATED, SHARDED, abstract
from bitmoji_jax.training.image_pool import ImagePool, empty_pool

Pools = dict[str, ImagePool]  # keys x, y: images made by F, by G; a leading axis of devices


@flax.struct.dataclass
class TrainState:
    """All that is learned, and the place in the schedule. The same on every device."""

    images: jax.Array  # int32 [], images of each domain seen
    key: jax.Array  # base of every random draw; draws fold in the running number of the image, so it never changes
    generators: dict[str, Params]  # g: X -> Y, f: Y -> X
    discriminators: dict[str, Params]  # d_x, d_y
    ema: dict[str, Params]  # moving averages of g, f
    generator_opt: optax.OptState
    discriminator_opt: optax.OptState


def make_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """Adam without its step size, which follows `learning_rate`."""
    return optax.scale_by_adam(b1=config.beta1, b2=config.beta2, eps=1e-8)


def learning_rate(config: TrainConfig, images: jax.Array | float, epoch_images: int) -> jax.Array:
    """Constant for `constant_epochs`, then linear to 0 at the end; `images` seen, `epoch_images` in an epoch."""
    constant = config.constant_epochs * epoch_images
    decay = config.decay_epochs * epoch_images
    left = jnp.clip((constant + decay - images) / decay, 0, 1) if decay else jnp.ones(())
    return config.learning_rate * left


def create_train_state(config: ExperimentConfig, mesh: Mesh) -> tuple[TrainState, Pools]:
    """Initial state, equal on every device of `mesh`, and empty pools [devices, ...], one a device."""
    # Created where the step wants them: anywhere else would cost a second trace. It runs once, so it is compiled
    # fast instead of fast when run: 2 s and not 10 for a small network on a CPU.
    fast = {"xla_backend_optimization_level": 0}
    state = jax.jit(_init_state(config), out_shardings=NamedSharding(mesh, REPLICATED), compiler_options=fast)()
    return state, jax.jit(_init_pools(config, mesh), out_shardings=NamedSharding(mesh, SHARDED))()


def abstract_train_state(config: ExperimentConfig, mesh: Mesh) -> tuple[TrainState, Pools]:
    """Shapes, types and places of what `create_train_state` makes, in `jax.ShapeDtypeStruct`s."""
    state, pools = jax.eval_shape(_init_state(config)), jax.eval_shape(_init_pools(config, mesh))
    return abstract(state, mesh, REPLICATED), abstract(pools, mesh, SHARDED)


def _init_state(config: ExperimentConfig) -> Callable[[], TrainState]:
    generator, discriminator = make_networks(config)
    optimizer = make_optimizer(config.train)

    def init() -> TrainState:
        g_key, f_key, d_x_key, d_y_key, key = jax.random.split(jax.random.key(config.train.seed), 5)
        image = jnp.zeros((1, *image_shape(config)))
        init_generator, init_discriminator = jax.jit(generator.init), jax.jit(discriminator.init)
        generators = {"g": init_generator(g_key, image), "f": init_generator(f_key, image)}
        discriminators = {"d_x": init_discriminator(d_x_key, image), "d_y": init_discriminator(d_y_key, image)}
        return TrainState(
            images=jnp.zeros((), jnp.int32),
            key=jax.random.key_data(key),
            generators=generators,
            discriminators=discriminators,
            ema=generators,
            generator_opt=optimizer.init(generators),
            discriminator_opt=optimizer.init(discriminators),
        )

    return init


def _init_pools(config: ExperimentConfig, mesh: Mesh) -> Callable[[], Pools]:
    def init() -> Pools:
        pool: Any = empty_pool(config.train.pool_size, config.data.image_size)
        stacked = jax.tree.map(lambda a: jnp.repeat(a[None], mesh.size, axis=0), pool)
        return {"x": stacked, "y": stacked}

    return init
