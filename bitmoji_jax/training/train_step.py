"""One update as one compiled program, on any number of devices.

Order, as in CycleGAN's reference: draw what is learned from; forward; update the networks with the critics fixed; pass
the images generated before that update through the pools; update the critics; update the moving averages.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from bitmoji_jax.models.networks import Params
from bitmoji_jax.ops.platform import on_cpu
from bitmoji_jax.parallel import DATA_AXIS, REPLICATED, SHARDED, make_mesh
from bitmoji_jax.training.image_pool import query_pool
from bitmoji_jax.training.objective import Metrics, Score, total
from bitmoji_jax.training.sample import DOMAINS, Pair
from bitmoji_jax.training.stage import Batch, Stage
from bitmoji_jax.training.train_state import Pools, TrainState, average, make_optimizer

TrainStep = Callable[[TrainState, Pools, Batch], tuple[TrainState, Pools, Metrics]]


def make_train_step(stage: Stage, mesh: Mesh | None = None) -> TrainStep:
    """Returns train_step(state, pools, batch) -> (state, pools, metrics), compiled for all devices or those of `mesh`.

    `pools` and the uint8 `batch` have a leading axis of devices; state and pools are donated. Metrics are float32
    scalars, means over the global batch, taken before the update.
    """
    device_step = _make_device_step(stage)

    def step(state: TrainState, pools: Pools, batch: Batch) -> tuple[TrainState, Pools, Metrics]:
        # Of what is sharded, each device has one: a leading axis of length 1.
        pools, batch = jax.tree.map(lambda a: a[0], (pools, batch))
        state, pools, metrics = device_step(state, pools, batch)
        return state, jax.tree.map(lambda a: a[None], pools), metrics

    return jax.jit(
        jax.shard_map(
            step,
            mesh=make_mesh() if mesh is None else mesh,
            in_specs=(REPLICATED, SHARDED, SHARDED),
            out_specs=(REPLICATED, SHARDED, REPLICATED),
            # With it, gradients of what is replicated would be summed over the devices before `pmean` sees them.
            check_vma=False,
        ),
        donate_argnums=(0, 1),
    )


def lower_train_step(stage: Stage, batch: Any, state: TrainState, pools: Pools) -> jax.stages.Lowered:
    """Traces the step for the devices of the state, so that it can be compiled early; all may be abstract."""
    placed: Any = state.images.sharding
    step: Any = make_train_step(stage, placed.mesh)
    return step.lower(state, pools, batch)


def _make_device_step(stage: Stage) -> TrainStep:
    schedule, optimizer = stage.schedule, make_optimizer(stage.schedule)
    # Jitted within the step, so that each network is traced once, however often it is called.
    discriminate = {critic.module: jax.jit(critic.module.apply) for critic in stage.critics}

    def score_with(params: Params, frozen: Params) -> Score:
        return lambda critic, sample: discriminate[critic.module](params[critic.name], critic.inputs(frozen, sample))

    def generators_loss(generators: Params, state: TrainState, drawn: Pair) -> tuple[jax.Array, tuple[Pair, Metrics]]:
        score = score_with(state.discriminators, state.frozen)
        terms, fake = stage.generator_terms(generators, state.frozen, drawn, score)
        loss, metrics = total(terms)
        return loss, (fake, metrics | {"loss_generators": loss})

    def discriminators_loss(
        discriminators: Params, state: TrainState, drawn: Pair, shown: Pair
    ) -> tuple[jax.Array, tuple[None, Metrics]]:
        score = score_with(discriminators, state.frozen)
        loss, metrics = total(stage.discriminator_terms(drawn, shown, score))
        return loss, (None, metrics)

    def gradients(loss: Callable, params: Params, state: TrainState, *samples: Pair) -> tuple[Params, Any, Metrics]:
        """Gradients, the images that the loss made, and its metrics; means over this device's batch."""
        grad_fn = jax.grad(loss, has_aux=True)
        parts = schedule.parts or len(jax.tree.leaves(samples)[0])
        return _accumulate(lambda part: grad_fn(params, state, *part), samples, parts)

    def descend(params: Params, opt_state: optax.OptState, grads: Params, rate: jax.Array) -> tuple:
        """New parameters, the new state of the optimizer, and the norm of the gradients over all devices."""
        grads = jax.lax.pmean(grads, DATA_AXIS)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return jax.tree.map(lambda p, u: p - rate * u, params, updates), opt_state, optax.tree.norm(grads)

    def device_step(state: TrainState, pools: Pools, batch: Batch) -> tuple[TrainState, Pools, Metrics]:
        n = batch["x"]["image"].shape[0]
        batch_size = n * jax.lax.axis_size(DATA_AXIS)
        keys = _image_keys(state, n)
        rate = schedule.rate(state.images)
        drawn = stage.draw(state.frozen, batch, keys[:, :2])

        # The networks, with the critics fixed.
        grads, fake, metrics = gradients(generators_loss, state.generators, state, drawn)
        generators, generator_opt, generator_norm = descend(state.generators, state.generator_opt, grads, rate)
        state = dataclasses.replace(
            state,
            images=state.images + batch_size,
            generators=generators,
            ema=average(state.ema, generators, state.images, batch_size, schedule.ema_halflife),
            generator_opt=generator_opt,
        )
        metrics |= {"grad_norm_generators": generator_norm}

        # The critics, with the images that the networks made before their update, or earlier ones.
        if stage.critics:
            shown, pools = _through_pools(pools, fake, keys[:, 2:])
            grads, _, critic_metrics = gradients(discriminators_loss, state.discriminators, state, drawn, shown)
            discriminators, discriminator_opt, discriminator_norm = descend(
                state.discriminators, state.discriminator_opt, grads, schedule.critic_rate * rate
            )
            state = dataclasses.replace(state, discriminators=discriminators, discriminator_opt=discriminator_opt)
            metrics |= critic_metrics | {"grad_norm_discriminators": discriminator_norm}

        return state, pools, jax.lax.pmean(metrics, DATA_AXIS) | {"learning_rate": rate}

    return device_step


