"""The three face networks: detector, mesh of points and segmentation, each a function of its weights and images.

They are Google's (MediaPipe, Apache-2.0, see NOTICE_FACES), converted by `tools/convert_mediapipe.py`. They are written
out block by block, not interpreted from TFLite graphs: that is shorter, and shows what is computed.
"""

import functools
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from bitmoji_jax.cache import use_compilation_cache
from bitmoji_jax.files import read_weights
from bitmoji_jax.forks import check_not_forked
from bitmoji_jax.ops.conv import depthwise_conv, patch_conv, xla_conv
from bitmoji_jax.ops.platform import on_cpu

WEIGHTS = Path(__file__).parent / "face_networks.safetensors"
SIZES = {"detector": 128, "mesh": 192, "segmentation": 256}
"""Side in pixels of each network's input."""

Layer = Mapping[str, Any]
"""Its kernel [h, w, in, out] and bias [out], or the slope [out] of a PReLU."""
Params = Mapping[str, Layer]
"""Layers by name."""

DETECTOR_STRIDES = (1, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)  # of each block
FINE = 10  # the detector's last block at 16x16; the others are at 8x8
MESH_STRIDES = (1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1)  # of each block of the trunk
# Segmentation: stride; whether the activation is hard swish (or ReLU), gated by squeeze and excitation, residual.
BLOCKS = (
    *((2, False, True, False), (2, False, False, False), (1, False, False, True), (2, True, True, False)),
    *[(1, True, True, True)] * 4,
)
SKIPS = (0, 2)  # blocks whose output goes to the decoder, besides the stem's


@functools.cache
def load_params(network: str) -> Params:
    """Reads the parameters of "detector", "mesh" or "segmentation", as float32; RunError where the file is damaged.

    They are NumPy's, since functions that JAX traces call this too.
    """
    params: Params = flax.traverse_util.unflatten_dict(read_weights(WEIGHTS), sep="/")[network]
    return params


def run_network(name: str, image: np.ndarray) -> np.ndarray:
    """Applies "detector", "mesh" or "segmentation" to one image, uint8 [size, size, 3] of the side in `SIZES`."""
    check_not_forked()
    with _loading:
        compiled = _compiled(name)
    return np.asarray(compiled(image))


_loading = threading.Lock()  # `functools.cache` alone lets threads that come at the same time each compile their own


@functools.cache
def _compiled(name: str) -> Callable[[np.ndarray], jax.Array]:
    use_compilation_cache()
    network = {"detector": detector, "mesh": mesh, "segmentation": segmentation}[name]
    compiled = jax.jit(lambda params, image: network(params, image[None].astype(jnp.float32) / 255)[0])
    # All at once: one by one JAX would compile a program for each shape, seconds in all.
    return functools.partial(compiled, jax.device_put(load_params(name)))


def detector(params: Params, images: jax.Array) -> jax.Array:
    """Images float [N, 128, 128, 3] in [0, 1] -> float32 [N, 896, 17], one row for each anchor.

    A row is a score in [0, 1] and eight points (x, y) in fractions of the image: the centre and the size of the box,
    then the eyes (the one on the left of the image first), nose, mouth, and both tragions.
    """
    images, stem = images * 2 - 1, params["stem"]
    # On a CPU the whole network takes half the time with `patch_conv`, which computes the same.
    x = patch_conv(images, stem["kernel"], 2, ((1, 2), (1, 2))) if on_cpu() else xla_conv(images, stem["kernel"], 2)
    x = jax.nn.relu(x + stem["bias"])
    for i, stride in enumerate(DETECTOR_STRIDES):
        x = jax.nn.relu(_blaze_block(x, params, f"block{i}", stride))
        if i == FINE:
            fine = x
    rows = []
    for name, features in (("fine", fine), ("coarse", x)):
        scores = jax.nn.sigmoid(_pointwise(features, params[f"{name}.scores"])).reshape(len(images), -1, 1)
        boxes = _pointwise(features, params[f"{name}.boxes"]).reshape(len(images), -1, 16)
        rows.append(jnp.concatenate([scores, boxes / SIZES["detector"]], axis=-1))
    return jnp.concatenate(rows, axis=1) + anchors()


@functools.cache
def anchors() -> np.ndarray:
    """What is added to each row: 0 to score and size, the anchor's centre to all else. float32 [896, 17]."""
    rows = []
    for cells, count in ((16, 2), (8, 6)):
        y, x = (np.mgrid[:cells, :cells] + 0.5) / cells
        cell = np.stack([0 * x, x, y, 0 * x, 0 * x, *[x, y] * 6], axis=-1)
        rows.append(np.repeat(cell.reshape(-1, 17), count, axis=0))
    return np.concatenate(rows).astype(np.float32)


def mesh(params: Params, images: jax.Array) -> jax.Array:
    """Images float [N, 192, 192, 3] in [0, 1], of an upright face two thirds as wide -> float32 [N, 469, 3].

    These are the points (x, y, z) in pixels of the image, z away from the camera and relative to the middle of the
    head; then the logit of there being a face, three times.
    """
    x = _prelu(_conv(images, params["stem"], 2), params["stem.prelu"])
    for i, stride in enumerate(MESH_STRIDES):
        x = _mesh_block(x, params, f"block{i}", stride)
    face = _mesh_head(_mesh_block(x, params, "face.block0", 2), params, "face")
    for i, stride in enumerate((2, 1, 1)):
        x = _mesh_block(x, params, f"points.block{i}", stride)
    points = _mesh_head(x, params, "points").reshape(images.shape[0], 468, 3)
    return jnp.concatenate([points, jnp.broadcast_to(face[..., None], (images.shape[0], 1, 3))], axis=1)


