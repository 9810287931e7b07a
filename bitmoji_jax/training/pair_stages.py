"""The stages after CycleGAN: each trains one network on pairs that the run makes itself, on the devices, in the step.

refine: R learns to restore an avatar y from G(F(y)), the faults that the generators really make, with the truth known.
It learns what an avatar is from avatars alone. Noise, blur and JPEG on F(y) leave no code in it that G could read. In a
later round S draws in the place of G, and F(y) has the faults of real photos.

teach: S learns photo -> avatar from two kinds of pairs: (x, R(G(x))) of photos, or what S and R of the round before
make of them, and (F(y), y) of avatars. Both photos are disturbed as people's are (shadow, light, background, cuts,
accessories), F(y) is bent too; the target is that of the undisturbed one. Where a reader was trained, S is also told
the gender, and the colours of skin and hair that the target has: half of the avatars are given those of a photo. A mark
in the photo says whether the mouth is open, and S learns mouths from the second kind alone: those that were drawn of
photos are often not the photo's.

Both compare with the target in pixels and in the feature maps of EfficientNet-Lite0, and both have critics on these
maps: of patches, real avatars against drawn ones, and of gender. So a score of such a run is taken by another network.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bitmoji_jax.config import ExperimentConfig
from bitmoji_jax.data.augment import Placement, place
from bitmoji_jax.data.builder import GENDERS
from bitmoji_jax.data.disturb import bend, displace, disturb_alike, disturb_photo
from bitmoji_jax.data.roughen import roughen, sometimes
from bitmoji_jax.models import efficientnet
from bitmoji_jax.models.face_points import measure
from bitmoji_jax.models.features import load_params
from bitmoji_jax.models.mark_mouth import mark_mouths, mouth_of_avatar, mouth_of_photo
from bitmoji_jax.models.networks import (
    Params,
    avatar_to_photo,
    draw_roughly,
    example_inputs,
    has_mouth,
    helpers,
    is_guided,
    make_network,
    photo_to_avatar,
    read_guide,
    refine,
    student_of,
)
from bitmoji_jax.models.patch_critic import FeatureClassifier, PatchCritic
from bitmoji_jax.models.reader import GENDER, taken_off
from bitmoji_jax.models.recolour import CHEEKS, HAIR, SIZE, colour_in, recolour
from bitmoji_jax.ops.batching import map_samples
from bitmoji_jax.ops.image import resize, to_float
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
from bitmoji_jax.training.sample import DOMAINS, Pair, Sample, concatenate
from bitmoji_jax.training.stage import Batch, Columns, Schedule, Stage

_MAPS = 4
"""Feature maps that are compared and judged: strides 2, 4, 8 and 16."""
_VIEW = 128
"""Side in pixels of what EfficientNet sees of an avatar: half of the time all of it, reduced to this size, else a
random window of it, less reduced or not, so that both the whole and its lines are judged, at the cost of one size."""
_PHOTO_SHARE = 0.5  # of what the student learns from, photos; the others are avatars
_RECOLOURED_SHARE = 0.5  # of avatars that a guided student learns from have the colours of a photo
_UNKNOWN_SHARE = 0.1  # of genders are not told
_WARM_UP, _DECAY = 400, 0.4  # images at the beginning, and share at the end, in which the step size changes
_CRITIC_RATE = 0.5
_MOUTH_ROWS, _MOUTH_COLUMNS = (0.62, 0.84), (0.34, 0.66)  # of an avatar, as shares of its side
_CLEARLY = -1.0  # logit of a class, below which an image is of the other


Networks = Mapping[str, Params]


class _Row(NamedTuple):
    """One image of the batch."""

    image: jax.Array  # uint8 [S, S, 3]
    landmarks: jax.Array  # float32 [5, 2]
    gender: jax.Array  # int32 []
    key: jax.Array


class _Drawn(NamedTuple):
    """What one photo and one avatar give to learn from; all images are float32, between -1 and 1."""

    seen: jax.Array  # [input size, input size, 3]: what the network is shown
    target: jax.Array  # [output size, output size, 3]: what it should draw
    real: jax.Array  # likewise: a real avatar
    gender: jax.Array  # int32 [], that the drawn avatar should have
    key: jax.Array
    guide: jax.Array | None = None  # [GLASSES], what a guided student is told
    known: jax.Array | None = None  # bool [output size, output size, 1]: where to learn from the target


def refine_stage(config: ExperimentConfig, networks: Networks, epoch_images: int, number: int = 1) -> Stage:
    """Returns the stage that trains the refiner r of the avatars of a student s, if `networks` has one, else of G.

    `networks` also hold f, `epoch_images` are the images of an epoch, `number` is that of the round.
    """
    source = "s" if "s" in networks else "g"
    upright = config.teach.upright and source == "s"  # G draws a person where the photo has it

    def draw_one(frozen: Networks, x: _Row, y: _Row) -> _Drawn:
        del x
        place_key, bend_key, fault_key, key = jax.random.split(y.key, 4)
        real, landmarks = _placed(config, y, place_key, upright=upright)
        photo = avatar_to_photo(config, frozen, real[None])[0]
        if source == "g":
            photo = roughen(photo, fault_key)
        else:  # s hides nothing, and makes the errors of real photos only where something is wrong
            photo = disturb_photo(bend(photo, bend_key), landmarks, fault_key)
        seen = resize(draw_roughly(config, frozen, photo[None]), config.data.image_size)
        return _Drawn(seen[0], real, real, y.gender, key)

    def columns(trained: Networks, frozen: Networks, images: Mapping[str, jax.Array]) -> Sequence[jax.Array]:
        fake_y = draw_roughly(config, frozen, images["x"])
        rough_y = draw_roughly(config, frozen, avatar_to_photo(config, frozen, images["y"]))
        refined, restored = (refine(config, trained["r"], avatars) for avatars in (fake_y, rough_y))
        return images["x"], fake_y, refined, images["y"], rough_y, restored

    names = ("real_x", "fake_y", "refined_y", "real_y", "rough_y", "restored_y")
    frozen = {name: networks[name] for name in (source, "f", *_helpers(config, networks))}
    start = {"r": networks["r"]} if "r" in networks else {}
    return _pair_stage(config, "r", frozen, start, (source, "f", "r"), epoch_images, number, draw_one, names, columns)


def teach_stage(config: ExperimentConfig, networks: Networks, epoch_images: int, number: int = 1) -> Stage:
    """Returns the stage that trains the student s on photos with drawn avatars and on avatars with drawn photos.

    It starts as the s that `networks` has, or as r after G. `networks` are s or g, and f and r; `epoch_images` are the
    images of an epoch, `number` is that of the round.
    """
    source = "s" if "s" in networks else "g"
    upright = config.teach.upright
    # G draws a person where the photo has it, which an upright student must not learn.
    photo_share = 0.0 if upright and source == "g" else _PHOTO_SHARE

    def of_photo(frozen: Networks, x: _Row, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        placement = place(key)
        photo = placement.apply(to_float(x.image))[None]
        guides = None
        if source == "s" and is_guided(config):  # the student of the round before is told the label
            guides = read_guide(config, frozen, photo)
            guides = guides.at[:, GENDER].set(_gender(x.gender, guides[0, GENDER]))
            guides = taken_off(guides)  # it is drawn over what is learned
        target = resize(photo_to_avatar(config, frozen, photo, guides), config.refiner.output_size)[0]
        seen = resize(photo, config.data.image_size)
        if has_mouth(config, "s"):
            points = measure(seen)
            seen = mark_mouths(seen, points, mouth_of_photo(points))
        return seen[0], placement.apply_to_landmarks(x.landmarks), jnp.clip(target, -1, 1), x.gender

    def of_avatar(
        frozen: Networks, x: _Row, y: _Row, key: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        place_key, bend_key, colour_key, displace_key = jax.random.split(key, 4)
        target, landmarks = _placed(config, y, place_key, upright=upright)
        if is_guided(config):
            x_image = to_float(x.image)
            target = sometimes(_RECOLOURED_SHARE, lambda avatar, _: recolour(avatar, x_image), target, colour_key)
        photo = avatar_to_photo(config, frozen, target[None])
        if has_mouth(config, "s"):
            photo = mark_mouths(photo, measure(target[None]), mouth_of_avatar(target)[None])
        bent = bend(photo[0], bend_key)
        if upright:
            bent, landmarks = displace(bent, landmarks, displace_key)
        return bent, landmarks, target, y.gender

    def draw_one(frozen: Networks, x: _Row, y: _Row) -> _Drawn:
        choice_key, pair_key, disturb_key, guide_key, key = jax.random.split(x.key, 5)
        is_photo = jax.random.bernoulli(choice_key, photo_share)
        seen, landmarks, target, gender = jax.lax.cond(
            is_photo,
            lambda: of_photo(frozen, x, pair_key),
            lambda: of_avatar(frozen, x, y, pair_key),
        )
        real, _ = _placed(config, y, y.key)
        guide = _guide(target, gender, guide_key) if is_guided(config) else None
        known = ~(is_photo & _mouth_of(config.refiner.output_size)) if has_mouth(config, "s") else None
        return _Drawn(disturb_photo(seen, landmarks, disturb_key), target, real, gender, key, guide, known)

    def columns(trained: Networks, frozen: Networks, images: Mapping[str, jax.Array]) -> Sequence[jax.Array]:
        photos = resize(images["x"], config.data.image_size)
        disturbed = disturb_alike(photos)
        taught, fake_y = (photo_to_avatar(config, networks, photos) for networks in (frozen, trained))
        fake_then = photo_to_avatar(config, trained, disturbed)
        return photos, taught, fake_y, disturbed, fake_then, images["y"]

    names = ("real_x", "taught_y", "fake_y", "disturbed_x", "fake_then", "real_y")
    frozen = {name: networks[name] for name in (source, "f", "r", *_helpers(config, networks))}
    start = {"s": networks["s"] if "s" in networks else student_of(config, networks)}
    return _pair_stage(config, "s", frozen, start, ("s", "f"), epoch_images, number, draw_one, names, columns)


def _pair_stage(
    config: ExperimentConfig,
    name: str,
    networks: Networks,
    start: Networks,
    passed_on: Sequence[str],
    epoch_images: int,
    round_number: int,
    draw_one: Callable[[Networks, _Row, _Row], _Drawn],
    column_names: Sequence[str],
    columns: Columns,
) -> Stage:
    """The stage that trains the network `name` on what `draw_one` gives, with `networks` frozen."""
    title, pairs, number = {"r": ("refine", config.refine, 1), "s": ("teach", config.teach, 2)}[name]
    if round_number > 1:
        title, number = f"{title}{round_number}", number + 2 * (round_number - 1)
    network, inputs = make_network(config, name), example_inputs(config, name)
    patches = Critic("d_y_patches", "y", f"adversarial_{name}", PatchCritic(), _maps, pairs.critic_weight)
    genders = Critic("gender", "y", f"gender_{name}", FeatureClassifier(), _coarsest_map, pairs.gender_weight)
    draw_network = jax.jit(network.apply)

    def draw(frozen: Networks, batch: Batch, keys: jax.Array) -> Pair:
        def draw_sample(rows: tuple[_Row, _Row]) -> Pair:
            drawn = draw_one(frozen, *rows)
            seen = Sample(drawn.seen, gender=drawn.gender, key=drawn.key, condition=drawn.guide)
            # In the refiner's stage both are one image, whose features XLA computes once.
            target, real = (
                Sample(image, features=[m[0] for m in _features(frozen, image[None], drawn.key[None])])
                for image in (drawn.target, drawn.real)
            )
            target = dataclasses.replace(target, known=drawn.known)
            return {"x": seen, "target": target, "y": dataclasses.replace(real, gender=rows[1].gender)}

        rows = (_Row(**{n: batch[d][n] for n in _Row._fields[:-1]}, key=keys[:, i]) for i, d in enumerate(DOMAINS))
        return map_samples(draw_sample, tuple(rows))

    def generator_terms(params: Networks, frozen: Networks, drawn: Pair, score: Score) -> tuple[list[Term], Pair]:
        seen, target = drawn["x"], drawn["target"]
        guide = () if seen.condition is None else (seen.condition,)
        avatars = draw_network(params[name], seen.image, *guide)
        wanted, wanted_maps = target.image, _maps(frozen, target)
        assert seen.key is not None
        if target.known is not None:  # elsewhere no term changes the avatar, nor a critic's
            own = jax.lax.stop_gradient(avatars)
            avatars, wanted = (jnp.where(target.known, images, own) for images in (avatars, wanted))
            wanted_maps = _features(frozen, wanted, seen.key)
        maps = _features(frozen, avatars, seen.key)
        fake = dataclasses.replace(seen, image=avatars, features=maps, condition=None)
        colours = wanted
        if genders in critics:
            # A target of the other gender teaches colours only.
            right = jax.lax.stop_gradient(_agrees(score(genders, target), *seen.is_female()))
            wanted, *wanted_maps = (
                jnp.where(right[:, None, None, None], a, b)
                for a, b in zip((wanted, *wanted_maps), (avatars, *maps), strict=True)
            )
        terms = [
            Term(f"pixels_{name}", pairs.pixel_weight, absolute_error(avatars, wanted)),
            Term(f"colours_{name}", pairs.colour_weight, colour_distance(avatars, colours)),
            Term(f"features_{name}", pairs.feature_weight, feature_distance(maps, wanted_maps)),
        ]
        if patches in critics:
            terms.append(Term(patches.metric, patches.weight, hinge_generator_loss(score(patches, fake))))
        if genders in critics:
            loss = binary_cross_entropy(score(genders, fake), *seen.is_female())
            terms += [Term(genders.metric, genders.weight, loss), Term(f"kept_{name}", 0.0, jnp.mean(right))]
        return terms, {"y": fake}

    def discriminator_terms(drawn: Pair, shown: Pair, score: Score) -> list[Term]:
        terms, real, fake = [], drawn["y"], shown["y"]
        if patches in critics:
            both = [jnp.split(scores, 2) for scores in score(patches, concatenate(_seen(real), _seen(fake)))]
            scores_real, scores_fake = ([scores[i] for scores in both] for i in (0, 1))
            terms.append(Term("loss_d_y_patches", 1.0, hinge_discriminator_loss(scores_real, scores_fake)))
            # Near 1, a head has won, and the network learns nothing from it any more.
            right = [(jnp.mean(r > 0) + jnp.mean(f < 0)) / 2 for r, f in zip(scores_real, scores_fake, strict=True)]
            terms += [Term(f"accuracy_d_y_patches_{i}", 0.0, accuracy) for i, accuracy in enumerate(right)]
        if genders in critics:
            terms.append(Term("loss_gender", 1.0, binary_cross_entropy(score(genders, real), *real.is_female())))
        return terms

    size = config.refiner.output_size
    generated = Sample(jnp.zeros((1, size, size, 3)), features=[jnp.zeros(shape) for shape in _feature_shapes(size)])
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
        networks={name: (network, inputs)},
        start=lambda: start,
        critics=critics,
        generated={"y": generated},
        frozen={**networks, "efficientnet": load_params(efficientnet.WEIGHTS)},
        pool_size=0,
        draw=draw,
        generator_terms=generator_terms,
        discriminator_terms=discriminator_terms,
        column_names=column_names,
        columns=columns,
        passed_on=(*passed_on, *_helpers(config, networks)),
    )


def _helpers(config: ExperimentConfig, networks: Networks) -> tuple[str, ...]:
    """The names of networks that a stage uses and passes on where there are any: those of the reader's stage."""
    return tuple(name for name in helpers(config.read) if name in networks)


