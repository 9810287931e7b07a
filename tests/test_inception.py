"""The network against its definition, written out in NumPy, and the loader on files of weights that are not its."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from bitmoji_jax.errors import InputError
from bitmoji_jax.evaluation import inception
from bitmoji_jax.evaluation.inception import Inception, load_inception, tensor_shapes
from tests.test_torch_file import Write, both_formats, whole_tensors, write_legacy, write_zip

IMAGES = np.random.default_rng(1).integers(0, 256, (3, 40, 40, 3), np.uint8)


def random_tensors() -> dict[str, np.ndarray]:
    """Kernels that keep the size of what goes through, batch norms that matter."""
    rng = np.random.default_rng(0)
    tensors = {}
    for name, shape in tensor_shapes().items():
        x = rng.standard_normal(shape, np.float32)
        if name.endswith("conv.weight"):
            x *= np.sqrt(2 / np.prod(shape[1:])).astype(np.float32)
        elif name.endswith("running_var"):
            x = 0.5 + np.abs(x)
        elif ".bn." in name:
            x = 0.2 * x + np.float32(name.endswith("weight"))
        tensors[name] = x
    return tensors


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    return random_tensors()


@pytest.fixture(scope="module")
def network(tensors: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Inception:
    path = write_zip(tmp_path_factory.mktemp("weights") / "inception.pth", *whole_tensors(tensors))
    network = load_inception(path)
    path.unlink()
    return network


@pytest.fixture(scope="module")
def batches_of_two() -> Iterator[None]:
    """32 at 299 px would take the most of a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inception, "_BATCH", 2)
        yield


def bilinear(image: np.ndarray, size: int) -> np.ndarray:
    """[S, S, 3] -> [size, size, 3]: of each pixel's centre the four nearest, at the border those that there are."""
    at = np.clip((np.arange(size) + 0.5) * len(image) / size - 0.5, 0, len(image) - 1)
    low = np.floor(at).astype(int)
    high, part = np.minimum(low + 1, len(image) - 1), (at - low)[:, None]
    rows = image[low] * (1 - part[..., None]) + image[high] * part[..., None]
    return rows[:, low] * (1 - part) + rows[:, high] * part


def windows(x: np.ndarray, shape: tuple[int, int], stride: int, pad: tuple[int, int], value: float) -> np.ndarray:
    """[C, H, W] -> [C, H', W', h, w]."""
    x = np.pad(x, ((0, 0), (pad[0], pad[0]), (pad[1], pad[1])), constant_values=value)
    return np.lib.stride_tricks.sliding_window_view(x, shape, axis=(1, 2))[:, ::stride, ::stride]


def max_pool(x: np.ndarray, stride: int, pad: int) -> np.ndarray:
    return windows(x, (3, 3), stride, (pad, pad), -np.inf).max((3, 4))


def average_pool(x: np.ndarray) -> np.ndarray:
    return np.nanmean(windows(x, (3, 3), 1, (1, 1), np.nan), (3, 4))


