"""What invert, refine and teach learn from, what they minimise, and what a step of theirs changes."""

import dataclasses
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bitmoji_jax.config import ExperimentConfig, InvertConfig, ReadConfig, TeachConfig
from bitmoji_jax.data.augment import Placement
from bitmoji_jax.data.builder import GENDERS
from bitmoji_jax.models import efficientnet
from bitmoji_jax.models.mark_mouth import mark_mouths
from bitmoji_jax.models.networks import (
    apply_generator,
    avatar_to_photo,
    draw_roughly,
    photo_to_avatar,
    read_guide,
    student_of,
)
from bitmoji_jax.models.read_hat import FEATURES
from bitmoji_jax.models.reader import GLASSES, HAT
from bitmoji_jax.models.recolour import CHEEKS, HAIR, colour_in
from bitmoji_jax.ops.image import resize, to_float
from bitmoji_jax.parallel import make_mesh
from bitmoji_jax.training import pair_stage, pair_stages
from bitmoji_jax.training.pair_stages import invert_stage, refine_stage, teach_stage
from bitmoji_jax.training.sample import Pair
from bitmoji_jax.training.stage import Batch, Stage
from bitmoji_jax.training.train_state import abstract_train_state
from tests.cheap_features import pixels_as_maps
from tests.processes import ROOT, STUCK
from tests.random_weights import random_weights
from tests.refine_step import PAIRS, REFINER, gradients_and_metrics, refine_step
from tests.test_mark_mouth import face_points
from tests.tiny_images import index_of, tiny_image, tiny_landmarks

HATS_FOR_ALL = {"params": {"kernel": np.zeros(FEATURES, np.float32), "bias": np.float32(1)}}
NAMES = ("pixels_r", "colours_r", "features_r")  # of the refiner's losses without a critic


@pytest.fixture(scope="module")
def config(tiny_config: ExperimentConfig) -> ExperimentConfig:
    return dataclasses.replace(
        tiny_config,
        refiner=REFINER,
        invert=InvertConfig(**dataclasses.asdict(PAIRS)),
        refine=PAIRS,
        teach=TeachConfig(**dataclasses.asdict(PAIRS)),
        train=dataclasses.replace(tiny_config.train, rounds=2),
    )


def of_64_pixels(config: ExperimentConfig) -> ExperimentConfig:
    """The same with photos and avatars of 64 pixels."""
    data, refiner = dataclasses.replace(config.data, image_size=64), dataclasses.replace(REFINER, output_size=64)
    return dataclasses.replace(config, data=data, refiner=refiner)


@pytest.fixture(scope="module")
def networks() -> Mapping[str, Any]:
    """G, F and R that were not trained."""
    return random_weights(names="gfr", refiner=REFINER, compute_dtype="float32").networks


@pytest.fixture
def cheap_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet, "feature_maps", pixels_as_maps)


def make_batch(size: int = 32, genders: tuple[int, int] = (0, 1)) -> Batch:
    """Two of the tiny photos and avatars, with their landmarks; a row a domain, in the order of the images' numbers."""
    batch: Any = {
        domain: {
            "image": np.stack([tiny_image(split, i, size) for i in (1, 2)]),
            "landmarks": np.full((2, 5, 2), tiny_landmarks(2), np.float32),
            "gender": np.array(genders, np.int32),
            "glasses": np.full(2, np.nan, np.float32),
        }
        for domain, split in (("x", "trainA"), ("y", "trainB"))
    }
    return batch


def draw(stage: Stage, batch: Batch, seed: int = 0) -> Pair:
    keys = jax.random.split(jax.random.key(seed), (2, 2))
    return jax.jit(stage.draw)(stage.frozen, batch, keys)


def indices(avatars: jax.Array) -> list[int]:
    """Which of the tiny avatars they are, by their middle, since a placement brings in white at the edges."""
    quarter = avatars.shape[1] // 4
    middles = 127.5 * (np.asarray(avatars)[:, quarter:-quarter, quarter:-quarter] + 1)
    return [index_of("trainB", middle) for middle in middles]


