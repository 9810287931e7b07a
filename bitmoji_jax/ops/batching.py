"""Batch sizes of compiled functions, and how a batch goes through a network fastest."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from bitmoji_jax.forks import check_not_forked
from bitmoji_jax.ops.image import check_images, resize, to_float, to_uint8
from bitmoji_jax.ops.platform import on_cpu

BATCHES = (32, 8, 1)
"""Sizes that programs are compiled for; the largest bounds memory."""

_LEAST_FILLED = 0.75  # of a batch; the rest is padding, computed and dropped


def map_images(network: Callable[[jax.Array], Any], images: jax.Array) -> Any:
    """Applies `network` to a batch [N, ...]; on a CPU one image after the other, within one compiled program.

    `network` returns an array [N, ...] or a tree of them. On a CPU a batch's activations exceed the caches:
    EfficientNet-Lite0 is 4 times as fast one by one, see benchmarks/NOTES.md. Not for networks that mix images, as
    batch norm does.
    """
    if on_cpu():
        return jax.lax.map(lambda image: jax.tree.map(lambda array: array[0], network(image[None])), images)
    return network(images)


def map_samples(function: Callable[[Any], Any], samples: Any) -> Any:
    """Applies a function of one sample to a tree of arrays [N, ...]; one after the other on a CPU, as `map_images`."""
    return jax.lax.map(function, samples) if on_cpu() else jax.vmap(function)(samples)


def in_batches(function: Callable[[np.ndarray], Any], images: np.ndarray, batches: Sequence[int] = BATCHES) -> Any:
    """Applies a function that is compiled for each batch size to any number of images; the last batch is padded.

    `function` maps [B, H, W, C] to an array [B, ...] or a tree of them, `images` are [N, H, W, C], N may be 0, and
    `batches` are the values of B, descending. Returns NumPy arrays [N, ...] in the structure of `function`'s results.
    """
    check_not_forked()
    parts: list[Any] = []
    start = 0
    while start < len(images) or not parts:
        left = len(images) - start
        batch = next((size for size in batches if left >= _LEAST_FILLED * size), batches[-1])
        part = images[start : start + batch]
        # Copied now, so that at most one batch of results is on the device.
        parts.append(jax.tree.map(np.asarray, function(np.pad(part, ((0, batch - len(part)), (0, 0), (0, 0), (0, 0))))))
        start += batch
    return jax.tree.map(lambda *arrays: np.concatenate(arrays)[: len(images)], *parts)


def resized(images: np.ndarray, size: int) -> np.ndarray:
    """Resizes uint8 [N, H, H, 3] to uint8 [N, size, size, 3], as a translator resizes its input."""
    check_images(images)
    if images.shape[1] == size:
        return images
    return in_batches(functools.partial(_resized_batch, size=size), images)


@functools.partial(jax.jit, static_argnames="size")
def _resized_batch(images: jax.Array, size: int) -> jax.Array:
    return to_uint8(resize(to_float(images), size))