def written_out(tensors: dict[str, np.ndarray], image: np.ndarray) -> np.ndarray:
    """Features [2048] of one image: figures 5, 6 and 7 of arXiv 1512.00567, batch norm apart."""

    def conv(x: np.ndarray, name: str, stride: int = 1, padded: bool = True) -> np.ndarray:
        kernel = tensors[f"{name}.conv.weight"]
        height, width = kernel.shape[2:]
        pad = (height // 2, width // 2) if padded else (0, 0)
        x = np.tensordot(kernel, windows(x, (height, width), stride, pad, 0), ((1, 2, 3), (0, 3, 4)))
        weight, bias, mean, variance = (
            tensors[f"{name}.bn.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
        )
        return np.maximum((x - mean) / np.sqrt(variance + 0.001) * weight + bias, 0)

    def chain(x: np.ndarray, block: str, *names: str) -> np.ndarray:
        for name in names:
            x = conv(x, f"Mixed_{block}.{name}")
        return x

    x = (bilinear(image.astype(np.float64) / 255, 299) * 2 - 1).transpose(2, 0, 1).astype(np.float32)
    x = conv(conv(x, "Conv2d_1a_3x3", 2, padded=False), "Conv2d_2a_3x3", padded=False)
    x = max_pool(conv(x, "Conv2d_2b_3x3"), 2, 0)
    x = max_pool(conv(conv(x, "Conv2d_3b_1x1"), "Conv2d_4a_3x3", padded=False), 2, 0)
    assert x.shape == (192, 35, 35)
    for block in ("5b", "5c", "5d"):
        branches = [
            chain(x, block, "branch1x1"),
            chain(x, block, "branch5x5_1", "branch5x5_2"),
            chain(x, block, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
            chain(average_pool(x), block, "branch_pool"),
        ]
        x = np.concatenate(branches)
    three = conv(x, "Mixed_6a.branch3x3", 2, padded=False)
    double = conv(chain(x, "6a", "branch3x3dbl_1", "branch3x3dbl_2"), "Mixed_6a.branch3x3dbl_3", 2, padded=False)
    x = np.concatenate([three, double, max_pool(x, 2, 0)])
    assert x.shape == (768, 17, 17)
    for block in ("6b", "6c", "6d", "6e"):
        branches = [
            chain(x, block, "branch1x1"),
            chain(x, block, *(f"branch7x7_{i}" for i in (1, 2, 3))),
            chain(x, block, *(f"branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5))),
            chain(average_pool(x), block, "branch_pool"),
        ]
        x = np.concatenate(branches)
    three = conv(chain(x, "7a", "branch3x3_1"), "Mixed_7a.branch3x3_2", 2, padded=False)
    seven = chain(x, "7a", "branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3")
    x = np.concatenate([three, conv(seven, "Mixed_7a.branch7x7x3_4", 2, padded=False), max_pool(x, 2, 0)])
    assert x.shape == (1280, 8, 8)
    for block, pool in (("7b", average_pool(x)), ("7c", None)):
        three, double = chain(x, block, "branch3x3_1"), chain(x, block, "branch3x3dbl_1", "branch3x3dbl_2")
        branches = [
            chain(x, block, "branch1x1"),
            chain(three, block, "branch3x3_2a"),
            chain(three, block, "branch3x3_2b"),
            chain(double, block, "branch3x3dbl_3a"),
            chain(double, block, "branch3x3dbl_3b"),
            chain(max_pool(x, 1, 1) if pool is None else pool, block, "branch_pool"),
        ]
        x = np.concatenate(branches)
    return x.mean((1, 2))


def test_the_weights_are_those_of_the_network_with_1008_classes() -> None:
    shapes = tensor_shapes()
    learned = {name: shape for name, shape in shapes.items() if "running" not in name}
    assert sum(int(np.prod(shape)) for shape in learned.values()) == 23_850_960
    assert len(shapes) == 94 * 5 + 2
    assert shapes["Conv2d_1a_3x3.conv.weight"] == (32, 3, 3, 3)
    assert shapes["Mixed_5b.branch_pool.conv.weight"] == (32, 192, 1, 1)
    assert shapes["Mixed_6c.branch7x7dbl_3.conv.weight"] == (160, 160, 1, 7)
    assert shapes["Mixed_7c.branch3x3_2b.conv.weight"] == (384, 384, 3, 1)
    assert shapes["Mixed_7a.branch7x7x3_4.bn.running_var"] == (192,)
    assert shapes["fc.weight"] == (1008, 2048)


@pytest.mark.usefixtures("batches_of_two")
def test_features_are_those_of_the_network_written_out(network: Inception, tensors: dict[str, np.ndarray]) -> None:
    expected = written_out(tensors, IMAGES[0])
    assert expected.max() > 1  # large enough for the tolerance to mean something
    np.testing.assert_allclose(network(IMAGES)[0], expected, atol=2e-5)


@pytest.mark.usefixtures("batches_of_two")
def test_any_number_of_images_is_one_compilation_and_the_same_features(network: Inception) -> None:
    before = inception._compiled_features._cache_size()
    whole = network(IMAGES)
    assert whole.shape == (3, 2048)
    assert whole.dtype == np.float32
    assert network(IMAGES[:0]).shape == (0, 2048)
    np.testing.assert_allclose(network(IMAGES[2:]), whole[2:], atol=1e-5)
    np.testing.assert_allclose(network(IMAGES[1:2]), whole[1:2], atol=1e-5)
    assert inception._compiled_features._cache_size() <= before + 1
    assert np.abs(whole - whole[0]).max(axis=1)[1:].min() > 0.05


def test_resizing_is_bilinear_without_averaging_what_shrinks() -> None:
    for size in (5, 40, 299, 640):
        image = np.random.default_rng(size).uniform(size=(size, size, 3)).astype(np.float32)
        resized = jax.image.resize(image, (299, 299, 3), "linear", antialias=False)
        np.testing.assert_allclose(resized, bilinear(image, 299), atol=5e-4)  # places in float32


def test_average_pools_count_only_what_is_inside() -> None:
    pooled = inception._average_pool(np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1))
    expected = [[2, 2.5, 3], [3.5, 4, 4.5], [5, 5.5, 6]]
    np.testing.assert_allclose(pooled[0, :, :, 0], expected, rtol=1e-6)


def test_the_last_pool_keeps_the_size_and_takes_the_maximum() -> None:
    negative = -np.arange(1, 10, dtype=np.float32).reshape(1, 3, 3, 1)
    pooled = inception._max_pool(negative, stride=1, padding="SAME")
    np.testing.assert_array_equal(pooled[0, :, :, 0], [[-1, -1, -2], [-1, -1, -2], [-4, -4, -5]])


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 8, 9, 3), (2, 8, 8, 4)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="uint8 images"):
        Inception({}, published=False)(np.zeros(shape, np.uint8))


def test_floats_are_refused() -> None:
    with pytest.raises(ValueError, match="not float32"):
        Inception({}, published=False)(np.zeros((2, 8, 8, 3), np.float32))


def test_other_weights_than_the_published_are_known_as_such(network: Inception) -> None:
    assert not network.published


def test_the_published_file_is_known_by_its_hash(
    tensors: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert inception.URL.endswith(f"-{inception._SHA256[:8]}.pth")
    path = tmp_path / "inception.pth"
    path.write_bytes(b"weights")
    monkeypatch.setattr(inception, "_SHA256", hashlib.sha256(b"weights").hexdigest())
    monkeypatch.setattr(inception, "read_tensors", lambda _: tensors)
    monkeypatch.setattr(inception, "fold_params", lambda _: {})
    assert load_inception(path).published


def test_without_the_file_one_line_says_where_it_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"inception\.pth is not there.*https://.*6726825d\.pth$"):
        load_inception(tmp_path / "inception.pth")


@both_formats
def test_a_damaged_file_is_refused(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path / "inception.pth", *whole_tensors({"fc.bias": np.zeros(1008, np.float32)}))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match=r"inception\.pth can't be read"):
        load_inception(path)


FIRST, SECOND, VARIANCE = (f"Conv2d_1a_3x3.{part}" for part in ("conv.weight", "bn.weight", "bn.running_var"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({FIRST: None}, f"has no {FIRST}: it is not FID's Inception, get that from https"),
        ({SECOND: np.ones(31)}, rf"{SECOND} is \[31\], not \[32\]; get FID's Inception from https"),
        ({FIRST: np.ones(864), SECOND: None}, rf"{FIRST} is \[864\], not \[32, 3, 3, 3\]"),
        # torchvision's network has the same names.
        ({"fc.weight": np.ones((1000, 2048))}, r"fc\.weight is \[1000, 2048\], not \[1008, 2048\]"),
        ({"fc.bias": None}, r"has no fc\.bias"),
        ({SECOND: np.full(32, np.nan)}, f"damaged, {SECOND} has impossible values: get it anew from https"),
        ({VARIANCE: np.full(32, -1.0)}, f"damaged, {VARIANCE}"),
    ],
)
def test_the_first_tensor_that_is_not_the_networks_is_named(
    tensors: dict[str, np.ndarray],
    changed: dict[str, np.ndarray | None],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "inception.pth"
    path.touch()
    found = {name: x for name, x in {**tensors, **changed}.items() if x is not None}
    monkeypatch.setattr(inception, "read_tensors", lambda _: found)
    with pytest.raises(InputError, match=rf"inception\.pth.*{message}"):
        load_inception(path)


def test_a_file_of_other_tensors_is_refused(tmp_path: Path) -> None:
    path = write_legacy(tmp_path / "inception.pth", *whole_tensors({"weight": np.ones((2, 3), np.float32)}))
    with pytest.raises(InputError, match=rf"inception\.pth has no {FIRST}"):
        load_inception(path)
