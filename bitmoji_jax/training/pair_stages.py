"""The stages of a round: each trains one network on pairs that the run makes itself (training/pair_stage.py).

invert, from the second round on: F learns to undo the student, from pairs (S(x), x) of photos x. CycleGAN's F draws
photos that look like some to its critic and to G only; the targets of this stage are photos.

refine: R learns to restore an avatar y from G(F(y)), the faults that the generators really make, with the truth known.
It learns what an avatar is from avatars alone. Noise, blur and JPEG on F(y) leave no code in it that G could read. In a
later round S draws in the place of G, and F(y) has the faults of real photos.

teach: S learns photo -> avatar from two kinds of pairs: (x, R(G(x))) of photos, or what S and R of the round before
make of them, and (F(y), y) of avatars. Both photos are disturbed as people's are (shadow, light, background, cuts,
accessories), F(y) is bent too; the target is that of the undisturbed one. Where a reader was trained, S is also told
the gender, and the colours of skin and hair that the target has: half of the avatars are given those of a photo. A mark
in the photo says whether the mouth is open, and S learns mouths from the second kind alone: those that were drawn of
photos are often not the photo's.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from bitmoji_jax.config import ExperimentConfig
from bitmoji_jax.data.augment import Placement, place
from bitmoji_jax.data.disturb import bend, displace, disturb_alike, disturb_photo
from bitmoji_jax.data.roughen import roughen, sometimes
from bitmoji_jax.models.face_points import measure
from bitmoji_jax.models.mark_mouth import mark_mouths, mouth_of_avatar, mouth_of_photo
from bitmoji_jax.models.networks import (
    avatar_to_photo,
    draw_roughly,
    has_mouth,
    is_guided,
    photo_to_avatar,
    read_guide,
    refine,
    student_of,
)
from bitmoji_jax.models.reader import GENDER, taken_off
from bitmoji_jax.models.recolour import CHEEKS, HAIR, SIZE, colour_in, recolour
from bitmoji_jax.ops.image import resize, to_float
from bitmoji_jax.training.pair_stage import Drawn, Networks, Row, pair_stage
from bitmoji_jax.training.sample import signed_gender
from bitmoji_jax.training.stage import Stage

_PHOTO_SHARE = 0.5  # of what the student learns from, photos; the others are avatars
_RECOLOURED_SHARE = 0.5  # of avatars that a guided student learns from have the colours of a photo
_UNKNOWN_SHARE = 0.1  # of genders are not told
_MOUTH_ROWS, _MOUTH_COLUMNS = (0.62, 0.84), (0.34, 0.66)  # of an avatar, as shares of its side


def invert_stage(config: ExperimentConfig, networks: Networks, epoch_images: int, number: int) -> Stage:
    """Returns the stage that trains f to draw the photo of an avatar of the student s.

    `networks` hold s and f, which it starts from; `epoch_images` are the images of an epoch, `number` is that of the
    round.
    """
    size = config.data.image_size

    def draw_one(frozen: Networks, x: Row, y: Row) -> Drawn:
        del y
        place_key, key = jax.random.split(x.key)
        photo = place(place_key).apply(to_float(x.image))[None]
        avatar = photo_to_avatar(config, frozen, photo, _labelled_guide(config, frozen, photo, x.gender))
        seen, target = (resize(images, size)[0] for images in (avatar, photo))
        return Drawn(jnp.clip(seen, -1, 1), target, target, x.gender, key)

    def columns(trained: Networks, frozen: Networks, images: Mapping[str, jax.Array]) -> Sequence[jax.Array]:
        real_x, real_y = (resize(images[domain], size) for domain in ("x", "y"))
        fake_x = avatar_to_photo(config, trained, real_y)
        fake_y, rec_y = (resize(photo_to_avatar(config, frozen, photos), size) for photos in (real_x, fake_x))
        return real_x, fake_y, avatar_to_photo(config, trained, fake_y), real_y, fake_x, rec_y

    return pair_stage(
        config,
        "f",
        networks=networks,
        used=("s",),
        start={"f": networks["f"]},
        passed_on=("s", "f"),
        epoch_images=epoch_images,
        round_number=number,
        draw_one=draw_one,
        column_names=("real_x", "fake_y", "rec_x", "real_y", "fake_x", "rec_y"),
        columns=columns,
    )


def refine_stage(config: ExperimentConfig, networks: Networks, epoch_images: int, number: int = 1) -> Stage:
    """Returns the stage that trains the refiner r of the avatars of a student s, if `networks` has one, else of G.

    `networks` also hold f, `epoch_images` are the images of an epoch, `number` is that of the round.
    """
    source = "s" if "s" in networks else "g"
    upright = config.teach.upright and source == "s"  # G draws a person where the photo has it

    def draw_one(frozen: Networks, x: Row, y: Row) -> Drawn:
        del x
        place_key, bend_key, fault_key, key = jax.random.split(y.key, 4)
        real, landmarks = _placed(config, y, place_key, upright=upright)
        photo = avatar_to_photo(config, frozen, real[None])[0]
        if source == "g":
            photo = roughen(photo, fault_key)
        else:  # s hides nothing, and makes the errors of real photos only where something is wrong
            photo = disturb_photo(bend(photo, bend_key), landmarks, fault_key)
        seen = resize(draw_roughly(config, frozen, photo[None]), config.data.image_size)
        return Drawn(seen[0], real, real, y.gender, key)

    def columns(trained: Networks, frozen: Networks, images: Mapping[str, jax.Array]) -> Sequence[jax.Array]:
        fake_y = draw_roughly(config, frozen, images["x"])
        rough_y = draw_roughly(config, frozen, avatar_to_photo(config, frozen, images["y"]))
        refined, restored = (refine(config, trained["r"], avatars) for avatars in (fake_y, rough_y))
        return images["x"], fake_y, refined, images["y"], rough_y, restored

    return pair_stage(
        config,
        "r",
        networks=networks,
        used=(source, "f"),
        start={"r": networks["r"]} if "r" in networks else {},
        passed_on=(source, "f", "r"),
        epoch_images=epoch_images,
        round_number=number,
        draw_one=draw_one,
        column_names=("real_x", "fake_y", "refined_y", "real_y", "rough_y", "restored_y"),
        columns=columns,
    )


def teach_stage(config: ExperimentConfig, networks: Networks, epoch_images: int, number: int = 1) -> Stage:
    """Returns the stage that trains the student s on photos with drawn avatars and on avatars with drawn photos.

    It starts as the s that `networks` has, or as r after G. `networks` are s or g, and f and r; `epoch_images` are the
    images of an epoch, `number` is that of the round.
    """
    source = "s" if "s" in networks else "g"
    upright = config.teach.upright
    # G draws a person where the photo has it, which an upright student must not learn.
    photo_share = 0.0 if upright and source == "g" else _PHOTO_SHARE

    def of_photo(frozen: Networks, x: Row, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        placement = place(key)
        photo = placement.apply(to_float(x.image))[None]
        guides = _labelled_guide(config, frozen, photo, x.gender) if source == "s" else None
        if guides is not None:
            guides = taken_off(guides)  # they are drawn over what is learned
        target = resize(photo_to_avatar(config, frozen, photo, guides), config.refiner.output_size)[0]
        seen = resize(photo, config.data.image_size)
        if has_mouth(config, "s"):
            points = measure(seen)
            seen = mark_mouths(seen, points, mouth_of_photo(points))
        return seen[0], placement.apply_to_landmarks(x.landmarks), jnp.clip(target, -1, 1), x.gender

    def of_avatar(
        frozen: Networks, x: Row, y: Row, key: jax.Array
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

    def draw_one(frozen: Networks, x: Row, y: Row) -> Drawn:
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
        return Drawn(disturb_photo(seen, landmarks, disturb_key), target, real, gender, key, guide, known)

    def columns(trained: Networks, frozen: Networks, images: Mapping[str, jax.Array]) -> Sequence[jax.Array]:
        photos = resize(images["x"], config.data.image_size)
        disturbed = disturb_alike(photos)
        taught, fake_y = (photo_to_avatar(config, networks, photos) for networks in (frozen, trained))
        fake_then = photo_to_avatar(config, trained, disturbed)
        return photos, taught, fake_y, disturbed, fake_then, images["y"]

    return pair_stage(
        config,
        "s",
        networks=networks,
        used=(source, "f", "r"),
        start={"s": networks["s"] if "s" in networks else student_of(config, networks)},
        passed_on=("s", "f"),
        epoch_images=epoch_images,
        round_number=number,
        draw_one=draw_one,
        column_names=("real_x", "taught_y", "fake_y", "disturbed_x", "fake_then", "real_y"),
        columns=columns,
        # Critics prefer the commonest mouth to the photo's.
        spared=_mouth_of(config.refiner.output_size) if has_mouth(config, "s") else None,
    )


def _placed(config: ExperimentConfig, y: Row, key: jax.Array, *, upright: bool = False) -> tuple[jax.Array, jax.Array]:
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


def _labelled_guide(
    config: ExperimentConfig, networks: Networks, photo: jax.Array, gender: jax.Array
) -> jax.Array | None:
    """What is read from the photo [1, S, S, 3], with the label's gender [] if it has one; None without a reader."""
    if not is_guided(config):
        return None
    guide = read_guide(config, networks, photo)
    return guide.at[:, GENDER].set(signed_gender(gender, guide[0, GENDER]))


def _guide(target: jax.Array, gender: jax.Array, key: jax.Array) -> jax.Array:
    """What a student is told of the avatar [S, S, 3] that it should draw: a guide [GLASSES], see models/reader.py."""
    small = resize(target[None], SIZE)[0]
    told = jnp.where(jax.random.bernoulli(key, _UNKNOWN_SHARE), 0.0, signed_gender(gender, 0.0))
    colours = [colour_in(small, where)[0] for where in (CHEEKS, HAIR)]
    return jnp.concatenate([told[None], *colours])
