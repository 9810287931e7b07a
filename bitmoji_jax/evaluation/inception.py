"""Features of the Inception-v3 that FID is defined with (Heusel et al., arXiv 1706.08500), in JAX.

It is TensorFlow's network of 2015-12-05 as pytorch-fid ported it; its weights are at `URL` and do not come with this
package. It differs from torchvision's network of the same name (and from the paper, arXiv 1512.00567): average pools
don't count what lies outside the image, the last block pools by maximum, and there are 1008 classes.

Checked against the same network written anew in PyTorch, with random weights and batch norm statistics: for images of
64, 128, 299 and 400 px the features, up to 7.0, are within 3.4e-6 of those PyTorch computes in float64, its own in
float32 within 4.0e-6 (torch 2.13.0, jax 0.10.2, CPU, 2026-11-23). Not checked with the weights of `URL` themselves.
"""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from bitmoji_jax.errors import InputError
from bitmoji_jax.evaluation.torch_file import read_tensors
from bitmoji_jax.ops.batching import map_images

URL = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"

_SIZE = 299
_BATCH = 32
_CLASSES = 1008
_WIDTH = 2048
_EPSILON = 1e-3

Params = dict[str, dict[str, jax.Array]]
"""By the name of a convolution: its kernel [h, w, in, out] and bias [out], the batch norm folded in."""

Conv = Callable[..., jax.Array]
"""(images, name, channels out, (h, w), stride=1, padding="SAME") -> convolved, normalised, rectified."""


class Inception:
    """uint8 images [N, S, S, 3], any N and S -> float32 features [N, 2048], 0 or more.

    Images are resized to 299 px bilinearly and, as pytorch-fid does it, without averaging what shrinks. Compiled once
    for each S: images go through in batches of 32, the last one filled up.
    """

    def __init__(self, params: Params, published: bool):
        self.params = params
        self.published = published
        """Whether the weights' file is byte for byte the one of `URL`: only distances of these features are FID."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != images.shape[2] or images.shape[3] != 3:
            raise ValueError(f"features are of uint8 images [N, S, S, 3], not {images.dtype} {list(images.shape)}")
        features = np.empty((len(images), _WIDTH), np.float32)
        for start in range(0, len(images), _BATCH):
            part = images[start : start + _BATCH]
            filled = np.pad(part, ((0, _BATCH - len(part)), (0, 0), (0, 0), (0, 0)))
            features[start : start + _BATCH] = np.asarray(_compiled_features(self.params, filled))[: len(part)]
        return features


def load_inception(path: Path) -> Inception:
    """The network with the weights of a file: that of `URL`, or one of the same tensors, in either format of torch.

    Raises:
      InputError: the file is not there, can't be read, or its tensors are not this network's.
    """
    if not path.is_file():
        raise InputError(f"{path} is not there: FID needs Inception's weights, get them from {URL}")
    tensors = read_tensors(path)
    for name, shape in tensor_shapes().items():
        if name not in tensors:
            raise InputError(f"{path} has no {name}: it is not FID's Inception, get that from {URL}")
        if tensors[name].shape != shape:
            found = list(tensors[name].shape)
            raise InputError(f"{path}: {name} is {found}, not {list(shape)}; get FID's Inception from {URL}")
        negative = name.endswith("running_var") and (tensors[name] < 0).any()
        if negative or not np.isfinite(tensors[name]).all():
            raise InputError(f"{path} is damaged, {name} has impossible values: get it anew from {URL}")
    with path.open("rb") as file:
        published = hashlib.file_digest(file, "sha256").hexdigest() == _SHA256
    return Inception(fold_params(tensors), published)


def tensor_shapes() -> dict[str, tuple[int, ...]]:
    """What the weights' file holds, in the order of the network."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(
        x: jax.Array, name: str, outputs: int, window: tuple[int, int], stride: int = 1, padding: str = "SAME"
    ) -> jax.Array:
        shapes[f"{name}.conv.weight"] = (outputs, x.shape[-1], *window)
        shapes.update({f"{name}.bn.{part}": (outputs,) for part in ("weight", "bias", "running_mean", "running_var")})
        return _convolve(x, jnp.zeros((*window, x.shape[-1], outputs)), stride, padding)

    jax.eval_shape(functools.partial(_network, conv), jax.ShapeDtypeStruct((1, _SIZE, _SIZE, 3), np.float32))
    return {**shapes, "fc.weight": (_CLASSES, _WIDTH), "fc.bias": (_CLASSES,)}