def _image_keys(state: TrainState, n: int) -> jax.Array:
    """[n, 4] keys: a row an image, by its running number, so that draws do not depend on how images are batched."""
    numbers = state.images + jax.lax.axis_index(DATA_AXIS) * n + jnp.arange(n)
    key = jax.random.wrap_key_data(state.key)
    return jax.vmap(lambda number: jax.random.split(jax.random.fold_in(key, number), 4))(numbers)


def _through_pools(pools: Pools, fake: Pair, keys: jax.Array) -> tuple[Pair, Pools]:
    """What the critics are shown of the generated images, and the new pools."""
    # A key for each domain, also where a stage makes images of one of them only.
    queried = {d: query_pool(pools[d], fake[d], keys[:, i]) for i, d in enumerate(DOMAINS) if d in pools}
    return fake | {d: shown for d, (shown, _) in queried.items()}, {d: pool for d, (_, pool) in queried.items()}


def _accumulate(grad_fn: Callable[[Any], Any], batch: Any, parts: int) -> tuple[Params, Any, Metrics]:
    """grad_fn over `parts` equal parts of the batch: mean gradients, all images in order, mean metrics."""
    if parts == 1:
        grads, (images, metrics) = grad_fn(batch)
        return grads, images, metrics
    stacked = jax.tree.map(lambda a: a.reshape(parts, -1, *a.shape[1:]), batch)

    def add_part(sums: Any, part: Any) -> tuple[Any, Any]:
        grads, (images, metrics) = grad_fn(part)
        return jax.tree.map(jnp.add, sums, (grads, metrics)), images

    grads, (_, metrics) = jax.eval_shape(grad_fn, jax.tree.map(lambda a: a[0], stacked))
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), (grads, metrics))
    # Unrolled on a CPU: within a loop, XLA's gradients of kernels take 15 times as long (jax 0.10.2).
    sums, images = jax.lax.scan(add_part, zeros, stacked, unroll=on_cpu())
    grads, metrics = jax.tree.map(lambda a: a / parts, sums)
    return grads, jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), images), metrics
