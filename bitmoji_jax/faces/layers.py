"""Weights and layers of the three face networks.

The networks are Google's (MediaPipe, Apache-2.0, see NOTICE), converted by `tools/convert_mediapipe.py`. They are
written out block by block, not interpreted from TFLite graphs: that is shorter, and shows what is computed.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from bitmoji_jax.files import read_weights
from bitmoji_jax.ops.conv import depthwise_conv, xla_conv

WEIGHTS = Path(__file__).parent / "weights.safetensors"

Layer = Mapping[str, jax.Array]
"""Its kernel [h, w, in, out] and bias [out], or the slope [out] of a PReLU."""
Params = Mapping[str, Layer]
"""Layers by name."""


@functools.cache
def load_params(network: str) -> Params:
    """Reads the parameters of "detector", "mesh" or "segmentation", as float32; RunError where the file is damaged."""
    params = flax.traverse_util.unflatten_dict(read_weights(WEIGHTS), sep="/")[network]
    # All at once: one by one JAX would compile a program for each shape, seconds in all.
    return jax.device_put(params)


def for_one_image(network: Callable[[Params, jax.Array], jax.Array], name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Compiles a network with its weights for one image: uint8 [size, size, 3] instead of float [N, size, size, 3]."""
    compiled = jax.jit(lambda params, image: network(params, image[None].astype(jnp.float32) / 255)[0])
    return lambda image: np.asarray(compiled(load_params(name), image))


def conv(x: jax.Array, layer: Layer, stride: int) -> jax.Array:
    """Convolution with "SAME" padding, and bias."""
    return xla_conv(x, layer["kernel"], stride) + layer["bias"]


def pointwise(x: jax.Array, layer: Layer) -> jax.Array:
    """1x1 convolution and bias."""
    return x @ layer["kernel"][0, 0] + layer["bias"]


def depthwise(x: jax.Array, layer: Layer, stride: int) -> jax.Array:
    """Depthwise convolution and bias."""
    return depthwise_conv(x, layer["kernel"], stride) + layer["bias"]


def prelu(x: jax.Array, layer: Layer) -> jax.Array:
    """x where positive, else x times the channel's slope."""
    return jnp.where(x >= 0, x, x * layer["slope"])


def blaze_block(x: jax.Array, params: Params, name: str, stride: int) -> jax.Array:
    """Depthwise and 1x1 convolution plus a shortcut, before the activation (BlazeFace, arXiv 1907.05047, section 3).

    The shortcut is max-pooled at stride 2, and padded with zero channels where the block widens.
    """
    y = pointwise(depthwise(x, params[f"{name}.depthwise"], stride), params[f"{name}.project"])
    if stride == 2:
        n, height, width, channels = x.shape
        x = x.reshape(n, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, y.shape[-1] - x.shape[-1]))) + y