def fold_params(tensors: dict[str, np.ndarray]) -> Params:
    """The tensors that `tensor_shapes` names as convolutions; the classes are left out."""
    params = {}
    for name in (key.removesuffix(".conv.weight") for key in tensors if key.endswith(".conv.weight")):
        kernel, weight, bias, mean, variance = (
            tensors[f"{name}.{part}"].astype(np.float32)
            for part in ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
        )
        scale = weight / np.sqrt(variance + _EPSILON)
        params[name] = {
            "kernel": jnp.asarray(kernel.transpose(2, 3, 1, 0) * scale),
            "bias": jnp.asarray(bias - mean * scale),
        }
    return params


def inception_features(params: Params, images: jax.Array) -> jax.Array:
    """Images [N, S, S, 3] in [0, 255], of any real type -> the pooled activations before the classes, [N, 2048]."""

    def conv(
        x: jax.Array, name: str, outputs: int, window: tuple[int, int], stride: int = 1, padding: str = "SAME"
    ) -> jax.Array:
        del outputs, window  # the kernel has them
        return jax.nn.relu(_convolve(x, params[name]["kernel"], stride, padding) + params[name]["bias"])

    # Full precision, or an accelerator's shorter products would make a score depend on where it was taken.
    with jax.default_matmul_precision("highest"):
        x = jax.image.resize(images / 127.5 - 1, (len(images), _SIZE, _SIZE, 3), "linear", antialias=False)
        return _network(conv, x)


@jax.jit
def _compiled_features(params: Params, images: jax.Array) -> jax.Array:
    return map_images(functools.partial(inception_features, params), images)


def _convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: str) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _network(conv: Conv, x: jax.Array) -> jax.Array:
    """[N, 299, 299, 3] in [-1, 1] -> [N, 2048]. The names are those of the weights' file, the sizes at 299 px."""
    x = conv(x, "Conv2d_1a_3x3", 32, (3, 3), stride=2, padding="VALID")
    x = conv(x, "Conv2d_2a_3x3", 32, (3, 3), padding="VALID")
    x = conv(x, "Conv2d_2b_3x3", 64, (3, 3))
    x = _max_pool(x)  # 73 × 73
    x = conv(x, "Conv2d_3b_1x1", 80, (1, 1))
    x = conv(x, "Conv2d_4a_3x3", 192, (3, 3), padding="VALID")
    x = _max_pool(x)  # 35 × 35
    x = _block_a(_within(conv, "Mixed_5b"), x, pooled=32)
    x = _block_a(_within(conv, "Mixed_5c"), x, pooled=64)
    x = _block_a(_within(conv, "Mixed_5d"), x, pooled=64)
    x = _block_b(_within(conv, "Mixed_6a"), x)  # 17 × 17
    x = _block_c(_within(conv, "Mixed_6b"), x, inner=128)
    x = _block_c(_within(conv, "Mixed_6c"), x, inner=160)
    x = _block_c(_within(conv, "Mixed_6d"), x, inner=160)
    x = _block_c(_within(conv, "Mixed_6e"), x, inner=192)
    x = _block_d(_within(conv, "Mixed_7a"), x)  # 8 × 8
    x = _block_e(_within(conv, "Mixed_7b"), x, _average_pool)
    x = _block_e(_within(conv, "Mixed_7c"), x, functools.partial(_max_pool, stride=1, padding="SAME"))
    return jnp.mean(x, axis=(1, 2))