def stay(key: jax.Array) -> Placement:
    del key
    return Placement(jnp.array(False), jnp.array(1.0), jnp.zeros(2))


@pytest.mark.usefixtures("cheap_features")
def test_the_refiner_sees_what_g_draws_of_f_s_roughened_photo_of_the_target(
    config: ExperimentConfig, networks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = make_batch()
    with monkeypatch.context() as patch:
        patch.setattr(pair_stages, "roughen", lambda image, key: 0.5 * image)  # noqa: ARG005
        patch.setattr(pair_stages, "place", stay)
        drawn = draw(refine_stage(config, networks, 12), batch)
    avatars = np.asarray(to_float(jnp.asarray(batch["y"]["image"])))
    for name in ("target", "y"):
        np.testing.assert_allclose(drawn[name].image, avatars, atol=1e-5)
    rough = 0.5 * apply_generator(config, networks["f"], jnp.asarray(avatars))
    expected = apply_generator(config, networks["g"], rough)
    np.testing.assert_allclose(drawn["x"].image, expected, atol=1e-4)

    # As in training: the target is still that avatar, at another place, and what is seen is roughened at random.
    one, other = (draw(refine_stage(config, networks, 12), batch, seed) for seed in (1, 2))
    for pair in (one, other):
        assert indices(pair["target"].image) == [1, 2]
        np.testing.assert_array_equal(pair["target"].image, pair["y"].image)
        np.testing.assert_array_equal(pair["x"].gender, batch["y"]["gender"])  # an avatar's own
    assert np.abs(one["target"].image - other["target"].image).mean() > 0.01
    smooth = apply_generator(config, networks["g"], apply_generator(config, networks["f"], one["target"].image))
    assert np.abs(one["x"].image - smooth).mean() > 0.01


@pytest.mark.usefixtures("cheap_features")
def test_a_later_refiner_sees_what_the_student_draws_of_f_s_photo_with_faults(
    config: ExperimentConfig, networks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught = {**networks, "s": student_of(config, networks)}
    stage, batch = refine_stage(config, taught, 12, 2), make_batch()
    assert stage.frozen.keys() == {"s", "f", "efficientnet"}
    monkeypatch.setattr(pair_stages, "bend", lambda image, key: image[:, ::-1])  # noqa: ARG005
    monkeypatch.setattr(pair_stages, "disturb_photo", lambda image, landmarks, key: 0.5 * image)  # noqa: ARG005
    drawn = draw(stage, batch)
    photos = avatar_to_photo(config, networks, drawn["target"].image)
    expected = draw_roughly(config, taught, 0.5 * photos[:, :, ::-1])
    np.testing.assert_allclose(drawn["x"].image, expected, atol=1e-4)


@pytest.mark.usefixtures("cheap_features")
@pytest.mark.parametrize("guided", [False, True])
def test_f_learns_to_draw_the_photo_that_the_student_has_drawn(
    config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch, *, guided: bool
) -> None:
    monkeypatch.setattr(pair_stages, "place", stay)
    config = dataclasses.replace(of_64_pixels(config), read=ReadConfig(images=32 if guided else 0))
    names = "frstl" if guided else "frs"
    weights = random_weights(names=names, refiner=config.refiner, size=64, compute_dtype="float32", guided=guided)
    networks = weights.networks | ({"h": HATS_FOR_ALL} if guided else {})
    female, unknown = (GENDERS.index(name) for name in ("female", "unknown"))
    batch = make_batch(size=64, genders=(female, unknown))
    stage = invert_stage(config, networks, 12, 2)
    helpers = {"t", "l", "h"} if guided else set()
    assert stage.frozen.keys() == {"s", "efficientnet"} | helpers  # not r, which would refine what s has drawn
    assert set(stage.passed_on) == {"s", "f"} | helpers
    drawn = draw(stage, batch)
    photos = to_float(jnp.asarray(batch["x"]["image"]))
    for name in ("target", "x"):
        np.testing.assert_allclose(drawn[name].image, photos, atol=1e-5)
    student = {name: params for name, params in networks.items() if name != "r"}
    guides = read_guide(config, student, photos).at[0, 0].set(1.0) if guided else None  # the second is not labelled
    avatars = jnp.clip(photo_to_avatar(config, student, photos, guides), -1, 1)
    np.testing.assert_allclose(drawn["y"].image, avatars, atol=2e-3)
    for name in ("x", "y"):
        np.testing.assert_array_equal(drawn[name].gender, batch["x"]["gender"])
    # F's photo of that avatar is compared, and its critics see photos.
    terms, made = stage.generator_terms(stage.start(), stage.frozen, drawn, no_gender)
    photos = avatar_to_photo(config, networks, drawn["y"].image)
    np.testing.assert_allclose(made["x"].image, photos, atol=1e-4)
    pixels = np.abs(np.asarray(photos) - drawn["target"].image).mean()
    np.testing.assert_allclose(next(term.value for term in terms if term.name == "pixels_f"), pixels, rtol=1e-4)
    assert {critic.domain for critic in stage.critics} == {"x"} == set(stage.generated)


@pytest.mark.usefixtures("cheap_features")
def test_the_student_learns_from_photos_with_drawn_avatars_and_from_avatars_with_drawn_photos(
    config: ExperimentConfig, networks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, batch = of_64_pixels(config), make_batch(size=64, genders=(1, 2))
    batch["y"]["gender"] = jnp.array([0, 1], jnp.int32)
    for share, domain in ((1.0, "x"), (0.0, "y")):
        with monkeypatch.context() as patch:
            patch.setattr(pair_stages, "_PHOTO_SHARE", share)
            disturbed = draw(teach_stage(config, networks, 12), batch)
            patch.setattr(pair_stages, "disturb_photo", lambda image, landmarks, key: image)  # noqa: ARG005
            patch.setattr(pair_stages, "bend", lambda image, key: image)  # noqa: ARG005
            stage = teach_stage(config, networks, 12)
            clean = draw(stage, batch)

        for name in ("target", "y"):
            np.testing.assert_allclose(disturbed[name].image, clean[name].image, atol=1e-4)
        assert all(np.abs(a - b).max() > 0.05 for a, b in zip(disturbed["x"].image, clean["x"].image, strict=True))
        # Without faults, what is seen is the photo that the target was made of, or that was made of the target.
        photos = clean["x"].image
        if domain == "x":
            avatars = photo_to_avatar(config, networks, photos)
            # S begins as R after G.
            np.testing.assert_allclose(photo_to_avatar(config, stage.start(), photos), avatars, atol=1e-4)
            np.testing.assert_allclose(clean["target"].image, jnp.clip(avatars, -1, 1), atol=2e-3)
        else:
            np.testing.assert_allclose(photos, avatar_to_photo(config, networks, clean["target"].image), atol=2e-3)
            assert indices(clean["target"].image) == [1, 2]
        assert indices(clean["y"].image) == [1, 2]
        # The gender to draw is that of the image it is made of; a real avatar has its own.
        np.testing.assert_array_equal(clean["x"].gender, batch[domain]["gender"])
        np.testing.assert_array_equal(clean["y"].gender, batch["y"]["gender"])


@pytest.mark.usefixtures("cheap_features")
def test_a_guided_student_is_told_the_gender_and_the_colours_of_its_target(
    config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(of_64_pixels(config), read=ReadConfig(images=32))
    networks = random_weights(names="gfra", refiner=config.refiner, size=64, compute_dtype="float32").networks
    female, male, unknown = (GENDERS.index(name) for name in ("female", "male", "unknown"))
    monkeypatch.setattr(pair_stages, "_UNKNOWN_SHARE", 0.0)
    monkeypatch.setattr(pair_stages, "_RECOLOURED_SHARE", 1.0)
    monkeypatch.setattr(pair_stages, "recolour", lambda avatar, photo: 0.5 * avatar)  # noqa: ARG005
    for share, domain in ((1.0, "x"), (0.0, "y")):
        batch = make_batch(size=64)
        batch[domain]["gender"] = jnp.array([female, unknown], jnp.int32)
        monkeypatch.setattr(pair_stages, "_PHOTO_SHARE", share)
        drawn = draw(teach_stage(config, networks, 12), batch)
        guide, targets = drawn["x"].condition, drawn["target"].image
        assert guide is not None
        np.testing.assert_array_equal(guide[:, 0], [1, 0])
        for place, colours in ((CHEEKS, guide[:, 1:4]), (HAIR, guide[:, 4:])):
            for target, colour in zip(targets, colours, strict=True):
                np.testing.assert_allclose(colour_in(target, place)[0], colour, atol=1e-4)
        if domain == "y":  # the colours that it was given
            assert indices(2 * targets) == [1, 2]
    told = [pair_stages._guide(targets[0], jnp.array(male), jax.random.key(0))[0]]
    monkeypatch.setattr(pair_stages, "_UNKNOWN_SHARE", 1.0)
    told.append(pair_stages._guide(targets[0], jnp.array(male), jax.random.key(0))[0])
    assert told == [-1, 0]


@pytest.mark.usefixtures("cheap_features")
def test_an_upright_student_draws_avatars_where_they_are_of_photos_that_are_displaced(
    config: ExperimentConfig, networks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(config, teach=dataclasses.replace(config.teach, upright=True))
    batch = make_batch()
    monkeypatch.setattr(pair_stages, "disturb_photo", lambda image, landmarks, key: image)  # noqa: ARG005
    monkeypatch.setattr(pair_stages, "bend", lambda image, key: image)  # noqa: ARG005
    monkeypatch.setattr(pair_stages, "displace", lambda image, landmarks, key: (image[::-1], landmarks))  # noqa: ARG005
    # The first learns from avatars alone. A later refiner too restores them where they are.
    taught = {**networks, "s": student_of(config, networks)}
    for stage in (teach_stage(config, networks, 12), refine_stage(config, taught, 12, 2)):
        drawn = draw(stage, batch)
        targets = np.asarray(drawn["target"].image)
        for target, avatar in zip(targets, to_float(jnp.asarray(batch["y"]["image"])), strict=True):
            np.testing.assert_allclose(min(np.abs(target - a).max() for a in (avatar, avatar[:, ::-1])), 0, atol=1e-4)
        photos = avatar_to_photo(config, networks, drawn["target"].image)
        if stage.name == "teach":
            np.testing.assert_allclose(drawn["x"].image, photos[:, ::-1], atol=2e-3)


@pytest.mark.usefixtures("cheap_features")
def test_mouths_are_marked_in_photos_and_learned_from_avatars_alone(
    config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(of_64_pixels(config), read=ReadConfig(images=32))
    networks = random_weights(names="gfra", refiner=config.refiner, size=64, compute_dtype="float32").networks
    points = jnp.asarray(face_points(opening=1.0))
    for name in ("place", "bend", "disturb_photo", "measure"):
        change = {"place": stay, "measure": lambda _: points}.get(name, lambda image, *_: image)
        monkeypatch.setattr(pair_stages, name, change)
    monkeypatch.setattr(pair_stages, "_RECOLOURED_SHARE", 0.0)
    batch = make_batch(size=64)
    x, y = (to_float(jnp.asarray(batch[domain]["image"])) for domain in "xy")
    mouth = np.zeros((64, 64, 1), bool)
    mouth[40:54, 22:42] = True
    for share, photos, opened in ((1.0, x, 1.0), (0.0, avatar_to_photo(config, networks, y), -1.0)):
        monkeypatch.setattr(pair_stages, "_PHOTO_SHARE", share)
        stage = teach_stage(config, networks, 12)
        drawn = draw(stage, batch)
        # A photo's mouth is as its points have it, that of an avatar is open where it shows teeth.
        marked = mark_mouths(photos, jnp.repeat(points, 2, axis=0), jnp.full(2, opened))
        np.testing.assert_allclose(drawn["x"].image, marked, atol=2e-3)
        known = drawn["target"].known
        np.testing.assert_array_equal(known, np.broadcast_to(~mouth if share else np.ones_like(mouth), (2, 64, 64, 1)))
        other = dataclasses.replace(drawn["target"], image=drawn["target"].image + 0.5 * mouth)
        losses = [
            [float(term.value) for term in stage.generator_terms(stage.start(), stage.frozen, pair, no_gender)[0]]
            for pair in (drawn, drawn | {"target": other})
        ]
        assert np.allclose(*losses, rtol=1e-6) == bool(share)


@pytest.mark.usefixtures("cheap_features")
@pytest.mark.parametrize("read", [ReadConfig(images=32), ReadConfig(images=32, hats=False, mouth=False)])
def test_critics_change_no_mouth_that_is_told(config: ExperimentConfig, read: ReadConfig) -> None:
    config = dataclasses.replace(of_64_pixels(config), read=read)
    networks = random_weights(names="gfra", refiner=config.refiner, size=64, compute_dtype="float32").networks
    stage = teach_stage(config, networks, 12)
    drawn = draw(stage, make_batch(size=64))
    inside = np.zeros((64, 64, 1), np.float32)
    inside[40:54, 22:42] = 1

    def change(params: Any, where: jax.Array) -> jax.Array:
        def score(critic: Any, sample: Any) -> Any:
            seen = jnp.mean(where * sample.image, axis=(1, 2, 3))
            return seen if critic.name == "gender" else [seen[:, None, None, None]]

        terms, _ = stage.generator_terms(params, stage.frozen, drawn, score)
        return sum(term.value for term in terms if term.name in ("adversarial_s", "gender_s"))

    gradient = jax.jit(jax.grad(change))
    of_mouth, around = (
        max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient(stage.start(), where)))
        for where in (inside, 1 - inside)
    )
    assert around > 0
    assert (of_mouth == 0) == read.mouth


def no_gender(critic: Any, sample: Any) -> Any:
    return jnp.zeros(len(sample.image)) if critic.name == "gender" else [jnp.zeros((2, 1, 1, 1))]


@pytest.mark.usefixtures("cheap_features")
def test_a_teacher_with_a_reader_is_told_the_label_and_its_targets_have_their_points_moved(
    config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(of_64_pixels(config), read=ReadConfig(images=32))
    weights = random_weights(names="frstl", refiner=config.refiner, size=64, compute_dtype="float32", guided=True)
    networks = weights.networks | {"h": HATS_FOR_ALL}
    female, unknown = (GENDERS.index(name) for name in ("female", "unknown"))
    batch = make_batch(size=64)
    batch["x"]["gender"] = jnp.array([female, unknown], jnp.int32)
    monkeypatch.setattr(pair_stages, "_PHOTO_SHARE", 1.0)
    monkeypatch.setattr(pair_stages, "place", stay)
    stage = teach_stage(config, networks, 12)
    assert stage.passed_on == ("s", "f", "t", "l", "h")
    photos = to_float(jnp.asarray(batch["x"]["image"]))
    guides = read_guide(config, networks, photos)
    guides = guides.at[0, 0].set(1.0)  # what the label says; the other is not labelled
    assert (guides[:, HAT] > 0).all()
    guides = guides.at[:, jnp.array([GLASSES, HAT])].set(-1.0)
    expected = jnp.clip(photo_to_avatar(config, networks, photos, guides), -1, 1)
    np.testing.assert_allclose(draw(stage, batch)["target"].image, expected, atol=2e-3)
    unmoved = {name: params for name, params in networks.items() if name != "t"}
    assert np.abs(photo_to_avatar(config, unmoved, photos, guides) - expected).max() > 0.05


@pytest.mark.usefixtures("cheap_features")
def test_a_target_of_the_other_gender_teaches_colours_only(config: ExperimentConfig, networks: Any) -> None:
    stage = refine_stage(config, networks, 12)
    params = drawing_what_it_sees(stage, "r")
    female, male, unknown = (GENDERS.index(name) for name in ("female", "male", "unknown"))
    losses = {}
    for genders in ((female, female), (male, female), (unknown, female)):
        drawn = draw(stage, make_batch(genders=genders))

        def seen_as_female(critic: Any, sample: Any) -> Any:
            del sample
            return jnp.full(2, 5.0) if critic.name == "gender" else [jnp.zeros((2, 1, 1, 1))]

        terms, _ = stage.generator_terms(params, stage.frozen, drawn, seen_as_female)
        losses[genders[0]] = {term.name: float(term.value) for term in terms}
    assert losses[unknown]["pixels_r"] == losses[female]["pixels_r"] > losses[male]["pixels_r"] > 0
    assert losses[female]["features_r"] > losses[male]["features_r"] > 0
    assert losses[male]["colours_r"] == losses[female]["colours_r"]
    assert [losses[gender]["kept_r"] for gender in (female, male, unknown)] == [1, 0.5, 1]


def drawing_what_it_sees(stage: Stage, name: str) -> Mapping[str, Any]:
    """Parameters of a U-Net whose last convolution is 0: it returns its input."""
    network, inputs = stage.networks[name]
    shapes = jax.eval_shape(network.init, jax.random.key(0), *inputs)
    return {name: jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)}


def no_score(*_: Any) -> Any:
    return jnp.zeros(2)


@pytest.mark.usefixtures("cheap_features")
def test_an_avatar_that_is_its_target_has_no_loss_seen_through_the_same_window(
    config: ExperimentConfig, networks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair_stage, "_VIEW", 32)  # of 64 pixels
    pairs = dataclasses.replace(PAIRS, critic_weight=0.0, gender_weight=0.0)
    stage = refine_stage(dataclasses.replace(of_64_pixels(config), refine=pairs), networks, 12)
    batch = make_batch()
    batch["y"]["image"] = jnp.asarray(np.stack([tiny_image("trainB", 1, 64)] * 2))
    drawn = draw(stage, batch)
    params = drawing_what_it_sees(stage, "r")
    for changed, zero in ((0.0, True), (0.1, False)):
        seen = dataclasses.replace(drawn["x"], image=drawn["target"].image + changed)
        terms, made = stage.generator_terms(params, stage.frozen, drawn | {"x": seen}, no_score)
        assert {term.name: bool(abs(term.value) < 1e-6) for term in terms} == dict.fromkeys(NAMES, zero)
        np.testing.assert_allclose(made["y"].image, seen.image, atol=1e-6)
    assert drawn["target"].features is not None
    shapes = [m.shape for m in drawn["target"].features]
    assert shapes == [(2, n, n, 3) for n in (16, 8, 4, 2)]  # of 32 pixels
    alike = resize(drawn["target"].image, 32)[:, ::2, ::2]
    assert np.abs(127.5 / 255 * (alike + 1) - drawn["target"].features[0]).max() > 0.02  # a part, not all of it


@pytest.mark.parametrize(("output_size", "side"), [(32, 16), (128, 64), (256, 64)])
def test_critics_are_made_for_the_maps_that_a_step_gives_them(
    config: ExperimentConfig, networks: Any, output_size: int, side: int
) -> None:
    refiner = dataclasses.replace(REFINER, output_size=output_size)
    stage = refine_stage(dataclasses.replace(config, refiner=refiner), networks, 12)
    keys = jax.random.split(jax.random.key(0), (2, 2))
    drawn = jax.eval_shape(stage.draw, stage.frozen, make_batch(), keys)
    channels = (32, 24, 40, 112)
    assert [m.shape for m in drawn["y"].features] == [(2, side >> i, side >> i, c) for i, c in enumerate(channels)]
    generated = stage.generated["y"].features
    assert generated is not None
    assert [m.shape[1:] for m in generated] == [m.shape[1:] for m in drawn["target"].features]


@pytest.mark.usefixtures("cheap_features")
def test_an_unknown_gender_counts_for_nothing(config: ExperimentConfig, networks: Any) -> None:
    stage = refine_stage(config, networks, 12)
    params = drawing_what_it_sees(stage, "r")
    female, unknown = GENDERS.index("female"), GENDERS.index("unknown")

    def score(critic: Any, sample: Any) -> Any:
        del sample
        return jnp.array([2.0, 2.0]) if critic.name == "gender" else [jnp.zeros((2, 1, 1, 1))]

    def discriminate(critic: Any, sample: Any) -> Any:
        return score(critic, sample) if critic.name == "gender" else [jnp.zeros((4, 1, 1, 1))]

    for genders, share in (((female, unknown), 0.5), ((unknown, unknown), 0.0), ((female, female), 1.0)):
        drawn = draw(stage, make_batch(genders=genders))
        terms, made = stage.generator_terms(params, stage.frozen, drawn, score)
        values = {term.name: term.value for term in terms}
        assert list(values) == [*NAMES, "adversarial_r", "gender_r", "kept_r"]
        np.testing.assert_allclose(values["gender_r"], share * np.log1p(np.exp(-2)), rtol=1e-5)
        critics = {term.name: term.value for term in stage.discriminator_terms(drawn, made, discriminate)}
        np.testing.assert_allclose(critics["loss_gender"], share * np.log1p(np.exp(-2)), rtol=1e-5)
        assert critics["loss_d_y_patches_by_gender"] == 2  # scores of 0


def equal(a: Any, b: Any) -> list[bool]:
    return [bool(np.array_equal(x, y)) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)]


@pytest.fixture(scope="module")
def stepped() -> tuple[Any, Any, dict[str, float]]:
    """The state before and after a step of refine on one device, and its metrics."""
    return refine_step()


@pytest.mark.slow
def test_a_step_trains_the_refiner_and_its_critics_and_nothing_that_is_frozen(
    networks: Any, stepped: tuple[Any, Any, dict[str, float]]
) -> None:
    before, after, metrics = stepped
    assert sorted(after.frozen) == ["efficientnet", "f", "g"]
    assert all(equal(before.frozen, after.frozen))
    for name in ("f", "g"):
        assert all(equal(after.frozen[name], networks[name]))
    assert list(after.generators) == list(after.ema) == ["r"]
    assert not any(equal(before.generators, after.generators))
    assert sorted(after.discriminators) == ["d_y_patches_by_gender", "gender"]
    for name in after.discriminators:
        assert not all(equal(before.discriminators[name], after.discriminators[name]))
    weights = {"pixels_r": 1.0, "colours_r": 2.0, "features_r": 0.25, "adversarial_r": 0.1, "gender_r": 0.1}
    expected = sum(weight * metrics[name] for name, weight in weights.items())
    assert metrics["loss_generators"] == pytest.approx(expected, rel=1e-5)
    assert all(0 <= metrics[f"accuracy_d_y_patches_by_gender_{i}"] <= 1 for i in range(4))
    assert int(after.images) == 2


def assert_same_gradients(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> None:
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_accumulated_gradients_are_those_of_the_whole_batch(stepped: tuple[Any, Any, dict[str, float]]) -> None:
    _, parts, metrics = refine_step(parts=2)
    assert_same_gradients(gradients_and_metrics(parts, metrics), gradients_and_metrics(*stepped[1:]))


@pytest.mark.slow
def test_two_devices_have_the_gradients_of_one(stepped: tuple[Any, Any, dict[str, float]], tmp_path: Path) -> None:
    out = tmp_path / "two.npz"
    subprocess.run([sys.executable, "-m", "tests.refine_step", "2", str(out)], cwd=ROOT, check=True, timeout=STUCK)
    with np.load(out) as arrays:
        assert_same_gradients(dict(arrays), gradients_and_metrics(*stepped[1:]))


def test_without_critics_there_are_none_to_train(config: ExperimentConfig, networks: Any) -> None:
    for weights, names in (
        ({"critic_weight": 0.0}, ["gender"]),
        ({"gender_weight": 0.0}, ["d_y_patches_by_gender"]),
        ({"critic_weight": 0.0, "gender_weight": 0.0}, []),
    ):
        stage = refine_stage(dataclasses.replace(config, refine=dataclasses.replace(PAIRS, **weights)), networks, 12)
        state, pools = abstract_train_state(stage, make_mesh())
        assert list(state.discriminators) == names
        assert pools == {}  # the critics see the newest images


@pytest.mark.usefixtures("cheap_features")
def test_the_critic_is_told_the_gender_of_each_image_where_it_is_known(config: ExperimentConfig, networks: Any) -> None:
    stage = teach_stage(config, networks, 12)
    male, female, unknown = (GENDERS.index(name) for name in ("male", "female", "unknown"))
    batch = make_batch(genders=(male, female))
    batch["x"]["gender"] = np.array([unknown, male], np.int32)
    drawn = draw(stage, batch)
    seen = []

    def record(critic: Any, sample: Any) -> Any:
        if critic.name == "gender":
            return jnp.zeros(len(sample.image))
        seen.append(critic.inputs(stage.frozen, sample).label.tolist())
        return [jnp.zeros((len(sample.image), 1, 1, 1))]

    _, made = stage.generator_terms(drawing_what_it_sees(stage, "s"), stage.frozen, drawn, record)
    stage.discriminator_terms(drawn, made, record)
    label = {male: -1.0, female: 1.0, unknown: 0.0}
    of_pairs = [label[int(gender)] for gender in drawn["x"].gender]
    assert seen == [of_pairs, [-1.0, 1.0, *of_pairs]]

    teach = dataclasses.replace(config.teach, conditional_critic=False)
    critic, _ = teach_stage(dataclasses.replace(config, teach=teach), networks, 12).critics
    assert critic.name == "d_y_patches"
    assert critic.inputs(stage.frozen, drawn["y"]).label is None


def test_the_step_size_grows_is_constant_and_ends_at_0(config: ExperimentConfig, networks: Any) -> None:
    pairs = dataclasses.replace(PAIRS, images=9_999, learning_rate=0.5)
    schedule = refine_stage(dataclasses.replace(config, refine=pairs), networks, 12).schedule
    assert schedule.total == 10_000  # whole batches
    rates = [float(schedule.rate(jnp.int32(images))) for images in (0, 199, 399, 6_000, 8_000, 9_998, 10_000, 10_002)]
    expected = [0.5 / 400, 0.25, 0.5, 0.5, 0.25, 0.5 * 2 / 4_000, 0, 0]
    np.testing.assert_allclose(rates, expected, rtol=1e-3, atol=1e-9)


def test_stages_draw_from_keys_and_orders_of_their_own(config: ExperimentConfig, networks: Any) -> None:
    networks = {**networks, "s": student_of(config, networks)}
    stages = [refine_stage(config, networks, 12), teach_stage(config, networks, 12)]
    stages += [make(config, networks, 12, number=2) for make in (invert_stage, refine_stage, teach_stage)]
    assert [stage.name for stage in stages] == ["refine", "teach", "invert2", "refine2", "teach2"]
    assert len({stage.seed for stage in stages} | {config.train.seed}) == 6
    assert len({jax.random.key_data(stage.key).tobytes() for stage in stages}) == 5
