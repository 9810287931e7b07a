"""The face-recognition network of dlib, as the npm package @vladmandic/face-api ships its weights.

A ResNet-34 with half the filters (dlib, dnn_face_recognition_ex.cpp), whose batch norms are folded into scales. What
face-api computes is computed here: see src/faceRecognitionNet in the package.
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from bitmoji_jax.errors import InputError
from bitmoji_jax.ops.batching import in_batches
from bitmoji_jax.ops.conv import Padding, xla_conv

SIZE = 150
"""Side in pixels of the images that the network sees."""

_MANIFEST = "face_recognition_model-weights_manifest.json"
_MEAN = np.array([122.782, 117.001, 104.298], np.float32)  # of red, green, blue
_BLOCKS = (
    *("conv32_1", "conv32_2", "conv32_3"),
    *("conv64_down", "conv64_1", "conv64_2", "conv64_3"),
    *("conv128_down", "conv128_1", "conv128_2"),
    *("conv256_down", "conv256_1", "conv256_2", "conv256_down_out"),
)
_BATCH = 8
_NONE: Padding = ((0, 0), (0, 0))

Params = Mapping[str, jax.Array]


def read_network(folder: Path) -> Params:
    """Reads the parameters, float32 by name, from the files of TensorFlow.js in a folder.

    Raises:
      InputError: a file is missing, or is not what the manifest says.
    """
    try:
        (group,) = json.loads((folder / _MANIFEST).read_text())
        stored = b"".join((folder / path).read_bytes() for path in group["paths"])
        return unpack(group["weights"], stored)
    except (OSError, ValueError, KeyError, TypeError) as error:
        package = "install the npm package @vladmandic/face-api and name its folder `model`"
        raise InputError(f"cannot read {_MANIFEST} and its weights in {folder}: {error}: {package}") from error


def unpack(weights: list[dict[str, Any]], stored: bytes) -> Params:
    """Unpacks float32 arrays by name from bytes in the manifest's order, kept as they are or in eight bits.

    ValueError for other types or another number of bytes.
    """
    params, start = {}, 0
    for weight in weights:
        levels = weight.get("quantization")
        kind = np.dtype(levels["dtype"] if levels else weight["dtype"])
        if kind not in (np.uint8, np.float32):
            raise ValueError(f"{weight['name']} is stored as {kind}")
        values = np.frombuffer(stored, kind, int(np.prod(weight["shape"])), start)
        start += values.nbytes
        values = values.reshape(weight["shape"]).astype(np.float32)
        if levels:
            values = values * np.float32(levels["scale"]) + np.float32(levels["min"])
        params[weight["name"]] = jnp.asarray(values)
    if start != len(stored):
        raise ValueError(f"{len(stored)} bytes are stored, not {start}")
    return params


def embed(params: Params, images: np.ndarray) -> np.ndarray:
    """Computes the embeddings, float32 [N, 128], of uint8 images [N, 150, 150, 3] of upright faces."""
    return in_batches(functools.partial(_forward, params), images, [_BATCH])


@jax.jit
def _forward(params: Params, images: jax.Array) -> jax.Array:
    with jax.default_matmul_precision("highest"):
        x = jax.nn.relu(_scaled_conv(params, "conv32_down", (images.astype(jnp.float32) - _MEAN) / 255, 2, _NONE))
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")
        for name in _BLOCKS:
            x = residual_block(params, name, x)
        return x.mean(axis=(1, 2)) @ params["fc"]


def residual_block(params: Params, name: str, x: jax.Array) -> jax.Array:
    """Two convolutions and a shortcut; a block whose name has "down" halves the sides [N, H, W, C] of its input.

    Its shortcut is then the mean of 2 x 2 pixels. Where the convolutions end a row and a column earlier than that, or
    the shortcut has fewer channels, the rest is zeros.
    """
    stride = 2 if "down" in name else 1
    y = jax.nn.relu(_scaled_conv(params, f"{name}/conv1", x, stride, _NONE if stride == 2 else "SAME"))
    y = _scaled_conv(params, f"{name}/conv2", y, 1, "SAME")
    if stride == 2:
        x = jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4
        y = jnp.pad(y, ((0, 0), *((0, x.shape[axis] - y.shape[axis]) for axis in (1, 2)), (0, 0)))
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, y.shape[3] - x.shape[3])))
    return jax.nn.relu(x + y)


def _scaled_conv(params: Params, name: str, x: jax.Array, stride: int, padding: Padding | Literal["SAME"]) -> jax.Array:
    kernel, bias = params[f"{name}/conv/filters"], params[f"{name}/conv/bias"]
    scale, shift = params[f"{name}/scale/weights"], params[f"{name}/scale/biases"]
    return (xla_conv(x, kernel, stride, padding) + bias) * scale + shift