def _placed(config: ExperimentConfig, y: _Row, key: jax.Array, *, upright: bool = False) -> tuple[jax.Array, jax.Array]:
    """A real avatar as the networks should draw it, and its landmarks: placed at random, or only mirrored."""
    placement = place(key)
    if upright:
        placement = Placement(placement.mirrored, jnp.ones(()), jnp.zeros(2))
    avatar = resize(placement.apply(to_float(y.image))[None], config.refiner.output_size)
    return avatar[0], placement.apply_to_landmarks(y.landmarks)


def _mouth_of(size: int) -> jax.Array:
    """Returns bool [size, size, 1]: where avatars have a mouth."""
    places = (jnp.arange(size) + 0.5) / size
    rows, columns = ((places > first) & (places < last) for first, last in (_MOUTH_ROWS, _MOUTH_COLUMNS))
    return (rows[:, None] & columns[None, :])[..., None]


def _guide(target: jax.Array, gender: jax.Array, key: jax.Array) -> jax.Array:
    """What a student is told of the avatar [S, S, 3] that it should draw: a guide [GLASSES], see models/reader.py."""
    small = resize(target[None], SIZE)[0]
    told = jnp.where(jax.random.bernoulli(key, _UNKNOWN_SHARE), 0.0, _gender(gender, 0.0))
    colours = [colour_in(small, where)[0] for where in (CHEEKS, HAIR)]
    return jnp.concatenate([told[None], *colours])


