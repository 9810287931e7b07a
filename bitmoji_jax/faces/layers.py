"""Weights and layers of the three networks for faces.

The networks are Google's (MediaPipe, Apache-2.0, see NOTICE); tools/convert_mediapipe.py says where their weights come
from. They are written out as the blocks they are made of, not run by an interpreter of TFLite graphs: three regular
networks are shorter that way, and a reader sees what is computed.
"""

import functools
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from bitmoji_jax.files import read_weights
from bitmoji_jax.ops.depthwise import depthwise_conv

WEIGHTS = Path(__file__).parent / "weights.safetensors"

Params = Mapping[str, Mapping[str, jax.Array]]
"""By the name of a layer: its kernel [h, w, in, out] and bias [out], or the slope [out] of a PReLU."""


@functools.cache
def load_params(network: str) -> Params:
    """Float32 parameters of "detector", "mesh" or "segmentation", read once from the package's float16 file.

    Raises:
      RunError: the file is missing or damaged.
    """
    params: dict[str, dict[str, np.ndarray]] = {}
    for name, array in read_weights(WEIGHTS).items():
        owner, layer, kind = name.split("/")
        if owner == network:
            params.setdefault(layer, {})[kind] = array
    # All at once: one by one JAX would compile a program for each shape, seconds in all.
    return jax.device_put(params)


def conv(x: jax.Array, layer: Mapping[str, jax.Array], stride: int) -> jax.Array:
    """Convolution and bias, padded like TensorFlow's "SAME": at stride 2 an even size is padded more at its end."""
    convolve = patch_conv if jax.default_backend() == "cpu" else xla_conv
    return convolve(x, layer["kernel"], stride) + layer["bias"]


def xla_conv(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """The convolution of accelerators."""
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def patch_conv(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """`xla_conv` as a product with all patches, for few channels in.

    The detector takes 3.3 ms with it and 6.8 without (least of 40 interleaved calls, one image, jax 0.10.2 on two cores
    of an Intel Xeon with AVX-512, under load, 2026-11-25).
    """
    height, width, _, out = kernel.shape
    rows, columns = -(-x.shape[1] // stride), -(-x.shape[2] // stride)
    pads = jax.lax.padtype_to_pads(x.shape[1:3], (height, width), (stride, stride), "SAME")
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    taps = [
        x[:, i : i + stride * (rows - 1) + 1 : stride, j : j + stride * (columns - 1) + 1 : stride]
        for i in range(height)
        for j in range(width)
    ]
    return jnp.concatenate(taps, axis=-1) @ kernel.reshape(-1, out)


def pointwise(x: jax.Array, layer: Mapping[str, jax.Array]) -> jax.Array:
    """Convolution of 1x1 and bias."""
    return x @ layer["kernel"][0, 0] + layer["bias"]


def depthwise(x: jax.Array, layer: Mapping[str, jax.Array], stride: int) -> jax.Array:
    """Depthwise convolution and bias."""
    return depthwise_conv(x, layer["kernel"], stride) + layer["bias"]


def prelu(x: jax.Array, layer: Mapping[str, jax.Array]) -> jax.Array:
    """x where positive, else x times the channel's slope."""
    return jnp.where(x >= 0, x, x * layer["slope"])


def blaze_block(x: jax.Array, params: Params, name: str, stride: int) -> jax.Array:
    """Depthwise and 1x1 convolution beside a shortcut, before the activation (BlazeFace, arXiv 1907.05047, section 3).

    The shortcut is pooled at stride 2, and filled up with zeros where there are more channels out than in.
    """
    y = pointwise(depthwise(x, params[f"{name}.depthwise"], stride), params[f"{name}.project"])
    if stride == 2:
        n, height, width, channels = x.shape
        x = x.reshape(n, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, y.shape[-1] - x.shape[-1]))) + y
