"""What the networks minimise: arXiv 1703.10593, sections 3 and 5.2.

A loss is a `Term`: to add one, append it to `generator_terms` or `discriminator_terms`, and its weight to the
configuration. The functions here are pure: of one step's translations, and of scores that `train_step` computes with
its parameters.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bitmoji_jax.config import TrainConfig
from bitmoji_jax.models.networks import Params
from bitmoji_jax.ops.platform import on_cpu
from bitmoji_jax.training.critics import Critic
from bitmoji_jax.training.losses import absolute_error, colour_distance
from bitmoji_jax.training.sample import DOMAINS, Pair, Sample, concatenate

# Images of a pass from which translation and identity are passes of their own, on a CPU: what both take together leaves
# its caches. Steps are 1 to 12 % faster at batch 4, and would be 7 % slower at batch 1 (benchmarks/NOTES.md).
_SEPARATE_PASSES = 4

_CYCLE_NOISE = 0.05
"""Standard deviation, of a range from -1 to 1: more than a code that is read from a cell's mean could have."""

Metrics = dict[str, jax.Array]
Translate = Callable[[Params, Sample], Sample]
Score = Callable[[Critic, Sample], Any]  # what the critic's module returns, with the parameters of the step


class Translations(NamedTuple):
    """All images of one step, by domain: fake["y"] is G(x), rec["x"] is F(G(x)), idt["y"] is G(y)."""

    real: Pair
    fake: Pair
    rec: Pair
    idt: Pair | None


class Term(NamedTuple):
    """One summand of a loss."""

    name: str  # in metrics.jsonl
    weight: float
    value: jax.Array  # float32 [], a mean over the batch


def translate_all(
    translate: Translate, generators: Mapping[str, Params], real: Pair, *, identity: bool, noise: bool = False
) -> Translations:
    """Translates both domains and back, and, with `identity`, each image by the generator that makes its domain.

    With `noise`, what is translated back has noise.
    """
    g, f, x, y = generators["g"], generators["f"], real["x"], real["y"]
    if identity:
        fake_y, idt_y = _translate_two(translate, g, x, y)
        fake_x, idt_x = _translate_two(translate, f, y, x)
        idt = {"x": idt_x, "y": idt_y}
    else:
        fake_y, fake_x, idt = translate(g, x), translate(f, y), None
    back = {"x": fake_y, "y": fake_x}
    if noise:
        back = {domain: _with_noise(sample) for domain, sample in back.items()}
    rec = {"x": translate(f, back["x"]), "y": translate(g, back["y"])}
    return Translations(real, {"x": fake_x, "y": fake_y}, rec, idt)


def generator_terms(out: Translations, score: Score, critics: Sequence[Critic], config: TrainConfig) -> list[Term]:
    """Returns what G and F minimise together."""
    terms = [Term(c.metric, c.weight, c.generator_loss(score(c, out.fake[c.domain]))) for c in critics]
    loss = {"pixels": absolute_error, "cells": colour_distance}[config.cycle]
    terms += [Term(f"cycle_{d}", config.cycle_weight, _distance(out.rec[d], out.real[d], loss)) for d in DOMAINS]
    if out.idt is not None:
        terms += [Term(f"identity_{d}", config.identity_weight, _distance(out.idt[d], out.real[d])) for d in DOMAINS]
    return terms


def discriminator_terms(real: Pair, fake: Pair, score: Score, critics: Sequence[Critic]) -> list[Term]:
    """Returns what the discriminators minimise; `fake` has passed through the image pools."""
    terms = []
    for critic in critics:
        # Real and generated in one call, as the article has it.
        both = score(critic, concatenate(real[critic.domain], fake[critic.domain]))
        terms.append(Term(f"loss_{critic.name}", 1.0, critic.discriminator_loss(*jnp.split(both, 2))))
    return terms


def total(terms: Sequence[Term]) -> tuple[jax.Array, Metrics]:
    """Returns the weighted sum, and the value of each term by name, without its weight."""
    return sum((t.weight * t.value for t in terms), start=jnp.zeros(())), {t.name: t.value for t in terms}


def _translate_two(translate: Translate, params: Params, a: Sample, b: Sample) -> tuple[Sample, Sample]:
    """Translates two samples of one size, in one pass where that is faster: larger products, each kernel read once."""
    n = len(a.image)
    if on_cpu() and n >= _SEPARATE_PASSES:
        return translate(params, a), translate(params, b)
    both = translate(params, concatenate(a, b))
    first, second = (jax.tree.map(lambda leaf, part=part: leaf[part], both) for part in (slice(n), slice(n, None)))
    return first, second


def _distance(
    images: Sample, targets: Sample, loss: Callable[[jax.Array, jax.Array], jax.Array] = absolute_error
) -> jax.Array:
    return loss(images.image, targets.image)


def _with_noise(sample: Sample) -> Sample:
    assert sample.key is not None

    def noise(key: jax.Array, image: jax.Array) -> jax.Array:
        return _CYCLE_NOISE * jax.random.normal(key, image.shape)

    return dataclasses.replace(sample, image=sample.image + jax.vmap(noise)(sample.key, sample.image))