def _gender(gender: jax.Array, unknown: jax.Array | float) -> jax.Array:
    """A gender as a guide says it, float32 []; `unknown` where there is no label."""
    female = jnp.where(gender == GENDERS.index("female"), 1.0, -1.0)
    return jnp.where(gender == GENDERS.index("unknown"), unknown, female)


def _learning_rate(peak: float, total: int, images: jax.Array) -> jax.Array:
    return peak * jnp.minimum(1, (images + 1) / _WARM_UP) * jnp.clip((total - images) / (_DECAY * total), 0, 1)


def _features(frozen: Networks, avatars: jax.Array, keys: jax.Array) -> list[jax.Array]:
    """Feature maps of a window of each avatar [N, S, S, 3] in [-1, 1]; the window depends on the key and on S alone."""
    size = avatars.shape[1]

    def view(image: jax.Array, key: jax.Array) -> jax.Array:
        scale_key, place_key = jax.random.split(key)
        least = _VIEW / size  # at which the window is the whole
        scale = jnp.maximum(least, jax.random.uniform(scale_key, minval=2 * least - 1, maxval=1.0))
        shift = -jax.random.uniform(place_key, (2,)) * (scale * size - _VIEW)
        return jax.image.scale_and_translate(image, (_VIEW, _VIEW, 3), (0, 1), jnp.full(2, scale), shift, "linear")

    seen = jax.vmap(view)(avatars, keys) if size > _VIEW else avatars
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
    return Sample(sample.image, features=sample.features)


def _coarsest_map(frozen: Params, sample: Sample) -> jax.Array:
    return _maps(frozen, sample)[-1]


def _agrees(logits: jax.Array, is_class: jax.Array, known: jax.Array) -> jax.Array:
    """bool [N]: whether the class that logits [N] stand for is not clearly another than the one that is known."""
    return ~known | (jnp.where(is_class, logits, -logits) > _CLEARLY)
