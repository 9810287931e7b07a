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
import safetensors.numpy

from bitmoji_jax.errors import RunError
from bitmoji_jax.ops.batching import map_images
from bitmoji_jax.ops.conv import xla_conv
from bitmoji_jax.ops.depthwise import depthwise_conv
from bitmoji_jax.ops.platform import on_cpu

WEIGHTS = Path(__file__).parent / "weights.safetensors"

Layer = Mapping[str, jax.Array]
"""Its kernel [h, w, in, out] and bias [out], or the slope [out] of a PReLU."""
Params = Mapping[str, Layer]
"""Layers by name."""


@functools.cache
def load_params(network: str) -> Params:
    """Reads the parameters of "detector", "mesh" or "segmentation", as float32, once from the package's float16 file.

    Raises:
      RunError: the file is missing or damaged.
    """
    try:
        arrays = safetensors.numpy.load_file(WEIGHTS)
    except (OSError, safetensors.SafetensorError) as error:
        raise RunError(f"{WEIGHTS} is missing or damaged, install the package again: {error}") from error
    params = flax.traverse_util.unflatten_dict(arrays, sep="/")[network]
    # As NumPy arrays, and all at once: one by one JAX would compile a program for each shape, seconds in all.
    return jax.device_put(jax.tree.map(lambda array: array.astype(np.float32), params))


def compiled(network: Callable[[Params, jax.Array], jax.Array]) -> Callable[[Params, np.ndarray], jax.Array]:
    """Compiles a network of float images in [0, 1] for uint8 images [N, size, size, 3]: one by one on a CPU."""

    @jax.jit
    def of_uint8(params: Params, images: jax.Array) -> jax.Array:
        return map_images(functools.partial(network, params), images.astype(jnp.float32) / 255)

    return of_uint8


def conv(x: jax.Array, layer: Layer, stride: int) -> jax.Array:
    """Convolution with "SAME" padding, and bias."""
    convolve = patch_conv if on_cpu() else xla_conv
    return convolve(x, layer["kernel"], stride) + layer["bias"]


def patch_conv(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Computes `xla_conv` with "SAME" padding as one product with all patches: faster on a CPU for few channels in.

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
