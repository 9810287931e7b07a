"""The stage of the reader A: it learns to tell a guide (models/reader.py) from photos, whatever their faults.

The photos are disturbed as people's are; gender is that of the label, colours are those of the undisturbed photo. So a
shadow, a coloured light or a hat changes what A reads little, and the student that it guides likewise. Glasses are
drawn over some photos; the others have them where the label says so.

L learns to take cast shadows out of photos, from photos with drawn ones: it is told how much light is missing where. A
sees what L leaves of a disturbed photo, as it will in use.

The points of the face need no training: a network that comes with the package finds them, and T, a linear map fitted to
those of photos and avatars, says where the avatar of a photo should have them (training/transport.py). H, which tells
hats, is fitted too (training/fit_hats.py).
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bitmoji_jax.config import ExperimentConfig
from bitmoji_jax.data.accessories import glasses as draw_glasses
from bitmoji_jax.data.augment import place
from bitmoji_jax.data.disturb import cast_shadows, disturb_alike, disturb_photo, eyes_of
from bitmoji_jax.models.networks import Params, as_seen, example_inputs, helpers, make_network
from bitmoji_jax.models.reader import GENDER, GLASSES, HAIR_COLOUR, SKIN_COLOUR, guide_of
from bitmoji_jax.models.recolour import CHEEKS, HAIR, LUMA, SIZE, colour_in, likely_skin
from bitmoji_jax.ops.batching import map_samples
from bitmoji_jax.ops.image import resize, to_float
from bitmoji_jax.training.losses import binary_cross_entropy
from bitmoji_jax.training.objective import Score, Term
from bitmoji_jax.training.sample import Pair, Sample
from bitmoji_jax.training.stage import Batch, Schedule, Stage

_NUMBER = 1000  # of the stage's random numbers: no round has it
_WARM_UP = 0.1
_COLOUR_WEIGHT = 3.0  # a colour's error of a sixth of the range costs as much as a gender guessed at random
_DISTURBED_SHARE = 0.75
_DRAWN_SHARE = 0.25  # of photos have glasses drawn over them
_LIKELY_SHARE = 0.8  # of the way from the photo's skin to the likeliest of a bitmoji's, which is too near to the usual
# What A reads is nearer to the usual skin than what it learned from, and dark skin came out far too light. So it learns
# from skin whose luma is farther from the usual one, by this factor, and lower.
_CONTRAST, _DARKER = 1.2, 0.05
_USUAL_LUMA = 0.41
_BLACK = 0.05  # added to levels from 0 to 2: in black hair the share of the light that is missing cannot be told
_SKIN_AXIS = np.array([1.234, 0.928, 0.756], np.float32)
"""Change of a skin's red, green and blue for a change of its luma: it gets lighter and darker with its own hue."""


