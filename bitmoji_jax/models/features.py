"""Features of images by networks that others trained, for distances between sets of images."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from bitmoji_jax.files import read_weights
from bitmoji_jax.ops.batching import in_batches, map_images
from bitmoji_jax.ops.image import check_images

Params = Mapping[str, Mapping[str, jax.Array]]
"""By the name of a layer: its kernel [h, w, in, out] and bias [out], float32."""

Features = Callable[[np.ndarray], np.ndarray]
"""uint8 images [N, S, S, 3], any N and S -> float32 [N, D]."""

_SIZE = 224
_BATCH = 32


def load_params(path: Path) -> Params:
    """Reads parameters that come with the package; RunError if the file is missing or damaged."""
    # All at once: one by one JAX would compile a program for each shape, seconds in all.
    return jax.device_put(flax.traverse_util.unflatten_dict(read_weights(path), sep="/"))


def make_features(network: Callable[[Params, jax.Array], jax.Array], params: Params) -> Features:
    """Makes the function from images to features: batches of 32, the last one padded, compiled once for each size.

    `network` maps its parameters and float32 images [N, 224, 224, 3] in [0, 255] to [N, D], each image on its own. The
    result raises ValueError for anything but uint8 images [N, S, S, 3].
    """

    def pooled(params: Params, images: jax.Array) -> jax.Array:
        # Full precision, or an accelerator's shorter products would make a score depend on where it was taken.
        with jax.default_matmul_precision("highest"):
            shape = (len(images), _SIZE, _SIZE, 3)
            return network(params, jax.image.resize(images.astype(jnp.float32), shape, "cubic", antialias=True))

    compiled = jax.jit(lambda params, images: map_images(functools.partial(pooled, params), images))

    def features(images: np.ndarray) -> np.ndarray:
        check_images(images)
        return in_batches(functools.partial(compiled, params), images, [_BATCH])

    return features
