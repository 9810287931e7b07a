"""One CycleGAN update as one compiled program, on any number of devices.

Order, as in the reference: forward; update G and F with the discriminators fixed; pass the images generated before
that update through the pools; update D_X and D_Y; update the moving averages.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from bitmoji_jax.config import DataConfig, ExperimentConfig
from bitmoji_jax.data.augment import augment
from bitmoji_jax.models.networks import Params, apply_generator
from bitmoji_jax.ops.platform import on_cpu
from bitmoji_jax.parallel import DATA_AXIS, REPLICATED, SHARDED, make_mesh
from bitmoji_jax.training.critics import Critic, make_critics
from bitmoji_jax.training.image_pool import query_pool
from bitmoji_jax.training.objective import Metrics, discriminator_terms, generator_terms, total, translate_all
from bitmoji_jax.training.sample import DOMAINS, Pair, Sample
from bitmoji_jax.training.train_state import Pools, TrainState, average, learning_rate, make_optimizer

Batch = dict[str, dict[str, jax.Array]]  # {"x": {"image": uint8, "landmarks": float32, ...}, "y": ...}, see `read_pair`
TrainStep = Callable[[TrainState, Pools, Batch], tuple[TrainState, Pools, Metrics]]


def make_train_step(config: ExperimentConfig, epoch_images: int) -> TrainStep:
    """Returns train_step(state, pools, batch) -> (state, pools, metrics), compiled for every device.

    `pools` and the uint8 `batch` have a leading axis of devices; state and pools are donated. Metrics are float32
    scalars, means over the global batch, taken before the update.
    """
    device_step = _make_device_step(config, epoch_images)

    def step(state: TrainState, pools: Pools, batch: Batch) -> tuple[TrainState, Pools, Metrics]:
        # Of what is sharded, each device has one: a leading axis of length 1.
        pools, batch = jax.tree.map(lambda a: a[0], (pools, batch))
        state, pools, metrics = device_step(state, pools, batch)
        return state, jax.tree.map(lambda a: a[None], pools), metrics

    return jax.jit(
        jax.shard_map(
            step,
            mesh=make_mesh(),
            in_specs=(REPLICATED, SHARDED, SHARDED),
            out_specs=(REPLICATED, SHARDED, REPLICATED),
            # With it, gradients of what is replicated would be summed over the devices before `pmean` sees them.
            check_vma=False,
        ),
        donate_argnums=(0, 1),
    )


def lower_train_step(
    config: ExperimentConfig, epoch_images: int, batch: Any, state: TrainState, pools: Pools
) -> jax.stages.Lowered:
    """Traces the step, so that it can be compiled before there is anything to call it with; all may be abstract."""
    step: Any = make_train_step(config, epoch_images)
    return step.lower(state, pools, batch)


def _make_device_step(config: ExperimentConfig, epoch_images: int) -> TrainStep:
    critics, optimizer = make_critics(config), make_optimizer(config.train)
    # Jitted within the step, so that each network is traced once, however often it is called.
    generate = jax.jit(functools.partial(apply_generator, config))
    discriminate = {critic.module: jax.jit(critic.module.apply) for critic in critics}

    def translate(params: Params, sample: Sample) -> Sample:
        return dataclasses.replace(sample, image=generate(params, sample.image, sample.condition))

    def score_with(params: Params, frozen: Params) -> Callable[[Critic, Sample], jax.Array]:
        return lambda critic, sample: discriminate[critic.module](params[critic.name], critic.inputs(frozen, sample))

    def generators_loss(generators: Params, state: TrainState, real: Pair) -> tuple[jax.Array, tuple[Pair, Metrics]]:
        out = translate_all(translate, generators, real, identity=config.train.identity_weight > 0)
        score = score_with(state.discriminators, state.frozen)
        loss, metrics = total(generator_terms(out, score, critics, config.train))
        return loss, (out.fake, metrics | {"loss_generators": loss})

    def discriminators_loss(
        discriminators: Params, state: TrainState, real: Pair, shown: Pair
    ) -> tuple[jax.Array, tuple[None, Metrics]]:
        loss, metrics = total(discriminator_terms(real, shown, score_with(discriminators, state.frozen), critics))
        return loss, (None, metrics)

    def gradients(loss: Callable, params: Params, state: TrainState, *samples: Pair) -> tuple[Params, Any, Metrics]:
        """Gradients, the images that the loss made, and its metrics; means over this device's batch."""
        grad_fn = jax.grad(loss, has_aux=True)
        return _accumulate(lambda part: grad_fn(params, state, *part), samples, config.train.accumulation_steps)

    def descend(params: Params, opt_state: optax.OptState, grads: Params, rate: jax.Array) -> tuple:
        """New parameters, the new state of the optimizer, and the norm of the gradients over all devices."""
        grads = jax.lax.pmean(grads, DATA_AXIS)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return jax.tree.map(lambda p, u: p - rate * u, params, updates), opt_state, optax.tree.norm(grads)

    def device_step(state: TrainState, pools: Pools, batch: Batch) -> tuple[TrainState, Pools, Metrics]:
        n = batch["x"]["image"].shape[0]
        batch_size = n * jax.lax.axis_size(DATA_AXIS)
        keys = _image_keys(state, n)
        rate = learning_rate(config.train, state.images, epoch_images)
        real = {domain: _augmented(batch[domain], keys[:, i], config.data) for i, domain in enumerate(DOMAINS)}

        # G and F, with the discriminators fixed.
        grads, fake, metrics = gradients(generators_loss, state.generators, state, real)
        generators, generator_opt, generator_norm = descend(state.generators, state.generator_opt, grads, rate)

        # D_X and D_Y, with the images that G and F made before their update, or earlier ones.
        shown, pools = _through_pools(pools, fake, keys[:, 2:])
        grads, _, discriminator_metrics = gradients(discriminators_loss, state.discriminators, state, real, shown)
        discriminators, discriminator_opt, discriminator_norm = descend(
            state.discriminators, state.discriminator_opt, grads, rate
        )

        norms = {"grad_norm_generators": generator_norm, "grad_norm_discriminators": discriminator_norm}
        metrics = jax.lax.pmean(metrics | discriminator_metrics | norms, DATA_AXIS) | {"learning_rate": rate}
        state = dataclasses.replace(
            state,
            images=state.images + batch_size,
            generators=generators,
            discriminators=discriminators,
            ema=average(state.ema, generators, state.images, batch_size, config.train.ema_halflife),
            generator_opt=generator_opt,
            discriminator_opt=discriminator_opt,
        )
        return state, pools, metrics

    return device_step


def _image_keys(state: TrainState, n: int) -> jax.Array:
    """[n, 4] keys: a row an image, by its running number, so that draws do not depend on how images are batched."""
    numbers = state.images + jax.lax.axis_index(DATA_AXIS) * n + jnp.arange(n)
    key = jax.random.wrap_key_data(state.key)
    return jax.vmap(lambda number: jax.random.split(jax.random.fold_in(key, number), 4))(numbers)


def _augmented(rows: dict[str, jax.Array], keys: jax.Array, config: DataConfig) -> Sample:
    image, landmarks = augment(
        rows["image"],
        rows["landmarks"],
        keys,
        size=config.image_size,
        crop_margin=config.crop_margin,
        flip=config.flip,
    )
    # Another key than those that `augment` splits off.
    return Sample(image, landmarks, key=jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys))


def _through_pools(pools: Pools, fake: Pair, keys: jax.Array) -> tuple[Pair, Pools]:
    """What the discriminators are shown of the generated images, and the new pools."""
    queried = {domain: query_pool(pools[domain], fake[domain], keys[:, i]) for i, domain in enumerate(DOMAINS)}
    return {d: shown for d, (shown, _) in queried.items()}, {d: pool for d, (_, pool) in queried.items()}


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
