"""The three networks: against LiteRT on real crops, and what holds for any network here."""

import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import skimage.data
from PIL import Image

from bitmoji_jax.errors import InputError, RunError
from bitmoji_jax.faces.finder import suppress
from bitmoji_jax.models import face_networks as networks
from bitmoji_jax.models.face_networks import SIZES, WEIGHTS, load_params, run_network
from bitmoji_jax.ops.conv import patch_conv, xla_conv
from tools import convert_mediapipe, packages

NETWORKS: dict[str, Callable[..., jax.Array]] = {
    "detector": networks.detector,
    "mesh": networks.mesh,
    "segmentation": networks.segmentation,
}
BOXES = ((150, 30, 300, 180), (100, 0, 400, 300), (165, 20, 315, 170))


def crops(name: str) -> np.ndarray:
    """The astronaut's face from near and far, uint8 [3, size, size, 3]."""
    image = Image.fromarray(skimage.data.astronaut())
    size = (SIZES[name],) * 2
    return np.stack([np.asarray(image.resize(size, Image.Resampling.BILINEAR, box)) for box in BOXES])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_gives_what_single_images_give(name: str) -> None:
    params, images = load_params(name), crops(name)
    one_by_one = np.stack([run_network(name, image) for image in images])
    # The CPU's form only: XLA's CPU compiler (jax 0.10.2) computes the detector's blocks of stride 2 wrong in the form
    # of accelerators, though each of their operations alone is right there.
    batch = jax.jit(NETWORKS[name])(params, images.astype(np.float32) / 255)
    np.testing.assert_allclose(one_by_one, batch, atol=3e-4)


def test_gradients_of_the_mesh_by_the_image_are_finite_and_not_zero() -> None:
    params, image = load_params("mesh"), crops("mesh")[:1].astype(np.float32) / 255
    gradient = jax.jit(jax.grad(lambda image: networks.mesh(params, image).sum()))(image)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0


def test_both_forms_of_the_detectors_first_convolution_agree() -> None:
    rng = np.random.default_rng(0)
    x, kernel = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 8, 12, 3), (5, 5, 3, 4)))
    np.testing.assert_allclose(patch_conv(x, kernel, 2, ((1, 2), (1, 2))), xla_conv(x, kernel, 2), atol=1e-5)


def test_boxes_of_one_face_are_averaged_by_score() -> None:
    def row(score: float, x: float, y: float) -> np.ndarray:
        return np.concatenate([[score], [x, y], [2, 2], np.zeros(12)]).astype(np.float32)

    rows = np.stack([row(0.6, 0.4, 0), row(0.9, 0, 0), row(0.8, 9, 9)])
    joined = suppress(rows)
    np.testing.assert_allclose(joined[:, 0], [0.9, 0.8])
    np.testing.assert_allclose(joined[0, 1:3], [0.4 * 0.6 / 1.5, 0], atol=1e-6)
    np.testing.assert_allclose(joined[1, 1:3], [9, 9])
    assert suppress(rows[:0]).shape == (0, 17)


def test_the_file_of_weights_is_the_one_that_the_converter_makes() -> None:
    assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() == convert_mediapipe.SHA256
    names = {name: set(load_params(name)) for name in NETWORKS}
    assert names == {name: set(source.layers) for name, source in convert_mediapipe.SOURCES.items()}


def test_damaged_weights_are_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "weights.safetensors"
    damaged.write_bytes(WEIGHTS.read_bytes()[:1000])
    monkeypatch.setattr(networks, "WEIGHTS", damaged)
    with pytest.raises(RunError, match="damaged"):
        load_params.__wrapped__("mesh")


def test_a_changed_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(package: packages.Package, folder: Path) -> None:
        (folder / package.archive).write_bytes(b"something else")

    monkeypatch.setattr(packages, "_download", download)
    with pytest.raises(RunError, match="SHA-256"):
        convert_mediapipe.download(tmp_path)


# What follows needs the networks as published.


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    if importlib.util.find_spec("ai_edge_litert") is None:
        pytest.skip("needs ai-edge-litert: pip install 'bitmoji-jax[dev]'")
    try:
        return convert_mediapipe.download(tmp_path_factory.mktemp("npm"))
    except InputError as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_the_converter_makes_the_file_again(
    models: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert_mediapipe, "download", lambda _: models)
    convert_mediapipe.make_weights(tmp_path / "weights")
    assert (tmp_path / "weights").read_bytes() == WEIGHTS.read_bytes()


def lite(model: bytes, image: np.ndarray) -> dict[str, np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
    interpreter.invoke()
    return {out["name"]: interpreter.get_tensor(out["index"])[0] for out in interpreter.get_output_details()}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_computes_what_litert_does(name: str, models: dict[str, bytes]) -> None:
    images = crops(name).astype(np.float32) / 255
    found = np.asarray(jax.jit(NETWORKS[name])(load_params(name), images))
    for image, own in zip(images, found, strict=True):
        expected: Any = lite(models[name], image * 2 - 1 if name == "detector" else image)
        if name == "detector":
            np.testing.assert_allclose(own[:, 0], jax.nn.sigmoid(expected["classificators"][:, 0]), atol=1e-3)
            pixels = (own - networks.anchors())[:, 1:] * SIZES[name]
            np.testing.assert_allclose(pixels, expected["regressors"], atol=1e-3)
        elif name == "mesh":
            np.testing.assert_allclose(own[:468].ravel(), expected["conv2d_21"].ravel(), atol=5e-4)
            np.testing.assert_allclose(own[468, 0], expected["conv2d_31"].ravel(), atol=1e-3)
        else:
            np.testing.assert_allclose(own, expected["activation_10"][..., 0], atol=3e-4)
