"""The U-Net of refiner and student, and the critics that see images through feature maps."""

import itertools
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bitmoji_jax.config import DataConfig, ExperimentConfig, PairConfig, RefinerConfig
from bitmoji_jax.models.layers import depth_to_space, space_to_depth
from bitmoji_jax.models.networks import network_shapes
from bitmoji_jax.models.patch_critic import FeatureClassifier, Judged, PatchCritic
from bitmoji_jax.models.unet import UNet

SIZES = (32, 64, 128, 256)


def uniform(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_space_to_depth_puts_pixels_where_it_says(factor: int) -> None:
    x = uniform(2, 3 * factor, 2 * factor, 5)
    y = np.asarray(space_to_depth(x, factor))
    assert y.shape == (2, 3, 2, factor**2 * 5)
    for row, column, i, j in itertools.product(range(3), range(2), range(factor), range(factor)):
        channels = slice((factor * i + j) * 5, (factor * i + j + 1) * 5)
        np.testing.assert_array_equal(y[:, row, column, channels], x[:, factor * row + i, factor * column + j])


def test_depth_to_space_undoes_space_to_depth() -> None:
    x = uniform(2, 6, 4, 3)
    np.testing.assert_array_equal(depth_to_space(space_to_depth(x, 2)), x)


@pytest.mark.parametrize(
    ("size", "output_size"), [pair for pair in itertools.product(SIZES, SIZES) if pair[1] >= min(pair[0], 64)]
)
def test_every_size_that_the_configuration_allows_gives_avatars_of_the_other(size: int, output_size: int) -> None:
    refiner = RefinerConfig(output_size=output_size, features=8)
    config = ExperimentConfig(data=DataConfig(image_size=size), refiner=refiner, refine=PairConfig(images=8))
    network = UNet(refiner.features, output_size)
    shapes = network_shapes(config, "r")
    out = jax.eval_shape(network.apply, shapes, jax.ShapeDtypeStruct((3, size, size, 3), jnp.float32))
    assert (out.shape, out.dtype) == ((3, output_size, output_size, 3), jnp.float32)


@pytest.mark.parametrize(
    ("size", "output_size", "dtype"), [(32, 32, jnp.float32), (32, 64, jnp.float32), (32, 64, jnp.bfloat16)]
)
def test_with_a_last_convolution_of_0_the_image_comes_out(size: int, output_size: int, dtype: Any) -> None:
    network, images = UNet(8, output_size, dtype), uniform(1, size, size, 3)
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)
    rng = np.random.default_rng(0)
    drawn = flax.traverse_util.flatten_dict(jax.tree.map(lambda a: rng.normal(0, 0.1, a.shape), shapes), sep="/")
    (name,) = (n.removesuffix("/bias") for n, a in drawn.items() if a.shape == (3 if output_size == size else 12,))
    zeroed = drawn | {n: 0 * drawn[n] for n in (f"{name}/kernel", f"{name}/bias")}
    run = jax.jit(network.apply)
    outputs = [np.asarray(run(flax.traverse_util.unflatten_dict(p, sep="/"), images)) for p in (zeroed, drawn)]
    expected = jax.image.resize(images, outputs[0].shape, "linear", antialias=True)
    np.testing.assert_array_equal(outputs[0], expected)
    assert np.abs(outputs[1] - expected).mean() > 0.1


@pytest.mark.parametrize("network", [PatchCritic(), FeatureClassifier()], ids=lambda network: type(network).__name__)
def test_a_score_does_not_depend_on_the_other_images(network: nn.Module) -> None:
    all_maps = [uniform(3, 8, 8, 5), uniform(3, 4, 4, 24)]
    seen: Any = Judged(all_maps) if isinstance(network, PatchCritic) else all_maps[1]
    params = jax.jit(network.init)(jax.random.key(0), seen)
    apply: Any = jax.jit(network.apply)
    together = jax.tree.leaves(apply(params, seen))
    shapes = [(3, 4, 4, 1), (3, 2, 2, 1)] if isinstance(network, PatchCritic) else [(3,)]
    assert [scores.shape for scores in together] == shapes
    assert all(scores.dtype == jnp.float32 for scores in together)
    alone = jax.tree.leaves(apply(params, jax.tree.map(lambda m: m[1:2], seen)))
    for scores, score in zip(together, alone, strict=True):
        np.testing.assert_allclose(scores[1:2], score, rtol=1e-4, atol=1e-6)
        assert np.abs(scores[0] - scores[1]).max() > 1e-3  # and do depend on their own


def test_maps_of_any_scale_give_the_same_scores() -> None:
    maps = uniform(1, 8, 8, 5)
    params = jax.jit(PatchCritic().init)(jax.random.key(0), Judged([maps]))
    apply: Any = jax.jit(PatchCritic().apply)
    (score,), (of_larger,) = (apply(params, Judged([scale * maps])) for scale in (1, 100))
    np.testing.assert_allclose(score, of_larger, rtol=2e-2, atol=2e-3)


def test_an_image_of_an_unknown_class_scores_the_mean_of_what_it_would_score_in_each() -> None:
    maps = [jnp.repeat(uniform(1, 8, 8, 5), 3, axis=0)]
    judged = Judged(maps, jnp.array([1.0, -1.0, 0.0]))
    params = jax.jit(PatchCritic().init)(jax.random.key(0), judged)
    apply: Any = jax.jit(PatchCritic().apply)
    ((one, other, unknown),) = apply(params, judged)
    assert unknown.shape == (4, 4, 1)
    np.testing.assert_allclose((one + other) / 2, unknown, rtol=1e-4, atol=1e-6)
    assert np.abs(one - other).min() > 1e-4