def _mesh_block(x: jax.Array, params: Params, name: str, stride: int) -> jax.Array:
    return _prelu(_blaze_block(x, params, name, stride), params[f"{name}.prelu"])


def _mesh_head(x: jax.Array, params: Params, name: str) -> jax.Array:
    x = _prelu(_pointwise(x, params[f"{name}.narrow"]), params[f"{name}.narrow.prelu"])
    x = _mesh_block(x, params, f"{name}.last", 1)
    out = params[f"{name}.out"]
    # A 3x3 convolution of the 3x3 pixels that are left.
    return x.reshape(x.shape[0], -1) @ out["kernel"].reshape(-1, out["bias"].shape[0]) + out["bias"]


def segmentation(params: Params, images: jax.Array) -> jax.Array:
    """Images float [N, 256, 256, 3] in [0, 1] -> each pixel's probability of a person, [N, 256, 256]."""
    x = jax.nn.hard_swish(_conv(images, params["stem"], 2))
    skips = [x]
    for i, block in enumerate(BLOCKS):
        x = _inverted_residual(x, params, f"block{i}", *block)
        if i in SKIPS:
            skips.append(x)
    gate = jax.nn.sigmoid(_pointwise(x.mean(axis=(1, 2), keepdims=True), params["pool.gate"]))
    x = jax.nn.relu(_pointwise(x, params["pool"])) * gate
    for i, skip in enumerate(reversed(skips)):
        x = _decode(x, skip, params, f"decode{i}")
    return jax.nn.sigmoid(_double(x, params["out"]))


def _inverted_residual(
    x: jax.Array, params: Params, name: str, stride: int, hard_swish: bool, gated: bool, residual: bool
) -> jax.Array:
    """MobileNetV3's block (arXiv 1905.02244, figure 4), with a plain sigmoid as its gate."""
    activation = jax.nn.hard_swish if hard_swish else jax.nn.relu
    y = activation(_pointwise(x, params[f"{name}.expand"]))
    y = activation(_depthwise(y, params[f"{name}.depthwise"], stride))
    if gated:
        y = y * _gate(y, params, name)
    y = _pointwise(y, params[f"{name}.project"])
    return x + y if residual else y


def _decode(x: jax.Array, skip: jax.Array, params: Params, name: str) -> jax.Array:
    """Doubles the resolution and adds the encoder's features of that size, gated by the sum of both."""
    n, height, width, channels = x.shape
    x = jax.image.resize(x, (n, 2 * height, 2 * width, channels), "bilinear")
    x = _pointwise(x, params[f"{name}.narrow"])
    x = x + skip * _gate(x + skip, params, name)
    x = jax.nn.relu(_pointwise(x, params[f"{name}.mix"]))
    return x + jax.nn.relu(_depthwise(x, params[f"{name}.depthwise"], 1))


def _gate(x: jax.Array, params: Params, name: str) -> jax.Array:
    """Computes a factor in [0, 1] for each channel, [N, 1, 1, C] (squeeze and excitation, arXiv 1709.01507)."""
    squeezed = jax.nn.relu(_pointwise(x.mean(axis=(1, 2), keepdims=True), params[f"{name}.squeeze"]))
    return jax.nn.sigmoid(_pointwise(squeezed, params[f"{name}.excite"]))


def _double(x: jax.Array, layer: Layer) -> jax.Array:
    """Transposed convolution of 2x2 at stride 2 to one channel: each pixel becomes four, [N, 2H, 2W]."""
    n, height, width, _ = x.shape
    four = jnp.einsum("nhwc,ijc->nhiwj", x, layer["kernel"][..., 0])
    return four.reshape(n, 2 * height, 2 * width) + layer["bias"]


def _conv(x: jax.Array, layer: Layer, stride: int) -> jax.Array:
    """Convolution with "SAME" padding, and bias."""
    return xla_conv(x, layer["kernel"], stride) + layer["bias"]


def _pointwise(x: jax.Array, layer: Layer) -> jax.Array:
    """1x1 convolution and bias."""
    return x @ layer["kernel"][0, 0] + layer["bias"]


def _depthwise(x: jax.Array, layer: Layer, stride: int) -> jax.Array:
    """Depthwise convolution and bias."""
    return depthwise_conv(x, layer["kernel"], stride) + layer["bias"]


def _prelu(x: jax.Array, layer: Layer) -> jax.Array:
    """x where positive, else x times the channel's slope."""
    return jnp.where(x >= 0, x, x * layer["slope"])


def _blaze_block(x: jax.Array, params: Params, name: str, stride: int) -> jax.Array:
    """Depthwise and 1x1 convolution plus a shortcut, before the activation (BlazeFace, arXiv 1907.05047, section 3).

    The shortcut is max-pooled at stride 2, and padded with zero channels where the block widens.
    """
    y = _pointwise(_depthwise(x, params[f"{name}.depthwise"], stride), params[f"{name}.project"])
    if stride == 2:
        n, height, width, channels = x.shape
        x = x.reshape(n, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, y.shape[-1] - x.shape[-1]))) + y
