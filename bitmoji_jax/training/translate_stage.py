"""The first stage: CycleGAN (arXiv 1703.10593). It finds, without pairs, which avatar goes with which photo."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from bitmoji_jax.config import ExperimentConfig, TrainConfig
from bitmoji_jax.data.augment import augment
from bitmoji_jax.models.networks import Params, apply_generator, example_inputs, make_network
from bitmoji_jax.ops.batching import map_images
from bitmoji_jax.ops.image import resize
from bitmoji_jax.training.critics import frozen_params, make_critics
from bitmoji_jax.training.objective import Score, Term, discriminator_terms, generator_terms, translate_all
from bitmoji_jax.training.sample import DOMAINS, Pair, Sample
from bitmoji_jax.training.stage import Batch, Schedule, Stage


def translate_stage(config: ExperimentConfig, epoch_images: int) -> Stage:
    """Returns the stage that trains G and F; `epoch_images` are the images of an epoch, max(|X|, |Y|)."""
    train, inputs = config.train, example_inputs(config, "g")
    critics, generator = make_critics(config), make_network(config, "g")
    generate = jax.jit(functools.partial(apply_generator, config))

    def translate(params: Params, sample: Sample) -> Sample:
        return dataclasses.replace(sample, image=generate(params, sample.image, sample.condition))

    def draw(frozen: Mapping[str, Params], batch: Batch, keys: jax.Array) -> Pair:
        del frozen
        return {domain: _augmented(batch[domain], keys[:, i], config) for i, domain in enumerate(DOMAINS)}

    def terms(
        params: Mapping[str, Params], frozen: Mapping[str, Params], real: Pair, score: Score
    ) -> tuple[list[Term], Pair]:
        del frozen
        identity, noise = train.identity_weight > 0, train.cycle == "cells"
        out = translate_all(translate, params, real, identity=identity, noise=noise)
        return generator_terms(out, score, critics, train), out.fake

    image, *condition = inputs
    generated = Sample(image, condition=condition[0] if condition else None)
    return Stage(
        name="translate",
        seed=train.seed,
        key=jax.random.key(train.seed),
        schedule=Schedule(
            total=train.total_images(epoch_images),
            epoch_images=epoch_images,
            batch_size=train.batch_size,
            parts=train.accumulation_steps,
            rate=functools.partial(learning_rate, train, epoch_images=epoch_images),
            critic_rate=1.0,
            beta1=train.beta1,
            beta2=train.beta2,
            ema_halflife=train.ema_halflife,
        ),
        best_from=0,
        domain="y",
        networks=dict.fromkeys(("g", "f"), (generator, inputs)),
        start=dict,
        critics=critics,
        generated=dict.fromkeys(DOMAINS, generated),
        frozen=frozen_params(config),
        pool_size=train.pool_size,
        draw=draw,
        generator_terms=terms,
        discriminator_terms=functools.partial(discriminator_terms, critics=critics),
        column_names=("real_x", "fake_y", "rec_x", "real_y", "fake_x", "rec_y"),
        columns=functools.partial(_columns, config),
        passed_on=("g", "f"),
    )


def learning_rate(config: TrainConfig, images: jax.Array | float, epoch_images: int) -> jax.Array:
    """Returns the rate at `images` seen: constant for `constant_epochs`, then linear to 0, `epoch_images` an epoch."""
    constant = config.constant_epochs * epoch_images
    decay = config.decay_epochs * epoch_images
    left = jnp.clip((constant + decay - images) / decay, 0, 1) if decay else jnp.ones(())
    return config.learning_rate * left


def _augmented(rows: dict[str, jax.Array], keys: jax.Array, config: ExperimentConfig) -> Sample:
    image, landmarks = augment(
        rows["image"],
        rows["landmarks"],
        keys,
        size=config.data.image_size,
        crop_margin=config.data.crop_margin,
        flip=config.data.flip,
    )
    # Another key than those that `augment` splits off.
    return Sample(image, landmarks, key=jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys))


def _columns(
    config: ExperimentConfig,
    trained: Mapping[str, Params],
    frozen: Mapping[str, Params],
    images: Mapping[str, jax.Array],
) -> Sequence[jax.Array]:
    del frozen

    # One small program, called for each column, compiles faster than one for the grid.
    @jax.jit
    def generate(params: Params, images: jax.Array) -> jax.Array:
        return map_images(functools.partial(apply_generator, config, params), images)

    g, f = trained["g"], trained["f"]
    real_x, real_y = (resize(images[domain], config.data.image_size) for domain in DOMAINS)
    fake_y, fake_x = generate(g, real_x), generate(f, real_y)
    rec_x, rec_y = generate(f, fake_y), generate(g, fake_x)
    return real_x, fake_y, rec_x, real_y, fake_x, rec_y
