"""A stage that trains one network on pairs which the run makes itself, on the devices, in the step.

The network is compared with the target in pixels and in the feature maps of EfficientNet-Lite0, and has critics on
these maps: of patches, real images against drawn ones, and of gender. So a score of such a run is taken by another
network. training/pair_stages.py has the three stages of this kind.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bitmoji_jax.config import ExperimentConfig, PairConfig
from bitmoji_jax.models import efficientnet
from bitmoji_jax.models.features import load_params
from bitmoji_jax.models.networks import Params, example_inputs, helpers, make_network
from bitmoji_jax.models.patch_critic import FeatureClassifier, Judged, PatchCritic
from bitmoji_jax.ops.batching import map_samples
from bitmoji_jax.ops.platform import on_cpu
from bitmoji_jax.training.critics import Critic
from bitmoji_jax.training.losses import (
    absolute_error,
    binary_cross_entropy,
    colour_distance,
    feature_distance,
    hinge_discriminator_loss,
    hinge_generator_loss,
)
from bitmoji_jax.training.objective import Score, Term
from bitmoji_jax.training.sample import DOMAINS, Pair, Sample, concatenate, signed_gender
from bitmoji_jax.training.stage import Batch, Columns, Schedule, Stage

_KINDS = {"f": ("invert", 2000), "r": ("refine", 1), "s": ("teach", 2)}
"""By network, the stage that trains it, which is also its section of the configuration, and in the first round the
number of its random numbers; two more for each round."""
_MAPS = 4
"""Feature maps that are compared and judged: strides 2, 4, 8 and 16."""
_VIEW = 128
"""Side in pixels of what EfficientNet sees of an image: half of the time all of it, reduced to this size, else a
random window of it, less reduced or not, so that both the whole and its lines are judged, at the cost of one size."""
_WARM_UP, _DECAY = 400, 0.4  # images at the beginning, and share at the end, in which the step size changes
_CRITIC_RATE = 0.5
_CLEARLY = -1.0  # logit of a class, below which an image is of the other


Networks = Mapping[str, Params]


class Row(NamedTuple):
    """One image of the batch."""

    image: jax.Array  # uint8 [S, S, 3]
    landmarks: jax.Array  # float32 [5, 2]
    gender: jax.Array  # int32 []
    key: jax.Array


class Drawn(NamedTuple):
    """What one photo and one avatar give to learn from; all images are float32, between -1 and 1."""

    seen: jax.Array  # [input size, input size, 3]: what the network is shown
    target: jax.Array  # [output size, output size, 3]: what it should draw
    real: jax.Array  # likewise: a real image of what it draws
    gender: jax.Array  # int32 [], that the drawn image should have
    key: jax.Array
    guide: jax.Array | None = None  # [GLASSES], what a guided student is told
    known: jax.Array | None = None  # bool [output size, output size, 1]: where to learn from the target


def pair_stage(
    config: ExperimentConfig,
    name: str,
    *,
    networks: Networks,
    used: Sequence[str],
    start: Networks,
    passed_on: Sequence[str],
    epoch_images: int,
    round_number: int,
    draw_one: Callable[[Networks, Row, Row], Drawn],
    column_names: Sequence[str],
    columns: Columns,
    spared: jax.Array | None = None,
) -> Stage:
    """Returns the stage that trains one network on pairs, with the others frozen.

    Args:
      config: the experiment.
      name: of the network: r, s or f.
      networks: what the stages before have trained, by name.
      used: names of those that `draw_one` and `columns` are given, frozen; those of the reader's stage go with them.
      start: that network's first parameters, by name; empty for noise.
      passed_on: names of the networks that the next stage may use; those of the reader's stage go with them too.
      epoch_images: images of an epoch.
      round_number: from 1 on.
      draw_one: draws what to learn from, given the frozen networks, one photo and one avatar.
      column_names: of a sample grid.
      columns: those of a sample grid.
      spared: bool [output size, output size, 1], where critics do not change the images; None for nowhere.
    """
    title, number = _KINDS[name]
    pairs: PairConfig = getattr(config, title)
    if round_number > 1:
        title, number = f"{title}{round_number}", number + 2 * (round_number - 1)
    draws_photos = name == "f"
    domain, domain_seen = ("x", "y") if draws_photos else ("y", "x")
    size = config.data.image_size if draws_photos else config.refiner.output_size
    helping = tuple(helper for helper in helpers(config.read) if helper in networks)
    network, inputs = make_network(config, name), example_inputs(config, name)
    patches_name, what_it_sees = f"d_{domain}_patches", _judged
    if pairs.conditional_critic:  # its parameters have other shapes
        patches_name, what_it_sees = f"{patches_name}_by_gender", _judged_by_gender
    patches = Critic(patches_name, domain, f"adversarial_{name}", PatchCritic(), what_it_sees, pairs.critic_weight)
    genders = Critic("gender", domain, f"gender_{name}", FeatureClassifier(), _coarsest_map, pairs.gender_weight)
    draw_network = jax.jit(network.apply)

    def draw(frozen: Networks, batch: Batch, keys: jax.Array) -> Pair:
        def draw_sample(rows: tuple[Row, Row]) -> Pair:
            drawn = draw_one(frozen, *rows)
            seen = Sample(drawn.seen, gender=drawn.gender, key=drawn.key, condition=drawn.guide)
            # In the refiner's stage both are one image, whose features XLA computes once.
            target, real = (
                Sample(image, features=[m[0] for m in _features(frozen, image[None], drawn.key[None])])
                for image in (drawn.target, drawn.real)
            )
            target = dataclasses.replace(target, known=drawn.known)
            real = dataclasses.replace(real, gender=rows[DOMAINS.index(domain)].gender)
            return {domain_seen: seen, "target": target, domain: real}

        rows = (Row(**{n: batch[d][n] for n in Row._fields[:-1]}, key=keys[:, i]) for i, d in enumerate(DOMAINS))
        return map_samples(draw_sample, tuple(rows))

    def generator_terms(params: Networks, frozen: Networks, drawn: Pair, score: Score) -> tuple[list[Term], Pair]:
        seen, target = drawn[domain_seen], drawn["target"]
        guide = () if seen.condition is None else (seen.condition,)
        images = draw_network(params[name], seen.image, *guide)
        wanted, wanted_maps = target.image, _maps(frozen, target)
        assert seen.key is not None
        if target.known is not None:  # elsewhere no term changes the image, nor a critic's
            own = jax.lax.stop_gradient(images)
            images, wanted = (jnp.where(target.known, each, own) for each in (images, wanted))
            wanted_maps = _features(frozen, wanted, seen.key)
        maps = _features(frozen, images, seen.key)
        shown, shown_maps = images, maps
        if spared is not None:  # the same images, of which critics change less
            shown = jnp.where(spared, jax.lax.stop_gradient(images), images)
            shown_maps = _features(frozen, shown, seen.key)
        fake = dataclasses.replace(seen, image=shown, features=shown_maps, condition=None)
        colours = wanted
        if genders in critics:
            # A target of the other gender teaches colours only.
            right = jax.lax.stop_gradient(_agrees(score(genders, target), *seen.is_female()))
            wanted, *wanted_maps = (
                jnp.where(right[:, None, None, None], a, b)
                for a, b in zip((wanted, *wanted_maps), (images, *maps), strict=True)
            )
        terms = [
            Term(f"pixels_{name}", pairs.pixel_weight, absolute_error(images, wanted)),
            Term(f"colours_{name}", pairs.colour_weight, colour_distance(images, colours)),
            Term(f"features_{name}", pairs.feature_weight, feature_distance(maps, wanted_maps)),
        ]
        if patches in critics:
            terms.append(Term(patches.metric, patches.weight, hinge_generator_loss(score(patches, fake))))
        if genders in critics:
            loss = binary_cross_entropy(score(genders, fake), *seen.is_female())
            terms += [Term(genders.metric, genders.weight, loss), Term(f"kept_{name}", 0.0, jnp.mean(right))]
        return terms, {domain: fake}

    def discriminator_terms(drawn: Pair, shown: Pair, score: Score) -> list[Term]:
        terms, real, fake = [], drawn[domain], shown[domain]
        if patches in critics:
            both = [jnp.split(scores, 2) for scores in score(patches, concatenate(_seen(real), _seen(fake)))]
            scores_real, scores_fake = ([scores[i] for scores in both] for i in (0, 1))
            terms.append(Term(f"loss_{patches.name}", 1.0, hinge_discriminator_loss(scores_real, scores_fake)))
            # Near 1, a head has won, and the network learns nothing from it any more.
            right = [(jnp.mean(r > 0) + jnp.mean(f < 0)) / 2 for r, f in zip(scores_real, scores_fake, strict=True)]
            terms += [Term(f"accuracy_{patches.name}_{i}", 0.0, accuracy) for i, accuracy in enumerate(right)]
        if genders in critics:
            terms.append(Term("loss_gender", 1.0, binary_cross_entropy(score(genders, real), *real.is_female())))
        return terms

    maps_of_one = [jnp.zeros(shape) for shape in _feature_shapes(size)]
    generated = Sample(jnp.zeros((1, size, size, 3)), gender=jnp.zeros(1, jnp.int32), features=maps_of_one)
    critics = tuple(critic for critic in (patches, genders) if critic.weight)
    total = math.ceil(pairs.images / pairs.batch_size) * pairs.batch_size
    return Stage(
        name=title,
        seed=config.train.seed + number,
        key=jax.random.fold_in(jax.random.key(config.train.seed), number),
        schedule=Schedule(
            total=total,
            epoch_images=epoch_images,
            batch_size=pairs.batch_size,
            # One by one on a CPU, where the feature maps of several images exceed the caches.
            parts=None if on_cpu() else 1,
            rate=functools.partial(_learning_rate, pairs.learning_rate, total),
            critic_rate=_CRITIC_RATE,
            beta1=0.5,
            beta2=0.99,
            ema_halflife=pairs.ema_halflife,
        ),
        best_from=math.ceil((1 - _DECAY) * total),
        domain=domain,
        networks={name: (network, inputs)},
        start=lambda: start,
        critics=critics,
        generated={domain: generated},
        frozen={n: networks[n] for n in (*used, *helping)} | {"efficientnet": load_params(efficientnet.WEIGHTS)},
        pool_size=0,
        draw=draw,
        generator_terms=generator_terms,
        discriminator_terms=discriminator_terms,
        column_names=column_names,
        columns=columns,
        passed_on=(*passed_on, *helping),
    )


def _learning_rate(peak: float, total: int, images: jax.Array) -> jax.Array:
    return peak * jnp.minimum(1, (images + 1) / _WARM_UP) * jnp.clip((total - images) / (_DECAY * total), 0, 1)


def _features(frozen: Networks, images: jax.Array, keys: jax.Array) -> list[jax.Array]:
    """Feature maps of a window of each image [N, S, S, 3] in [-1, 1]; the window depends on the key and on S alone."""
    size = images.shape[1]

    def view(image: jax.Array, key: jax.Array) -> jax.Array:
        scale_key, place_key = jax.random.split(key)
        least = _VIEW / size  # at which the window is the whole
        scale = jnp.maximum(least, jax.random.uniform(scale_key, minval=2 * least - 1, maxval=1.0))
        shift = -jax.random.uniform(place_key, (2,)) * (scale * size - _VIEW)
        return jax.image.scale_and_translate(image, (_VIEW, _VIEW, 3), (0, 1), jnp.full(2, scale), shift, "linear")

    seen = jax.vmap(view)(images, keys) if size > _VIEW else images
    return efficientnet.feature_maps(frozen["efficientnet"], 127.5 * (jnp.clip(seen, -1, 1) + 1))[:_MAPS]


def _feature_shapes(size: int) -> list[tuple[int, ...]]:
    size = min(size, _VIEW)
    frozen = jax.eval_shape(lambda: {"efficientnet": load_params(efficientnet.WEIGHTS)})
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return [m.shape for m in jax.eval_shape(efficientnet.feature_maps, frozen["efficientnet"], images)][:_MAPS]


def _maps(frozen: Params, sample: Sample) -> Sequence[jax.Array]:
    del frozen
    assert sample.features is not None
    return sample.features


def _seen(sample: Sample) -> Sample:
    """What critics see of a sample: with nothing else, real and drawn ones can be joined."""
    return Sample(sample.image, gender=sample.gender, features=sample.features)


def _judged(frozen: Params, sample: Sample) -> Judged:
    return Judged(_maps(frozen, sample))


def _judged_by_gender(frozen: Params, sample: Sample) -> Judged:
    assert sample.gender is not None
    return Judged(_maps(frozen, sample), signed_gender(sample.gender))


def _coarsest_map(frozen: Params, sample: Sample) -> jax.Array:
    return _maps(frozen, sample)[-1]


def _agrees(logits: jax.Array, is_class: jax.Array, known: jax.Array) -> jax.Array:
    """bool [N]: whether the class that logits [N] stand for is not clearly another than the one that is known."""
    return ~known | (jnp.where(is_class, logits, -logits) > _CLEARLY)
