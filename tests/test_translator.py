import os
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bitmoji_jax.config import RefinerConfig
from bitmoji_jax.errors import InputError
from bitmoji_jax.inference.guard import fit_guard
from bitmoji_jax.inference.translator import Translator
from bitmoji_jax.inference.weights import save_weights
from bitmoji_jax.models import face_networks as networks
from bitmoji_jax.models.generator import Generator
from bitmoji_jax.models.recolour import recolour
from bitmoji_jax.models.unet import UNet
from bitmoji_jax.ops.batching import resized
from bitmoji_jax.ops.image import resize
from tests.random_weights import random_weights


@pytest.fixture(scope="module")
def translator() -> Translator:
    """Of `random_weights`."""
    return Translator.from_weights(random_weights())


def images(count: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize(("direction", "name"), [("x2y", "g"), ("y2x", "f")])
def test_each_direction_applies_its_generator(translator: Translator, direction: str, name: str) -> None:
    photos = images(3)
    output = jax.jit(Generator(random_weights().config.generator).apply)(
        random_weights().networks[name], photos / 127.5 - 1
    )
    expected = np.clip(np.rint((np.asarray(output) + 1) * 127.5), 0, 255)
    found = getattr(translator, direction)(photos)
    assert found.dtype == np.uint8
    assert np.ptp(found) > 50
    assert np.abs(found - expected).max() <= 1  # a rounding error that falls the other way


@pytest.mark.parametrize("names", ["gfr", "sf"])
def test_refiner_and_student_give_larger_avatars_and_f_takes_those_back(names: str) -> None:
    weights = random_weights(names=names, refiner=RefinerConfig(features=8, output_size=128))
    translator, photos = Translator.from_weights(weights), images(3)
    assert (translator.size, translator.input_size, translator.directions) == (128, 32, {"x2y", "y2x"})
    found = translator(photos)
    assert found.shape == (3, 128, 128, 3)
    if names == "gfr":
        of_generator, of_refiner = weights.networks["g"], weights.networks["r"]
    else:
        both = weights.networks["s"]["params"]
        of_generator, of_refiner = ({"params": both[part]} for part in ("generator", "refiner"))

    @jax.jit
    def way(photos: jax.Array) -> jax.Array:
        drawn = Generator(weights.config.generator).apply(of_generator, photos)
        refined = UNet(features=8, output_size=128).apply(of_refiner, drawn)
        return jax.vmap(recolour)(refined, photos)

    output = way(photos / 127.5 - 1)
    expected = np.clip(np.rint((np.asarray(output) + 1) * 127.5), 0, 255)
    assert np.ptp(expected) > 100
    assert np.abs(found - expected).max() <= 1
    back = translator.y2x(found)
    assert back.shape == (3, 32, 32, 3)
    assert np.corrcoef(back.ravel(), translator.y2x(resized(found, 32)).ravel())[0, 1] > 0.98


def test_the_guard_compares_at_the_size_of_f_whatever_the_size_of_crops_and_avatars() -> None:
    def x2y(crops: np.ndarray) -> np.ndarray:
        return resized(255 - crops, 128)

    def y2x(avatars: np.ndarray) -> np.ndarray:
        return resized(255 - avatars, 32)

    crops = np.random.default_rng(0).integers(100, 150, (40, 8, 8, 3), dtype=np.uint8).repeat(32, 1).repeat(32, 2)
    guard = fit_guard(*(resized(array, 32) for array in (x2y(crops), crops, x2y(crops), y2x(x2y(crops)))))
    guarded = Translator({"x2y": x2y, "y2x": y2x}, size=128, input_size=64, cut_out=False, guard=guard)
    qualities = [portrait.quality for portrait in guarded.translate_crops(crops)]
    assert np.median(qualities) == 1
    odd = guarded.translate_crops(np.zeros_like(crops[:1]))[0]
    assert odd.quality == 0
    assert (odd.crop.shape, odd.avatar.shape) == ((256, 256, 3), (128, 128, 3))


def test_calling_it_translates_photos_to_avatars(translator: Translator) -> None:
    np.testing.assert_array_equal(translator(images(2)), translator.x2y(images(2)))


def test_only_the_directions_that_there_are_can_be_used(translator: Translator) -> None:
    assert translator.directions == {"x2y", "y2x"}
    one_way = Translator({"x2y": lambda photos: photos}, size=32, cut_out=False)
    assert one_way.directions == {"x2y"}
    with pytest.raises(InputError, match="photos to avatars only"):
        one_way.y2x(images(1))


def test_any_number_of_images_gives_each_its_own_avatar_and_compiles_three_programs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    traces = []
    apply = Generator.__call__

    def counted(self: Generator, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        traces.append(x.shape)
        return apply(self, x, condition)

    monkeypatch.setattr(Generator, "__call__", counted)
    translator = Translator.from_weights(random_weights())
    traces.clear()
    photos = images(75)
    one_by_one = np.concatenate([translator(photos[i : i + 1]) for i in range(75)])
    for count in (0, 1, 2, 7, 8, 9, 31, 32, 33, 40, 41, 75):
        found = translator(photos[:count])
        assert found.shape == (count, 32, 32, 3)
        # Batches of another size may add up in another order.
        assert np.abs(found.astype(int) - one_by_one[:count]).max(initial=0) <= 1
    assert len(traces) == 3  # for 1, 8 and 32


def test_images_of_another_size_are_resized_first(translator: Translator) -> None:
    large = images(2, 80)
    assert translator(large).shape == (2, 32, 32, 3)
    small = resized(large, 32)
    # The smaller ones were rounded in between, which the networks amplify.
    assert np.corrcoef(translator(large).ravel(), translator(small).ravel())[0, 1] > 0.98
    assert np.corrcoef(translator(large).ravel(), translator(small[::-1]).ravel())[0, 1] < 0.9


def test_resized_is_what_training_resizes_with_and_leaves_the_right_size_alone() -> None:
    photos = images(40, 48)
    assert resized(photos, 48) is photos
    expected = resize(jnp.asarray(photos, jnp.float32), 32)
    assert np.abs(resized(photos, 32) - np.asarray(expected)).max() <= 0.51


@pytest.mark.parametrize("shape", [(32, 32, 3), (1, 32, 30, 3), (1, 32, 32, 4), (1, 32, 32)])
def test_images_of_another_shape_are_refused(translator: Translator, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="not uint8"):
        translator(np.zeros(shape, np.uint8))


def test_floats_are_refused(translator: Translator) -> None:
    with pytest.raises(ValueError, match="float64"):
        translator(np.zeros((1, 32, 32, 3)))


@pytest.mark.slow
def test_several_devices_share_a_batch_and_give_what_one_gives(translator: Translator, tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", random_weights())
    photos = images(41)
    np.save(tmp_path / "photos.npy", photos)
    code = """
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", 4)
from bitmoji_jax.inference.translator import Translator
translator, photos = Translator.from_file("w.safetensors"), np.load("photos.npy")
np.savez("found.npz", many=translator(photos), one=translator(photos[:1]), back=translator.y2x(photos))
"""
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=tmp_path, env=environment)
    found = np.load(tmp_path / "found.npz")
    for name, expected in (
        ("many", translator(photos)),
        ("one", translator(photos[:1])),
        ("back", translator.y2x(photos)),
    ):
        assert found[name].shape == expected.shape
        assert np.abs(found[name].astype(int) - expected).max() <= 1


def test_threads_that_call_a_cold_translator_trace_each_program_once(monkeypatch: pytest.MonkeyPatch) -> None:
    traces = []
    apply, detector = Generator.__call__, networks.detector

    def counted(self: Generator, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        traces.append("generator")
        return apply(self, x, condition)

    def counted_detector(params: networks.Params, images: jax.Array) -> jax.Array:
        traces.append("detector")
        return detector(params, images)

    monkeypatch.setattr(Generator, "__call__", counted)
    monkeypatch.setattr(networks, "detector", counted_detector)
    networks._compiled.cache_clear()
    cold = Translator.from_weights(random_weights())
    traces.clear()
    photos, together = images(1), threading.Barrier(8)

    def call() -> None:
        together.wait()
        cold.x2y(photos)
        networks.run_network("detector", np.zeros((128, 128, 3), np.uint8))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    networks._compiled.cache_clear()
    assert sorted(traces) == ["detector", "generator"]


_PROCESSES = """
import multiprocessing, sys
import jax, numpy as np
import bitmoji_jax as bj

photos = np.zeros((1, 32, 32, 3), np.uint8)

def load():
    global translator
    translator = bj.Translator.from_file("w.safetensors")

def translate(_):
    return translator(photos).shape

def work(call):
    try:
        return call()
    except bj.InputError as error:
        return str(error)

def again():
    load()

def shared():
    return translate(0)

def faces():
    return translator.align(np.zeros((90, 90, 3), np.uint8))

if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(1, load) as early:  # before JAX has started
        print(early.map_async(translate, [0]).get(100))
    load()
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # this network may take less than 0.1 s
    translate(0)
    assert jax.config.values["jax_compilation_cache_dir"] == sys.argv[1]
    with multiprocessing.get_context("fork").Pool(1) as pool:
        for call in (again, shared, faces):
            print(pool.map_async(work, [call]).get(100))
    with multiprocessing.get_context("spawn").Pool(1, load) as pool:
        print(pool.map_async(translate, [0]).get(100))
"""


@pytest.mark.slow
def test_forks_get_an_error_and_other_processes_avatars_and_the_cache_is_that_of_the_commands(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", random_weights())
    (tmp_path / "script.py").write_text(_PROCESSES)
    environment = os.environ | {"PYTHONPATH": os.getcwd(), "XDG_CACHE_HOME": str(tmp_path)}
    environment.pop("JAX_COMPILATION_CACHE_DIR")
    cache = tmp_path / "bitmoji_jax" / "xla"
    command = [sys.executable, "-W", "ignore", "script.py", str(cache)]
    done = subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, env=environment, text=True)
    lines = done.stdout.splitlines()
    assert lines[0] == lines[4] == "[(1, 32, 32, 3)]"
    assert all("JAX had started when this process was forked" in line for line in lines[1:4])
    assert list(cache.iterdir())
