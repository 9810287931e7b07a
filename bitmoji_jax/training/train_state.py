"""All that a run has learned, and how it begins."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding

from bitmoji_jax.models.networks import Params
from bitmoji_jax.parallel import REPLICATED, SHARDED, abstract
from bitmoji_jax.training.image_pool import ImagePool, empty_pool
from bitmoji_jax.training.stage import Schedule, Stage

Pools = dict[str, ImagePool]
"""By domain, x: images made by F, y: by the others; a leading axis of devices. None where a stage keeps no images."""


@flax.struct.dataclass
class TrainState:
    """All that is learned, and the place in the schedule. The same on every device."""

    images: jax.Array  # int32 [], images of each domain seen
    key: jax.Array  # base of every random draw; draws fold in the running number of the image, so it never changes
    generators: dict[str, Params]  # the networks that the stage trains: g: X -> Y and f: Y -> X, or r, or s
    discriminators: dict[str, Params]  # by name of the critic: d_x, d_y, ...
    ema: dict[str, Params]  # moving averages of the generators
    frozen: dict[str, Params]  # networks that are used and not trained: no gradient, no optimizer, no average
    generator_opt: optax.OptState
    discriminator_opt: optax.OptState


def make_optimizer(schedule: Schedule) -> optax.GradientTransformation:
    """Returns Adam without its step size, which follows `Schedule.rate`."""
    return optax.scale_by_adam(b1=schedule.beta1, b2=schedule.beta2, eps=1e-8)


def average(ema: Params, params: Params, images: jax.Array, batch_size: int, halflife: float) -> Params:
    """Updates the moving average `ema` with `params`, the weights after a batch that began at `images` seen.

    A ramp, min(decay, (1 + t) / (10 + t)) at update t, forgets the initialisation early on; after it a weight's share
    halves in `halflife` images.
    """
    updates = (images // batch_size).astype(jnp.float32)
    decay = jnp.minimum(0.5 ** (batch_size / halflife), (1 + updates) / (10 + updates))
    return jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, ema, params)


def create_train_state(stage: Stage, mesh: Mesh) -> tuple[TrainState, Pools]:
    """Returns the initial state, equal on every device of `mesh`, and empty pools [devices, ...], one a device."""
    # Created where the step wants them: anywhere else would cost a second trace. It runs once, so it is compiled
    # fast instead of fast when run: 2 s and not 10 for a small network on a CPU.
    fast = {"xla_backend_optimization_level": 0}
    init = jax.jit(_init_state(stage), out_shardings=NamedSharding(mesh, REPLICATED), compiler_options=fast)
    return init(stage.frozen), jax.jit(_init_pools(stage, mesh), out_shardings=NamedSharding(mesh, SHARDED))()


def abstract_train_state(stage: Stage, mesh: Mesh) -> tuple[TrainState, Pools]:
    """Returns shapes, types and places of what `create_train_state` makes, as `jax.ShapeDtypeStruct`s."""
    state, pools = jax.eval_shape(_init_state(stage), stage.frozen), jax.eval_shape(_init_pools(stage, mesh))
    return abstract(state, mesh, REPLICATED), abstract(pools, mesh, SHARDED)


def _init_state(stage: Stage) -> Callable[[Mapping[str, Params]], TrainState]:
    optimizer = make_optimizer(stage.schedule)

    def init(frozen: Mapping[str, Params]) -> TrainState:
        first_key, second_key, d_x_key, d_y_key, key = jax.random.split(stage.key, 5)
        init_network = {module: jax.jit(module.init) for module, _ in stage.networks.values()}
        network_keys = [first_key, second_key, *(jax.random.fold_in(first_key, i) for i in range(len(stage.networks)))]
        keyed = zip(network_keys, stage.networks.items(), strict=False)
        generators = {name: init_network[module](key, *inputs) for key, (name, (module, inputs)) in keyed}
        # Those of the paper have keys of their own; a critic added later leaves them and G and F as they would be.
        d_keys = {"d_x": d_x_key, "d_y": d_y_key}
        init_critic = {critic.module: jax.jit(critic.module.init) for critic in stage.critics}
        discriminators = {}
        for i, critic in enumerate(stage.critics):
            inputs = critic.inputs(frozen, stage.generated[critic.domain])
            d_key = d_keys.get(critic.name, jax.random.fold_in(key, i))
            discriminators[critic.name] = init_critic[critic.module](d_key, inputs)
        return TrainState(
            images=jnp.zeros((), jnp.int32),
            key=jax.random.key_data(key),
            generators=generators,
            discriminators=discriminators,
            ema=generators,
            frozen=jax.tree.map(jnp.copy, dict(frozen)),  # the step takes the arrays of its state
            generator_opt=optimizer.init(generators),
            discriminator_opt=optimizer.init(discriminators),
        )

    return init


def _init_pools(stage: Stage, mesh: Mesh) -> Callable[[], Pools]:
    def init() -> Pools:
        domains = stage.generated if stage.pool_size else {}
        pools: Any = {domain: empty_pool(stage.pool_size, sample) for domain, sample in domains.items()}
        return jax.tree.map(lambda a: jnp.repeat(a[None], mesh.size, axis=0), pools)

    return init
