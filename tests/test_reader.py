"""The reader of a photo's gender and colours: what it learns from, and how it guides a student."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bitmoji_jax.config import ExperimentConfig, ReadConfig
from bitmoji_jax.data.builder import GENDERS
from bitmoji_jax.models.face_points import POINTS
from bitmoji_jax.models.networks import apply_generator, make_network, photo_to_avatar, student_of
from bitmoji_jax.models.read_hat import FEATURES
from bitmoji_jax.models.reader import GLASSES, GUIDE, MALE_FACTOR, MOUTH, Reader, guide_of, told
from bitmoji_jax.models.recolour import USUAL_SKIN, repaint
from bitmoji_jax.models.unshade import Unshade
from bitmoji_jax.ops.image import resize
from bitmoji_jax.parallel import make_mesh
from bitmoji_jax.training import read_stage as read_stage_module
from bitmoji_jax.training.read_stage import read_stage
from bitmoji_jax.training.sample import Pair, Sample
from bitmoji_jax.training.train_state import create_train_state
from bitmoji_jax.training.train_step import make_train_step
from bitmoji_jax.training.warm_start import Start, start_from
from tests.random_weights import random_weights
from tests.refine_step import REFINER
from tests.test_pair_stages import stay
from tests.test_recolour import HAIR, face

FEMALE, MALE, UNKNOWN = (GENDERS.index(name) for name in ("female", "male", "unknown"))


@pytest.fixture(scope="module")
def config(tiny_config: ExperimentConfig) -> ExperimentConfig:
    return dataclasses.replace(
        tiny_config, refiner=REFINER, read=ReadConfig(images=64, batch_size=2, points=False, shadows=False, hats=False)
    )


@pytest.fixture(scope="module")
def networks() -> Any:
    return random_weights(names="gfra", refiner=REFINER, compute_dtype="float32").networks


@pytest.mark.parametrize("glasses", [True, False])
def test_a_guide_is_a_gender_from_minus_1_to_1_two_colours_and_perhaps_glasses(glasses: bool) -> None:
    read = np.array([[20.0, -2, -1, -0.5, 0, 0.5, 3, -20], [-0.5, 0, 0, 0, 0, 0, 0, -1.5]], np.float32)
    guide = np.asarray(guide_of(jnp.asarray(read if glasses else read[:, :GLASSES])))
    expected = np.array([[1, -1, -1, -0.5, 0, 0.5, 1, -1], [np.tanh(-0.5), 0, 0, 0, 0, 0, 0, np.tanh(0.5)]])
    np.testing.assert_allclose(guide, expected if glasses else expected[:, :GLASSES], atol=1e-6)


def test_a_student_is_told_more_of_a_man_than_is_read_and_the_rest_as_it_is() -> None:
    guide = np.random.default_rng(0).uniform(-1, 1, (3, GUIDE)).astype(np.float32)
    guide[:, 0] = [1, 0.2, -1]
    expected = guide.copy()
    expected[2, 0] = -MALE_FACTOR
    np.testing.assert_array_equal(told(jnp.asarray(guide)), expected)


def test_a_person_s_place_in_the_photo_does_not_count_for_colours_alone() -> None:
    photo = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)
    network = Reader(8)
    params = network.init(jax.random.key(0), photo)
    found = network.apply(params, photo)
    assert (found.shape, found.dtype) == ((1, MOUTH), jnp.float32)
    # No norm: a photo with twice the contrast reads as twice as much, but for biases, which start at 0.
    np.testing.assert_allclose(network.apply(params, 2 * photo), 2 * found, rtol=1e-4)


def batch(photos: np.ndarray, genders: tuple[int, ...]) -> Any:
    levels = np.rint(127.5 * (photos + 1)).astype(np.uint8)
    n = len(photos)
    unknown = {"landmarks": np.full((n, 5, 2), np.nan, np.float32), "glasses": np.full(n, np.nan, np.float32)}
    return {"x": {"image": levels, "gender": np.array(genders), **unknown}}


def test_colours_are_those_of_the_photo_before_its_faults(
    config: ExperimentConfig, networks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_stage_module, "_DISTURBED_SHARE", 1.0)
    monkeypatch.setattr(read_stage_module, "disturb_photo", lambda image, *_, **__: 0 * image)
    stage = read_stage(config, networks, 12, {})
    photos = np.stack([face(64, USUAL_SKIN, HAIR), np.ones((64, 64, 3), np.float32)])
    keys = jax.random.split(jax.random.key(0), (2, 2))
    drawn = stage.draw(stage.frozen, batch(photos, (FEMALE, UNKNOWN)), keys)["x"]
    assert drawn.image.shape == (2, 32, 32, 3)
    np.testing.assert_array_equal(drawn.image, 0)
    assert drawn.condition is not None
    # The usual skin's luma is 0.456: it gets darker by 0.05 - 0.2 (0.456 - 0.41), in its own hue.
    skin = USUAL_SKIN - 0.041 * np.array([1.234, 0.928, 0.756])
    np.testing.assert_allclose(drawn.condition[0, :6], np.concatenate([skin, HAIR]), atol=0.02)
    assert np.isnan(drawn.condition[1, :6]).all()  # nobody is in it
    np.testing.assert_array_equal(drawn.gender, [FEMALE, UNKNOWN])


def test_where_points_should_be_and_what_a_hat_is_are_fitted_when_the_stage_begins_and_no_step_changes_them(
    config: ExperimentConfig, networks: Any
) -> None:
    config = dataclasses.replace(config, read=dataclasses.replace(config.read, points=True, hats=True))
    rng, size = np.random.default_rng(0), 2 * POINTS
    fitted = {"matrix": rng.normal(size=(size, size)), "source": rng.normal(size=size), "target": rng.normal(size=size)}
    transport = {"params": {name: array.astype(np.float32) for name, array in fitted.items()}}
    hats = {"params": {"kernel": rng.normal(size=FEATURES).astype(np.float32), "bias": np.float32(0.5)}}
    stage = read_stage(config, networks, 12, {"t": lambda: transport, "h": lambda: hats})
    state, pools = create_train_state(stage, make_mesh(jax.devices()[:1]))
    state = start_from(state, Start(stage.start(), {}), "the stage before")
    photos = np.stack([face(64, USUAL_SKIN, HAIR)] * 2)
    x = {name: array[None] for name, array in batch(photos, (FEMALE, MALE))["x"].items()}
    before = jax.device_get(state.generators["a"])
    after, _, _ = make_train_step(stage)(state, pools, {"x": x, "y": x})
    after, _, _ = make_train_step(stage)(after, pools, {"x": x, "y": x})  # the step size is 0 at first
    passed_on = stage.networks_of(jax.device_get(after.ema), jax.device_get(after.frozen))
    assert passed_on.keys() == {"g", "f", "a", "t", "h"}
    for name, fit in (("t", transport), ("h", hats)):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), passed_on[name], fit)
    changes = jax.tree.map(lambda a, b: np.abs(a - b).max(), jax.device_get(after.generators["a"]), before)
    assert max(jax.tree.leaves(changes)) > 1e-5


def test_what_is_unknown_counts_for_nothing(
    config: ExperimentConfig, networks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits, colours = np.array([3.0, 3.0, 3.0], np.float32), np.full((3, 6), 0.25, np.float32)
    glasses = np.array([[2.0], [2], [-2]], np.float32)
    found = jnp.asarray(np.concatenate([logits[:, None], colours, glasses], axis=1))
    wanted = np.concatenate([colours, [[1.0], [-1], [-1]]], axis=1)
    wanted[0] += 0.5
    wanted[0, 6] = 1
    wanted[1:, :6] = np.nan
    monkeypatch.setattr(Reader, "apply", lambda *_: found)
    stage = read_stage(config, networks, 12, {})
    drawn: Pair = {
        "x": Sample(jnp.zeros((3, 32, 32, 3)), gender=jnp.array([FEMALE, MALE, UNKNOWN]), condition=jnp.asarray(wanted))
    }
    terms, made = stage.generator_terms({"a": {}}, {}, drawn, lambda *_: None)
    assert made == {}
    values = {term.name: float(term.value) for term in terms}
    expected = (np.log1p(np.exp(-3)) + np.log1p(np.exp(3))) / 3
    assert values["gender_a"] == pytest.approx(expected, rel=1e-5)
    assert values["colours_a"] == pytest.approx(0.5 / 3, rel=1e-5)
    assert values["wrong_a"] == pytest.approx(1 / 3)
    assert values["glasses_a"] == pytest.approx((2 * np.log1p(np.exp(-2)) + np.log1p(np.exp(2))) / 3, rel=1e-5)


def test_light_is_missing_where_a_shadow_was_cast_and_what_is_left_of_it_is_what_the_reader_sees(
    config: ExperimentConfig, networks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(config, read=dataclasses.replace(config.read, shadows=True))
    lit = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    shaded = (lit + 1) * np.linspace(0.5, 1, 32, dtype=np.float32)[:, None] - 1
    logs = np.full(lit.shape, 0.1, np.float32)
    monkeypatch.setattr(Unshade, "missing", lambda self, photos: jnp.asarray(logs))  # noqa: ARG005
    stage = read_stage(config, networks, 12, {})
    state, _ = create_train_state(stage, make_mesh(jax.devices()[:1]))
    assert stage.passed_on == ("g", "f", "a", "l")
    drawn: Pair = {
        "x": Sample(jnp.asarray(shaded), gender=jnp.zeros(2, jnp.int32), condition=jnp.zeros((2, 7))),
        "shaded": Sample(jnp.asarray(shaded)),
        "lit": Sample(jnp.asarray(lit)),
    }
    params = {name: jax.device_get(state.generators[name]) for name in ("a", "l")}
    terms, _ = stage.generator_terms(params, {}, drawn, lambda *_: None)
    values = {term.name: float(term.value) for term in terms}
    expected = np.log((lit + 1.05) / (shaded + 1.05))
    assert values["shadows_l"] == pytest.approx(np.square(logs - expected).mean(), rel=1e-4)
    found = make_network(config, "a").apply(params["a"], np.minimum((shaded + 1) * np.exp(0.1) - 1, 1))
    assert values["colours_a"] == pytest.approx(np.abs(found[:, 1:7]).mean(), rel=1e-4)


def test_a_photo_is_shown_with_a_shadow_and_without(
    config: ExperimentConfig, networks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(config, read=dataclasses.replace(config.read, shadows=True))
    monkeypatch.setattr(read_stage_module, "place", stay)
    monkeypatch.setattr(read_stage_module, "cast_shadows", lambda photo, key: (0.5 * photo - 0.5, photo))  # noqa: ARG005
    stage = read_stage(config, networks, 12, {})
    photos = np.stack([face(64, USUAL_SKIN, HAIR)] * 2)
    drawn = stage.draw(stage.frozen, batch(photos, (FEMALE, MALE)), jax.random.split(jax.random.key(0), (2, 2)))
    lit = drawn["lit"].image
    assert lit.shape == (2, 32, 32, 3)
    np.testing.assert_allclose(drawn["shaded"].image, 0.5 * lit - 0.5, atol=1e-6)
    # The glasses that the reader may see on top hide no light.
    np.testing.assert_allclose(lit[:, 24:], resize(jnp.asarray(photos), 32)[:, 24:], atol=0.02)


def test_the_step_size_grows_for_a_tenth_and_then_falls_to_0(config: ExperimentConfig, networks: Any) -> None:
    rate = read_stage(config, networks, 12, {}).schedule.rate
    np.testing.assert_allclose(
        [rate(jnp.array(64 * share)) for share in (0, 0.05, 0.1, 0.55, 1)],
        np.array([0, 0.5, 1, 0.5, 0]) * config.read.learning_rate,
        atol=1e-9,
    )


def test_a_student_begins_as_r_after_g_whatever_its_guide_says_and_reads_as_a(
    config: ExperimentConfig, networks: Any
) -> None:
    student = student_of(config, networks)
    photos = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    guides = np.random.default_rng(1).uniform(-1, 1, (2, GUIDE)).astype(np.float32)
    plain = dataclasses.replace(config, read=ReadConfig())
    refined = make_network(plain, "s").apply(student_of(plain, networks), photos)
    for guide in (None, guides):
        drawn = apply_generator(config, student, photos, guide, name="s")
        np.testing.assert_allclose(drawn, refined, atol=1e-5)
    read = guide_of(make_network(config, "a").apply(networks["a"], photos))
    network: Any = make_network(config, "s")
    np.testing.assert_allclose(network.apply(student, photos, method="read"), read, atol=1e-6)


def test_a_guide_changes_what_is_drawn_and_without_one_it_is_read_from_the_photo() -> None:
    weights = random_weights(names="s", guided=True, mouth=False, compute_dtype="float32")
    config, params = weights.config, weights.networks["s"]
    photos = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    network: Any = make_network(config, "s")
    guide = network.apply(params, photos, method="read")
    drawn = apply_generator(config, params, photos, name="s")
    np.testing.assert_allclose(apply_generator(config, params, photos, guide, name="s"), drawn, atol=1e-5)
    bare = guide.at[:, GLASSES].set(-1.0)
    softened = apply_generator(config, params, photos, told(guide), name="s")
    repainted = jax.vmap(repaint)(softened, guide[:, 1:4], guide[:, 4:7])
    np.testing.assert_allclose(photo_to_avatar(config, weights.networks, photos, bare), repainted, atol=1e-5)
    other = apply_generator(config, params, photos, guide.at[1, 0].add(1.0), name="s")
    np.testing.assert_allclose(other[0], drawn[0], atol=1e-5)
    assert np.abs(other[1] - drawn[1]).max() > 0.01


@pytest.mark.parametrize("drawn", [True, False])
def test_glasses_are_learned_where_they_are_drawn_and_where_a_label_says_so(
    config: ExperimentConfig, networks: Any, monkeypatch: pytest.MonkeyPatch, drawn: bool
) -> None:
    monkeypatch.setattr(read_stage_module, "_DISTURBED_SHARE", 0.0)
    monkeypatch.setattr(read_stage_module, "_DRAWN_SHARE", float(drawn))
    monkeypatch.setattr(read_stage_module, "place", stay)
    stage = read_stage(config, networks, 12, {})
    photos = np.stack([face(64, USUAL_SKIN, HAIR)] * 3)
    faces = batch(photos, (FEMALE, MALE, UNKNOWN))
    faces["x"]["glasses"] = np.array([1, 0, np.nan], np.float32)
    found = stage.draw(stage.frozen, faces, jax.random.split(jax.random.key(0), (3, 2)))["x"]
    assert found.condition is not None
    np.testing.assert_array_equal(found.condition[:, -1], [1, 1, 1] if drawn else [1, -1, -1])
    changed = np.abs(found.image - resize(jnp.asarray(photos), 32)).max(axis=(1, 2, 3))
    assert (changed > 0.2).all() if drawn else (changed < 0.01).all()
