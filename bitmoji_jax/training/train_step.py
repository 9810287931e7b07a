"""One CycleGAN update as one compiled program, on any number of devices.

Order, as in the reference: forward; update G and F with the discriminators frozen; pass the images generated before
that update through the pools; update D_X and D_Y; update the moving averages.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from bitmoji_jax.config import DataConfig, ExperimentConfig
from bitmoji_jax.data.augment import augment
from bitmoji_jax.models.networks import Params, make_networks
from bitmoji_jax.ops.platform import on_cpu
from bitmoji_jax.parallel import DATA_AXIS, REPLICATED, SHARDED, make_mesh
from bitmoji_jax.training.image_pool import query_pool
from bitmoji_jax.training.objective import (
    DOMAINS,
    Metrics,
    Pair,
    Sample,
    Scores,
    discriminator_terms,
    generator_terms,
    total,
    translate_all,
)
from bitmoji_jax.training.train_state import Pools, TrainState, learning_rate, make_optimizer

Batch = dict[str, dict[str, jax.Array]]  # {"x": {"image": uint8, "landmarks": float32}, "y": ...}


def make_train_step(
    config: ExperimentConfig, epoch_images: int
) -> Callable[[TrainState, Pools, Batch], tuple[TrainState, Pools, Metrics]]:
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
    """The step, traced so that it can be compiled before there is anything to call it with; all may be abstract."""
    step: Any = make_train_step(config, epoch_images)
    return step.lower(state, pools, batch)


def _make_device_step(config: ExperimentConfig, epoch_images: int) -> Callable:
    generator, discriminator = make_networks(config)
    # Jitted within the step, so that each is traced once, however often it is called.
    generate, score = jax.jit(generator.apply), jax.jit(discriminator.apply)
    optimizer = make_optimizer(config.train)
    identity = config.train.identity_weight > 0

    def translate(params: Params, sample: Sample) -> Sample:
        return dataclasses.replace(sample, image=generate(params, sample.image))

    def judge(params: Params, sample: Sample) -> Scores:
        return score(params, sample.image)

    def generators_loss(generators: Params, discriminators: Params, real: Pair) -> tuple[jax.Array, Any]:
        out = translate_all(translate, generators["g"], generators["f"], real, identity=identity)
        loss, metrics = total(generator_terms(out, judge, discriminators, config.train))
        return loss, (out.fake, metrics | {"loss_generators": loss})

    def discriminators_loss(discriminators: Params, real: Pair, fake: Pair) -> tuple[jax.Array, Any]:
        loss, metrics = total(discriminator_terms(real, fake, judge, discriminators, config.train))
        return loss, ({}, metrics)

    def descend(loss: Callable, params: Params, opt_state: Any, batch: Any, rate: jax.Array) -> Any:
        """(new parameters, new optimizer state, images that the loss made, metrics, gradient norm)."""
        grads, (images, metrics) = _accumulate(
            lambda part: jax.grad(loss, has_aux=True)(params, *part), batch, config.train.accumulation_steps
        )
        grads = jax.lax.pmean(grads, DATA_AXIS)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
        return params, opt_state, images, metrics, optax.tree.norm(grads)

    def device_step(state: TrainState, pools: Pools, batch: Batch) -> tuple[TrainState, Pools, Metrics]:
        n = batch["x"]["image"].shape[0]
        batch_size = n * jax.lax.axis_size(DATA_AXIS)
        keys = _image_keys(state, n)
        rate = learning_rate(config.train, state.images, epoch_images)
        real = {d: _augmented(batch[d], keys[:, i], config.data) for i, d in enumerate(DOMAINS)}

        generators, generator_opt, fake, metrics, norm = descend(
            lambda params, part: generators_loss(params, state.discriminators, part),
            state.generators,
            state.generator_opt,
            (real,),
            rate,
        )
        metrics["grad_norm_generators"] = norm

        shown, pools = _through_pools(pools, fake, keys[:, 2:])
        discriminators, discriminator_opt, _, d_metrics, norm = descend(
            discriminators_loss, state.discriminators, state.discriminator_opt, (real, shown), rate
        )
        metrics |= d_metrics | {"grad_norm_discriminators": norm}

        state = TrainState(
            images=state.images + batch_size,
            key=state.key,
            generators=generators,
            discriminators=discriminators,
            ema=_average(state.ema, generators, state.images, batch_size, config.train.ema_halflife),
            generator_opt=generator_opt,
            discriminator_opt=discriminator_opt,
        )
        return state, pools, jax.lax.pmean(metrics, DATA_AXIS) | {"learning_rate": rate}

    return device_step


def _image_keys(state: TrainState, n: int) -> jax.Array:
    """[n, 4] keys: one row an image, by its running number, so that draws do not depend on how images are batched."""
    numbers = state.images + jax.lax.axis_index(DATA_AXIS) * n + jnp.arange(n)
    key = jax.random.wrap_key_data(state.key)
    return jax.vmap(lambda number: jax.random.split(jax.random.fold_in(key, number), 4))(numbers)


def _augmented(rows: dict[str, jax.Array], keys: jax.Array, config: DataConfig) -> Sample:
    image, _ = augment(
        rows["image"],
        rows["landmarks"],
        keys,
        size=config.image_size,
        crop_margin=config.crop_margin,
        flip=config.flip,
    )
    return Sample(image)


def _through_pools(pools: Pools, fake: Pair, keys: jax.Array) -> tuple[Pair, Pools]:
    """What the discriminators are shown: generated images of this and of earlier steps."""
    shown, new_pools = {}, {}
    for i, d in enumerate(DOMAINS):
        image, new_pools[d] = query_pool(pools[d], fake[d].image, keys[:, i])
        shown[d] = dataclasses.replace(fake[d], image=image)
    return shown, new_pools


def _average(ema: Params, params: Params, images: jax.Array, batch_size: int, halflife: float) -> Params:
    """Moving average of weights; a ramp forgets the initialisation early on, then the half-life counts, in images."""
    updates = (images // batch_size).astype(jnp.float32)
    decay = jnp.minimum(0.5 ** (batch_size / halflife), (1 + updates) / (10 + updates))
    return jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, ema, params)


def _accumulate(grad_fn: Callable[[Any], Any], batch: Any, parts: int) -> Any:
    """grad_fn over `parts` equal parts of the batch: mean gradients and metrics, all images in order."""
    if parts == 1:
        return grad_fn(batch)
    stacked = jax.tree.map(lambda a: a.reshape(parts, -1, *a.shape[1:]), batch)

    def add_part(total: Any, part: Any) -> tuple[Any, Any]:
        grads, (images, metrics) = grad_fn(part)
        return jax.tree.map(jnp.add, total, (grads, metrics)), images

    grads, (_, metrics) = jax.eval_shape(grad_fn, jax.tree.map(lambda a: a[0], stacked))
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), (grads, metrics))
    # Unrolled on a CPU: within a loop, XLA's gradients of kernels take 15 times as long (jax 0.10.2).
    sums, images = jax.lax.scan(add_part, zeros, stacked, unroll=on_cpu())
    grads, metrics = jax.tree.map(lambda a: a / parts, sums)
    return grads, (jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), images), metrics)