def _within(conv: Conv, block: str) -> Conv:
    return lambda x, name, *args, **kwargs: conv(x, f"{block}.{name}", *args, **kwargs)


def _max_pool(x: jax.Array, stride: int = 2, padding: str = "VALID") -> jax.Array:
    return nn.max_pool(x, (3, 3), (stride, stride), padding)


def _average_pool(x: jax.Array) -> jax.Array:
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)


def _block_a(conv: Conv, x: jax.Array, pooled: int) -> jax.Array:
    five = conv(x, "branch5x5_1", 48, (1, 1))
    five = conv(five, "branch5x5_2", 64, (5, 5))
    double = conv(x, "branch3x3dbl_1", 64, (1, 1))
    double = conv(double, "branch3x3dbl_2", 96, (3, 3))
    double = conv(double, "branch3x3dbl_3", 96, (3, 3))
    pool = conv(_average_pool(x), "branch_pool", pooled, (1, 1))
    return jnp.concatenate([conv(x, "branch1x1", 64, (1, 1)), five, double, pool], axis=-1)


def _block_b(conv: Conv, x: jax.Array) -> jax.Array:
    three = conv(x, "branch3x3", 384, (3, 3), stride=2, padding="VALID")
    double = conv(x, "branch3x3dbl_1", 64, (1, 1))
    double = conv(double, "branch3x3dbl_2", 96, (3, 3))
    double = conv(double, "branch3x3dbl_3", 96, (3, 3), stride=2, padding="VALID")
    return jnp.concatenate([three, double, _max_pool(x)], axis=-1)


def _block_c(conv: Conv, x: jax.Array, inner: int) -> jax.Array:
    seven = conv(x, "branch7x7_1", inner, (1, 1))
    seven = conv(seven, "branch7x7_2", inner, (1, 7))
    seven = conv(seven, "branch7x7_3", 192, (7, 1))
    double = conv(x, "branch7x7dbl_1", inner, (1, 1))
    double = conv(double, "branch7x7dbl_2", inner, (7, 1))
    double = conv(double, "branch7x7dbl_3", inner, (1, 7))
    double = conv(double, "branch7x7dbl_4", inner, (7, 1))
    double = conv(double, "branch7x7dbl_5", 192, (1, 7))
    pool = conv(_average_pool(x), "branch_pool", 192, (1, 1))
    return jnp.concatenate([conv(x, "branch1x1", 192, (1, 1)), seven, double, pool], axis=-1)


def _block_d(conv: Conv, x: jax.Array) -> jax.Array:
    three = conv(x, "branch3x3_1", 192, (1, 1))
    three = conv(three, "branch3x3_2", 320, (3, 3), stride=2, padding="VALID")
    seven = conv(x, "branch7x7x3_1", 192, (1, 1))
    seven = conv(seven, "branch7x7x3_2", 192, (1, 7))
    seven = conv(seven, "branch7x7x3_3", 192, (7, 1))
    seven = conv(seven, "branch7x7x3_4", 192, (3, 3), stride=2, padding="VALID")
    return jnp.concatenate([three, seven, _max_pool(x)], axis=-1)


def _block_e(conv: Conv, x: jax.Array, pool: Callable[[jax.Array], jax.Array]) -> jax.Array:
    three = conv(x, "branch3x3_1", 384, (1, 1))
    threes = [conv(three, "branch3x3_2a", 384, (1, 3)), conv(three, "branch3x3_2b", 384, (3, 1))]
    double = conv(x, "branch3x3dbl_1", 448, (1, 1))
    double = conv(double, "branch3x3dbl_2", 384, (3, 3))
    doubles = [conv(double, "branch3x3dbl_3a", 384, (1, 3)), conv(double, "branch3x3dbl_3b", 384, (3, 1))]
    pooled = conv(pool(x), "branch_pool", 192, (1, 1))
    return jnp.concatenate([conv(x, "branch1x1", 320, (1, 1)), *threes, *doubles, pooled], axis=-1)
