"""The networks against NumPy implementations that share no code with them."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bitmoji_jax.config import DiscriminatorConfig, GeneratorConfig
from bitmoji_jax.models import discriminator as discriminator_module
from bitmoji_jax.models import layers as layers_module
from bitmoji_jax.models.discriminator import Discriminator
from bitmoji_jax.models.generator import Generator
from bitmoji_jax.models.layers import ResidualBlock, Upsample, depth_to_space, instance_norm, prepare, reflect_pad
from bitmoji_jax.ops import winograd as winograd_module
from bitmoji_jax.ops.batching import map_images
from bitmoji_jax.ops.conv import conv, transposed_conv, upsampled_conv, xla_conv
from bitmoji_jax.ops.platform import on_cpu, tracing_for
from bitmoji_jax.ops.winograd import transform_kernel, winograd_conv

UPSAMPLINGS = ("transpose", "nearest", "subpixel")
ALL_GENERATORS = pytest.mark.parametrize(
    "config",
    [
        GeneratorConfig(features=4, res_blocks=1, skips=skips, upsample=upsample)
        for upsample in UPSAMPLINGS
        for skips in (False, True)
    ],
    ids=lambda config: f"{config.upsample}-{'skips' if config.skips else 'plain'}",
)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def uniform(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def compiled(function: Any) -> Any:
    """Jitted without optimization, which takes longer than these small networks do."""
    fast = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return jax.jit(function, compiler_options=fast)


def init(model: Any, x: np.ndarray) -> Any:
    """The initial parameters."""
    return compiled(model.init)(jax.random.key(0), x)


def some_params(model: Any, x: np.ndarray) -> Any:
    """Kernels of such a scale that activations neither vanish nor explode, and biases that are not 0."""
    rng = np.random.default_rng(0)

    def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        scale = 1 / math.sqrt(math.prod(leaf.shape[:3])) if path[-1].key == "kernel" else 0.1
        return (scale * rng.normal(size=leaf.shape)).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(model.init, jax.random.key(0), x))


def np_conv(x: np.ndarray, layer: dict[str, np.ndarray], stride: int = 1, pad: int = 0) -> np.ndarray:
    """A correlation, zero-padded."""
    kernel = np.asarray(layer["kernel"], np.float64)
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("nhwcij,ijcd->nhwd", windows, kernel) + np.asarray(layer["bias"])


def np_conv_transpose(x: np.ndarray, layer: dict[str, np.ndarray]) -> np.ndarray:
    """torch's ConvTranspose2d(kernel 3, stride 2, padding 1, output padding 1): each pixel stamps the kernel.

    Flax keeps kernels turned by half a turn against torch's.
    """
    stamp = np.asarray(layer["kernel"], np.float64)[::-1, ::-1]
    n, height, width, _ = x.shape
    full = np.zeros((n, 2 * height + 1, 2 * width + 1, stamp.shape[3]))
    for i in range(height):
        for j in range(width):
            full[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += np.einsum("nc,ijcd->nijd", x[:, i, j], stamp)
    return full[:, 1:, 1:] + np.asarray(layer["bias"])


def np_norm(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    return (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)


def np_reflect(x: np.ndarray, size: int) -> np.ndarray:
    return np.pad(x, ((0, 0), (size, size), (size, size), (0, 0)), mode="reflect")


def np_depth_to_space(x: np.ndarray) -> np.ndarray:
    n, h, w, c = x.shape
    out = np.zeros((n, 2 * h, 2 * w, c // 4), x.dtype)
    for i in range(2):
        for j in range(2):
            first = (2 * i + j) * (c // 4)
            out[:, i::2, j::2] = x[..., first : first + c // 4]
    return out


def np_upsample(x: np.ndarray, layers: dict[str, Any], kind: str) -> np.ndarray:
    if kind == "transpose":
        return np_conv_transpose(x, layers["ConvTranspose_0"])
    if kind == "nearest":
        return np_conv(np.kron(x, np.ones((1, 2, 2, 1))), layers["Conv_0"], pad=1)
    return np_depth_to_space(np_conv(x, layers["Conv_0"], pad=1))


def np_generator(x: np.ndarray, layers: dict[str, Any], config: GeneratorConfig) -> np.ndarray:
    """c7s1-k, d2k, d4k, R4k x blocks, u2k, uk, c7s1-3 of arXiv 1703.10593, with U-Net skips if asked."""
    relu = functools.partial(np.maximum, 0)
    full = relu(np_norm(np_conv(np_reflect(x, 3), layers["Conv_0"])))
    half = relu(np_norm(np_conv(full, layers["Conv_1"], stride=2, pad=1)))
    x = relu(np_norm(np_conv(half, layers["Conv_2"], stride=2, pad=1)))
    for block in range(config.res_blocks):
        convs = layers[f"ResidualBlock_{block}"]
        y = relu(np_norm(np_conv(np_reflect(x, 1), convs["Conv_0"])))
        x = x + np_norm(np_conv(np_reflect(y, 1), convs["Conv_1"]))
    for stage, skip in enumerate((half, full)):
        x = relu(np_norm(np_upsample(x, layers[f"Upsample_{stage}"], config.upsample)))
        x = np.concatenate([x, skip], -1) if config.skips else x
    return np.tanh(np_conv(np_reflect(x, 3), layers["Conv_3"]))


def np_discriminator(x: np.ndarray, layers: dict[str, Any]) -> np.ndarray:
    """C64-C128-C256-C512-1, no norm on the first, leaky ReLU of slope 0.2."""
    for i, stride in enumerate((2, 2, 2, 1)):
        x = np_conv(x, layers[f"Conv_{i}"], stride, pad=1)
        x = x if i == 0 else np_norm(x)
        x = np.where(x > 0, x, 0.2 * x)
    return np_conv(x, layers["Conv_4"], pad=1)


def parameter_count(model: Any, size: int = 64) -> int:
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(("blocks", "count"), [(5, 6_657_539), (6, 7_837_699), (9, 11_378_179)])
def test_generator_has_as_many_parameters_as_the_reference(blocks: int, count: int) -> None:
    assert parameter_count(Generator(GeneratorConfig(features=64, res_blocks=blocks))) == count


def test_discriminator_has_as_many_parameters_as_the_reference() -> None:
    assert parameter_count(Discriminator(DiscriminatorConfig(features=64))) == 2_764_737


@ALL_GENERATORS
def test_generator_is_the_network_of_the_paper(config: GeneratorConfig) -> None:
    x = uniform(2, 12, 20, 3)
    model = Generator(config)
    params = some_params(model, x)
    y = np.asarray(compiled(model.apply)(params, x))
    assert y.shape == x.shape
    assert y.dtype == np.float32
    assert np.abs(y).max() <= 1
    assert y.std() > 0.1  # neither constant nor saturated, so the comparison says something
    np.testing.assert_allclose(y, np_generator(x, params["params"], config), atol=1e-4)


@pytest.mark.parametrize("upsample", UPSAMPLINGS)
def test_generator_in_bfloat16_gives_nearly_the_same_in_float32(upsample: Any) -> None:
    config = GeneratorConfig(features=4, res_blocks=1, skips=True, upsample=upsample)
    x = uniform(1, 16, 16, 3)
    model = Generator(config, dtype=jnp.bfloat16)
    params = some_params(model, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    y = compiled(model.apply)(params, x)
    assert y.dtype == jnp.float32
    error = np.abs(np.asarray(y) - np_generator(x, params["params"], config))
    assert 1e-5 < error.mean() < 0.03


def test_discriminator_is_the_network_of_the_paper() -> None:
    x = uniform(2, 40, 48, 3)
    model = Discriminator(DiscriminatorConfig(features=3))
    params = some_params(model, x)
    scores = compiled(model.apply)(params, x)
    assert scores.shape == (2, 40 // 8 - 2, 48 // 8 - 2, 1)
    np.testing.assert_allclose(scores, np_discriminator(x, params["params"]), atol=1e-4)


def test_discriminator_in_bfloat16_scores_in_float32() -> None:
    x = uniform(1, 32, 32, 3)
    model = Discriminator(DiscriminatorConfig(features=3), dtype=jnp.bfloat16)
    params = some_params(model, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    scores = compiled(model.apply)(params, x)
    assert scores.dtype == jnp.float32
    error = np.abs(np.asarray(scores) - np_discriminator(x, params["params"]))
    assert 1e-5 < error.mean() < 0.05


def test_discriminator_gives_30_by_30_scores_at_256_px() -> None:
    x = jnp.zeros((1, 256, 256, 3))
    model = Discriminator(DiscriminatorConfig(features=4))
    scores, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), x)
    assert scores.shape == (1, 30, 30, 1)


@pytest.mark.parametrize(("row", "column"), [(7, 6), (4, 8)])
def test_a_score_of_the_discriminator_sees_70_by_70_pixels(
    row: int, column: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Instance norm spreads every gradient over the whole image.
    monkeypatch.setattr(discriminator_module, "instance_norm", lambda x: x)
    x = uniform(1, 128, 128, 3)
    model = Discriminator(DiscriminatorConfig(features=2))
    params = some_params(model, x)
    gradient = compiled(jax.grad(lambda x: model.apply(params, x)[0, row, column, 0]))(x)
    rows, columns = np.nonzero(np.abs(gradient[0]).sum(-1))
    # Strides of 8 in all; padding begins 1 + 2 + 4 + 8 + 8 pixels before the image.
    assert (rows.min(), rows.max()) == (8 * row - 23, 8 * row - 23 + 69)
    assert (columns.min(), columns.max()) == (8 * column - 23, 8 * column - 23 + 69)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 4)])
def test_transposed_convolution_is_the_one_of_the_reference(height: int, width: int) -> None:
    x = normal(2, height, width, 3)
    model = Upsample(5, "transpose", dtype=jnp.float32)
    params = some_params(model, x)
    y = model.apply(params, x)
    assert y.shape == (2, 2 * height, 2 * width, 5)
    np.testing.assert_allclose(y, np_conv_transpose(x, params["params"]["ConvTranspose_0"]), atol=1e-4)


def test_depth_to_space_puts_channels_where_it_says() -> None:
    x = normal(2, 3, 4, 8)
    np.testing.assert_array_equal(depth_to_space(x), np_depth_to_space(x))


def test_subpixel_upsampling_starts_without_a_checkerboard() -> None:
    x = normal(2, 6, 5, 8)
    model = Upsample(3, "subpixel", dtype=jnp.float32)
    y = np.asarray(model.apply(init(model, x), x))
    blocks = y.reshape(2, 6, 2, 5, 2, 3)
    np.testing.assert_allclose(blocks, np.broadcast_to(blocks[:, :, :1, :, :1], blocks.shape), atol=1e-6)
    assert blocks[:, :, 0, :, 0].std(axis=(1, 2)).min() > 0.01  # not the same everywhere


def test_nearest_upsampling_of_a_constant_is_constant_inside() -> None:
    x = np.full((1, 6, 6, 4), 0.7, np.float32)
    model = Upsample(3, "nearest", dtype=jnp.float32)
    inside = np.asarray(model.apply(some_params(model, x), x))[:, 1:-1, 1:-1]
    np.testing.assert_allclose(inside, np.broadcast_to(inside[:, :1, :1], inside.shape), rtol=1e-5)


@pytest.mark.parametrize(
    ("model", "channels", "kernels", "repeats"),
    [
        (Generator(GeneratorConfig(features=8, res_blocks=1, upsample="subpixel")), 3, 8, 4),
        (Upsample(16, "transpose", jnp.float32), 8, 1, 1),
        (Upsample(16, "nearest", jnp.float32), 8, 1, 1),
        (Discriminator(DiscriminatorConfig(features=8)), 3, 5, 1),
    ],
    ids=["generator", "transpose", "nearest", "discriminator"],
)
def test_kernels_start_from_a_normal_of_0_02_and_biases_from_0(
    model: Any, channels: int, kernels: int, repeats: int
) -> None:
    # `repeats`: how often a draw may occur in a kernel.
    params = jax.tree_util.tree_leaves_with_path(init(model, np.zeros((1, 32, 32, channels))))
    assert len(params) == 2 * kernels
    for path, leaf in params:
        if path[-1].key == "bias":
            assert (np.asarray(leaf) == 0).all()
            continue
        # Within five standard errors.
        draws = leaf.size / repeats
        assert abs(float(leaf.std()) / 0.02 - 1) < 5 / math.sqrt(2 * draws)
        assert abs(float(leaf.mean())) < 5 * 0.02 / math.sqrt(draws)
        # Normal, not uniform or cut off at two standard deviations.
        assert draws < 1000 or float(jnp.abs(leaf).max()) > 2.5 * 0.02


def test_instance_norm_is_per_image_and_channel() -> None:
    x = normal(3, 5, 7, 4) * np.array([0.01, 1, 10, 100], np.float32) + np.arange(4, dtype=np.float32)
    y = np.asarray(instance_norm(x))
    np.testing.assert_allclose(y, np_norm(x), atol=1e-4)
    np.testing.assert_allclose(y.mean((1, 2)), 0, atol=1e-5)
    # Epsilon shows in the first channel only, whose variance is 1e-4.
    np.testing.assert_allclose(y[..., 1:].var((1, 2)), 1, rtol=1e-3)


def test_instance_norm_of_a_constant_is_0() -> None:
    np.testing.assert_array_equal(instance_norm(np.full((1, 4, 4, 2), 3.0, np.float32)), 0)


def test_instance_norm_of_bfloat16_has_float32_statistics() -> None:
    # With this offset, a mean or a variance summed in bfloat16 would be off by whole units.
    x = jnp.asarray(3 * normal(1, 64, 64, 2) + 100, jnp.bfloat16)
    y = instance_norm(x)
    assert y.dtype == jnp.bfloat16
    expected = np_norm(np.asarray(x, np.float64))
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=2**-8, atol=1e-4)


@pytest.mark.parametrize("size", [1, 3])
def test_reflect_pad_mirrors_without_the_edge(size: int) -> None:
    x = normal(2, 5, 6, 3)
    np.testing.assert_array_equal(reflect_pad(x, size), np_reflect(x, size))


def check_convolution(ours: Any, theirs: Any, x_shape: tuple[int, ...], kernel_shape: tuple[int, ...]) -> None:
    """Asserts that both give the same values and gradients."""
    x, kernel = normal(*x_shape), normal(*kernel_shape, seed=1)
    cotangent = normal(*jax.eval_shape(theirs, x, kernel).shape, seed=2)

    @compiled
    def values_and_gradients() -> Any:
        results = []
        for function in (ours, theirs):
            y, vjp = jax.vjp(function, x, kernel)
            results.append((y, *vjp(cotangent)))
        return results

    for actual, expected in zip(*values_and_gradients(), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("x_shape", "kernel_shape", "stride", "pad"),
    [
        ((2, 9, 12, 5), (7, 7, 5, 3), 1, 0),
        ((1, 4, 6, 4), (3, 2, 4, 1), 1, 1),
        ((2, 8, 9, 5), (4, 4, 5, 1), 1, 1),
        ((1, 4, 6, 2), (3, 2, 2, 1), 1, 1),
        ((2, 8, 12, 3), (4, 4, 3, 4), 2, 1),
        ((2, 9, 7, 3), (3, 3, 3, 4), 2, 1),
    ],
)
def test_convolutions_as_products_are_convolutions(
    x_shape: tuple[int, ...], kernel_shape: tuple[int, ...], stride: int, pad: int
) -> None:
    padding = ((pad, pad), (pad, pad))
    products = lambda x, k: conv(x, k, stride, padding)  # noqa: E731
    assert "custom_vjp" in str(jax.make_jaxpr(products)(jnp.zeros(x_shape), jnp.zeros(kernel_shape)))
    check_convolution(products, lambda x, k: xla_conv(x, k, stride, padding), x_shape, kernel_shape)


@pytest.mark.parametrize("height", [1, 5])
def test_transposed_and_upsampled_convolutions_as_products_are_those_of_xla(height: int) -> None:
    for products in (transposed_conv, upsampled_conv):

        def for_an_accelerator(x: jax.Array, kernel: jax.Array, function: Any = products) -> jax.Array:
            with tracing_for("cuda"):
                return function(x, kernel)

        check_convolution(products, for_an_accelerator, (2, height, 4, 3), (3, 3, 3, 2))


@pytest.mark.parametrize(
    ("x_shape", "features"),
    [((1, 3, 3, 1), 1), ((1, 6, 6, 3), 3), ((2, 7, 10, 3), 5), ((3, 4, 9, 6), 2), ((1, 18, 18, 64), 64)],
)
def test_winograd_is_the_convolution(x_shape: tuple[int, ...], features: int) -> None:
    check_convolution(
        lambda x, k: winograd_conv(x, transform_kernel(k)),
        lambda x, k: xla_conv(x, k, 1, ((0, 0), (0, 0))),
        x_shape,
        (3, 3, x_shape[3], features),
    )


def test_generator_by_winograd_is_the_network_of_the_paper_with_and_without_prepared_kernels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []
    monkeypatch.setattr(winograd_module, "_LEAST_MULTIPLICATIONS", 0)
    monkeypatch.setattr(layers_module, "winograd_conv", lambda *args: calls.append(1) or winograd_conv(*args))
    x = uniform(1, 12, 12, 3)
    model = Generator(GeneratorConfig(features=5, res_blocks=1, upsample="subpixel"))
    params = some_params(model, x)
    assert params.keys() == {"params"}  # what is trained and saved
    translate = compiled(model.apply)
    calls.clear()
    y = translate(params, x)
    assert len(calls) == 4  # two in the block, and each sub-pixel one, which pads with zeros
    np.testing.assert_allclose(y, np_generator(x, params["params"], model.config), atol=1e-4)

    prepared = compiled(lambda params: prepare(model, params, x))(params)
    assert len(jax.tree.leaves(prepared["prepared"])) == 4 * 16
    np.testing.assert_allclose(y, translate(prepared, x), atol=1e-6)
    # They are not computed again. (The norms remove the block's biases.)
    without = {"ResidualBlock_0": jax.tree.map(jnp.zeros_like, params["params"]["ResidualBlock_0"])}
    blank = prepared | {"params": params["params"] | without}
    np.testing.assert_allclose(y, translate(blank, x), atol=1e-5)
    with tracing_for("cuda"):
        assert "prepared" not in jax.eval_shape(lambda params: prepare(Generator(model.config), params, x), params)


def test_winograd_is_for_large_convolutions_in_float32_on_a_cpu() -> None:
    block = lambda dtype: ResidualBlock(dtype=dtype)  # noqa: E731

    def winograd(size: int, dtype: Any = jnp.float32) -> bool:
        x = jnp.zeros((1, size, size, 64), dtype)
        params = jax.eval_shape(block(dtype).init, jax.random.key(0), x)
        return "winograd" in str(jax.make_jaxpr(lambda params: block(dtype).apply(params, x))(params))

    assert winograd(32)
    assert not winograd(8)
    assert not winograd(32, jnp.bfloat16)
    with tracing_for("cuda"):
        assert not winograd(32)


@pytest.mark.parametrize("upsample", UPSAMPLINGS)
def test_generator_is_the_same_traced_for_an_accelerator(upsample: Any) -> None:
    config = GeneratorConfig(features=5, res_blocks=0, upsample=upsample)
    x = uniform(1, 12, 12, 3)
    params = some_params(Generator(config), x)

    def loss(params: Any) -> tuple[jax.Array, jax.Array]:
        y = Generator(config).apply(params, x)
        return jnp.sum(jnp.square(y - 0.3)), y

    ours, _ = compiled(jax.grad(loss, has_aux=True))(params)
    assert on_cpu()
    with tracing_for("cuda"):
        assert not on_cpu()
        assert "custom_vjp" not in str(jax.make_jaxpr(loss)(params))
        theirs, y = compiled(jax.grad(lambda params: loss(params), has_aux=True))(params)
    np.testing.assert_allclose(y, np_generator(x, params["params"], config), atol=1e-4)
    # Biases before a norm have gradients of rounding noise only, so the scale is that of all gradients.
    scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(theirs))
    for ours_leaf, theirs_leaf in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(ours_leaf, theirs_leaf, rtol=1e-3, atol=1e-5 * scale)


def test_traced_for_an_accelerator_a_network_takes_that_form_and_afterwards_its_own_again() -> None:
    assert on_cpu()
    x = normal(2, 8, 8, 4)

    def network(image: jax.Array) -> jax.Array:
        return image + image.shape[0]

    with tracing_for("cuda"):
        assert not on_cpu()
        np.testing.assert_array_equal(map_images(network, x), x + 2)  # both at once
    with tracing_for("cpu"), pytest.raises(RuntimeError, match="stopped"), tracing_for("tpu"):
        raise RuntimeError("stopped")
    assert on_cpu()
    np.testing.assert_array_equal(map_images(network, x), x + 1)
