"""Persons against the background (MediaPipe selfie segmentation): MobileNetV3 blocks, a decoder with gated skips."""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bitmoji_jax.faces.layers import Params, conv, depthwise, pointwise
from bitmoji_jax.ops.batching import map_images

SIZE = 256
"""Side of the input in pixels."""


class _Block(NamedTuple):
    stride: int
    hard_swish: bool  # rather than ReLU
    gated: bool  # by squeeze and excitation
    residual: bool


_BLOCKS = (
    _Block(2, False, True, False),
    _Block(2, False, False, False),
    _Block(1, False, False, True),
    _Block(2, True, True, False),
    *[_Block(1, True, True, True)] * 4,
)
_SKIPS = (0, 2)  # blocks whose output the decoder sees, besides the stem's


def segmentation(params: Params, images: jax.Array) -> jax.Array:
    """Images float [N, 256, 256, 3] in [0, 1] -> a logit for each pixel, [N, 256, 256]: positive where a person is."""
    x = jax.nn.hard_swish(conv(images, params["stem"], 2))
    skips = [x]
    for i, block in enumerate(_BLOCKS):
        x = _inverted_residual(x, params, f"block{i}", block)
        if i in _SKIPS:
            skips.append(x)
    gate = jax.nn.sigmoid(pointwise(_mean(x), params["pool.gate"]))
    x = jax.nn.relu(pointwise(x, params["pool"])) * gate
    for i, skip in enumerate(reversed(skips)):
        x = _decode(x, skip, params, f"decode{i}")
    return _double(x, params["out"])


def _inverted_residual(x: jax.Array, params: Params, name: str, block: _Block) -> jax.Array:
    """MobileNetV3's block (arXiv 1905.02244, figure 4), with a plain sigmoid as its gate."""
    activation = jax.nn.hard_swish if block.hard_swish else jax.nn.relu
    y = activation(pointwise(x, params[f"{name}.expand"]))
    y = activation(depthwise(y, params[f"{name}.depthwise"], block.stride))
    if block.gated:
        y = y * _gate(y, params, name)
    y = pointwise(y, params[f"{name}.project"])
    return x + y if block.residual else y


def _decode(x: jax.Array, skip: jax.Array, params: Params, name: str) -> jax.Array:
    """Doubles the resolution and adds the encoder's features of that size, gated by what both show."""
    n, height, width, channels = x.shape
    x = jax.image.resize(x, (n, 2 * height, 2 * width, channels), "bilinear")
    x = pointwise(x, params[f"{name}.narrow"])
    x = x + skip * _gate(x + skip, params, name)
    x = jax.nn.relu(pointwise(x, params[f"{name}.mix"]))
    return x + jax.nn.relu(depthwise(x, params[f"{name}.depthwise"], 1))


def _gate(x: jax.Array, params: Params, name: str) -> jax.Array:
    """A factor in [0, 1] for each channel, [N, 1, 1, C] (squeeze and excitation, arXiv 1709.01507)."""
    squeezed = jax.nn.relu(pointwise(_mean(x), params[f"{name}.squeeze"]))
    return jax.nn.sigmoid(pointwise(squeezed, params[f"{name}.excite"]))


def _mean(x: jax.Array) -> jax.Array:
    return x.mean(axis=(1, 2), keepdims=True)


def _double(x: jax.Array, layer: Mapping[str, jax.Array]) -> jax.Array:
    """Transposed convolution of 2x2 at stride 2 to one channel: each pixel becomes four, [N, 2H, 2W]."""
    n, height, width, _ = x.shape
    four = jnp.einsum("nhwc,ijc->nhiwj", x, layer["kernel"][..., 0])
    return four.reshape(n, 2 * height, 2 * width) + layer["bias"]


@jax.jit
def segment_batch(params: Params, images: jax.Array) -> jax.Array:
    """Uint8 images [N, 256, 256, 3] -> the probability of a person in [0, 1], [N, 256, 256]."""
    logits = map_images(functools.partial(segmentation, params), images.astype(jnp.float32) / 255)
    return jax.nn.sigmoid(logits)
