"""SqueezeNet v1.1, trained on ImageNet: features for KID by a network that no run is trained with.

It is made of fire modules (a 1x1 convolution to few channels, then 1x1 and 3x3 side by side), without norms, shortcuts
or depthwise convolutions: no part is as in EfficientNet.

The network is Iandola et al.'s (arXiv 1602.07360; github.com/forresti/SqueezeNet), BSD and MIT, see NOTICE;
tools/convert_squeezenet.py made the float16 weights.

Not to be trusted: on blur, JPEG and patterns of 4 pixels (benchmarks/NOTES.md, "KID by two networks").
"""

import functools
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from bitmoji_jax.models.features import Features, Params, load_params, make_features
from bitmoji_jax.ops.conv import xla_conv

WEIGHTS = Path(__file__).parent / "squeezenet.safetensors"

_MEANS = np.array([104.006, 116.669, 122.679], np.float32)  # blue, green, red
SCALE = 8.0
"""Brings the mean square of the features of faces and avatars from 12 and 22 to 0.2 and 0.3, EfficientNet's is 0.2.

KID's kernel, (x·y/d + 1)³, compares the first three moments; of far larger features it would see the third alone.
"""


@functools.cache
def load_squeezenet() -> Features:
    """Loads the features before the classes, float32 [N, 512], 0 and more; RunError if the weights are damaged."""
    return make_features(pooled_features, load_params(WEIGHTS))


def pooled_features(params: Params, images: jax.Array) -> jax.Array:
    """Images [N, H, W, 3] in [0, 255] -> means over the image, scaled, [N, 512]; the network was trained at 227 px."""
    x = _conv(images[..., ::-1] - _MEANS, params["conv1"], stride=2)
    for module in range(2, 10):
        if module in (2, 4, 6):
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")
        squeezed = _conv(x, params[f"fire{module}.squeeze1x1"])
        x = jnp.concatenate([_conv(squeezed, params[f"fire{module}.expand{size}"]) for size in ("1x1", "3x3")], -1)
    return jnp.mean(x, axis=(1, 2)) / SCALE


def _conv(x: jax.Array, layer: Mapping[str, jax.Array], stride: int = 1) -> jax.Array:
    return jax.nn.relu(xla_conv(x, layer["kernel"], stride) + layer["bias"])