def read_stage(
    config: ExperimentConfig,
    networks: Mapping[str, Params],
    epoch_images: int,
    fits: Mapping[str, Callable[[], Params]],
) -> Stage:
    """Returns the stage that trains a, with `read.shadows` also l; `networks` hold g and f, which it passes on.

    With `read.points` and `read.hats` it also passes on what the `fits` of t and h give when the stage begins. No loss
    changes it.
    """
    read = config.read
    names = ("a", *helpers(read))
    total = math.ceil(read.images / read.batch_size) * read.batch_size
    apply = jax.jit(make_network(config, "a").apply)
    missing = jax.jit(functools.partial(make_network(config, "l").apply, method="missing"))

    def draw(frozen: Mapping[str, Params], batch: Batch, keys: jax.Array) -> Pair:
        del frozen

        def draw_one(row: tuple[dict[str, jax.Array], jax.Array]) -> Pair:
            x, key = row
            place_key, choice_key, fault_key, glasses_key, shadow_key = jax.random.split(key, 5)
            photo, placement = to_float(x["image"]), place(place_key)
            seen = resize(placement.apply(photo)[None], config.data.image_size)[0]
            landmarks = placement.apply_to_landmarks(x["landmarks"])
            wanted = _colours(photo)
            if read.glasses:
                drawn = jax.random.bernoulli(glasses_key, _DRAWN_SHARE)
                seen = jnp.where(drawn, draw_glasses(seen, glasses_key, eyes_of(landmarks)), seen)
                # Few people wear glasses: who has no label counts as without.
                worn = 2 * jnp.maximum(drawn, jnp.nan_to_num(x["glasses"])) - 1
                wanted = jnp.append(wanted, worn)
            disturbed = disturb_photo(seen, landmarks, fault_key, with_glasses=not read.glasses)
            clean, seen = seen, jnp.where(jax.random.bernoulli(choice_key, _DISTURBED_SHARE), disturbed, seen)
            result = {"x": Sample(seen, gender=x["gender"], condition=wanted)}
            if read.shadows:
                shaded, lit = cast_shadows(clean, shadow_key)
                result |= {"shaded": Sample(shaded), "lit": Sample(lit)}
            return result

        return map_samples(draw_one, (batch["x"], keys[:, 0]))

    def terms(
        params: Mapping[str, Params], frozen: Mapping[str, Params], drawn: Pair, score: Score
    ) -> tuple[list[Term], Pair]:
        del frozen, score
        x = drawn["x"]
        seen = jax.lax.stop_gradient(as_seen(config, params, x.image))
        found = apply(params["a"], seen)
        female, known = x.is_female()
        right = (found[:, GENDER] > 0) == female
        assert x.condition is not None
        wanted = jnp.concatenate([jnp.full((len(found), 1), jnp.nan), x.condition], axis=1)
        errors = jnp.abs(found - wanted)[:, SKIN_COLOUR.start : HAIR_COLOUR.stop]
        result = [
            Term("gender_a", 1.0, binary_cross_entropy(found[:, GENDER], female, known)),
            Term("colours_a", _COLOUR_WEIGHT, jnp.mean(jnp.where(jnp.isnan(errors), 0.0, errors))),
            Term("wrong_a", 0.0, jnp.mean(known & ~right)),
        ]
        if read.glasses:
            loss = optax.sigmoid_binary_cross_entropy(found[:, GLASSES], wanted[:, GLASSES] > 0)
            result.append(Term("glasses_a", 1.0, jnp.mean(loss)))
        if read.shadows:
            shaded, lit = (drawn[name].image + 1 + _BLACK for name in ("shaded", "lit"))
            error = missing(params["l"], drawn["shaded"].image) - jnp.log(lit / shaded)
            result.append(Term("shadows_l", 1.0, jnp.mean(jnp.square(error))))
        return result, {}

    return Stage(
        name="read",
        seed=config.train.seed + _NUMBER,
        key=jax.random.fold_in(jax.random.key(config.train.seed), _NUMBER),
        schedule=Schedule(
            total=total,
            epoch_images=epoch_images,
            batch_size=read.batch_size,
            parts=1,
            rate=functools.partial(_learning_rate, read.learning_rate, total),
            critic_rate=1.0,
            beta1=0.9,
            beta2=0.999,
            ema_halflife=config.train.ema_halflife,
        ),
        best_from=total,
        domain="y",
        networks={name: (make_network(config, name), example_inputs(config, name)) for name in names},
        start=lambda: {name: fit() for name, fit in fits.items() if name in names},
        critics=(),
        generated={},
        frozen={name: networks[name] for name in ("g", "f")},
        pool_size=0,
        draw=draw,
        generator_terms=terms,
        discriminator_terms=lambda *_: [],
        column_names=("real_x", "skin", "hair", "disturbed_x", "seen_x", "skin_then", "hair_then"),
        columns=functools.partial(_columns, config),
        passed_on=("g", "f", *names),
    )


def _learning_rate(peak: float, total: int, images: jax.Array) -> jax.Array:
    share = images / total
    return peak * jnp.minimum(share / _WARM_UP, (1 - share) / (1 - _WARM_UP))


def _colours(photo: jax.Array) -> jax.Array:
    """Skin and hair [6] that the avatar of a photo [S, S, 3] should have, NaN where the photo has none."""
    small = resize(photo[None], SIZE)[0]
    (skin, has_skin), (hair, has_hair) = (colour_in(small, where) for where in (CHEEKS, HAIR))
    skin += _LIKELY_SHARE * (likely_skin(skin) - skin)
    skin += ((_CONTRAST - 1) * (skin @ LUMA - _USUAL_LUMA) - _DARKER) * _SKIN_AXIS
    return jnp.concatenate([jnp.where(has_skin, skin, jnp.nan), jnp.where(has_hair, hair, jnp.nan)])


def _columns(
    config: ExperimentConfig,
    trained: Mapping[str, Params],
    frozen: Mapping[str, Params],
    images: Mapping[str, jax.Array],
) -> Sequence[jax.Array]:
    del frozen
    photos = resize(images["x"], config.data.image_size)

    def read(seen: jax.Array) -> list[jax.Array]:
        guide = guide_of(make_network(config, "a").apply(trained["a"], seen))
        colours = (guide[:, part, None, None] for part in (SKIN_COLOUR, HAIR_COLOUR))
        return [jnp.broadcast_to(jnp.moveaxis(colour, 1, -1), photos.shape) for colour in colours]

    disturbed = disturb_alike(photos)
    seen = as_seen(config, trained, disturbed)
    return [photos, *read(as_seen(config, trained, photos)), disturbed, seen, *read(seen)]
