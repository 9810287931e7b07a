"""EfficientNet-Lite0, trained on ImageNet: features for KID, and feature maps.

The network is Google's (arXiv 1905.11946; github.com/tensorflow/tpu, models/official/efficientnet/lite), Apache-2.0,
see NOTICE; tools/convert_efficientnet.py made the weights, float16 and with the batch norms folded into the
convolutions. Distances between these features are not FID, which is defined by Inception-v3's.
"""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp

from bitmoji_jax.models.features import Features, Params, load_params, make_features
from bitmoji_jax.ops.conv import depthwise_conv, xla_conv

WEIGHTS = Path(__file__).parent / "efficientnet_lite0.safetensors"

STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)
"""Of each block's depthwise convolution."""

MEAN, DEVIATION = 127.0, 128.0
"""The scale of its training, not the mean and deviation of ImageNet that PyTorch models have."""


@functools.cache
def load_efficientnet_lite0() -> Features:
    """Loads the features before the classes, float32 [N, 1280] in [0, 6]; RunError if the weights are damaged."""
    return make_features(pooled_features, load_params(WEIGHTS))


def pooled_features(params: Params, images: jax.Array) -> jax.Array:
    """Images [N, H, W, 3] in [0, 255] -> means over the image [N, 1280]; the network was trained at 224 px."""
    *_, last = feature_maps(params, images)
    return jnp.mean(_relu6(_pointwise(last, params, "head")), axis=(1, 2))


def feature_maps(params: Params, images: jax.Array) -> list[jax.Array]:
    """Images [N, H, W, 3] in [0, 255], at their own size -> the last activations at strides 2, 4, 8, 16 and 32.

    They have 32, 24, 40, 112 and 320 channels. All but the first, which is in [0, 6], are linear: no activation
    follows a block's last convolution.
    """
    outputs = block_outputs(params, images)
    return [outputs[0], *(outputs[i] for i, stride in enumerate(STRIDES) if stride == 2 and i > 1), outputs[-1]]


def block_outputs(params: Params, images: jax.Array, blocks: int = len(STRIDES)) -> list[jax.Array]:
    """Images [N, H, W, 3] in [0, 255] -> the output of the stem, then those of the first `blocks` blocks."""
    x = (images - MEAN) / DEVIATION
    x = _relu6(xla_conv(x, params["stem"]["kernel"], stride=2) + params["stem"]["bias"])
    outputs = [x]
    for i, stride in enumerate(STRIDES[:blocks]):
        name = f"block{i}"
        y = _relu6(_pointwise(x, params, f"{name}.expand")) if i else x
        layer = params[f"{name}.depthwise"]
        y = _relu6(depthwise_conv(y, layer["kernel"], stride) + layer["bias"])
        y = _pointwise(y, params, f"{name}.project")
        x = x + y if x.shape == y.shape else y
        outputs.append(x)
    return outputs


def _relu6(x: jax.Array) -> jax.Array:
    return jnp.clip(x, 0, 6)


def _pointwise(x: jax.Array, params: Params, layer: str) -> jax.Array:
    return x @ params[layer]["kernel"][0, 0] + params[layer]["bias"]
