"""BlazeFace, short range: faces in a square picture, with six points each (arXiv 1907.05047)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from bitmoji_jax.faces.layers import Layer, Params, blaze_block, conv, for_one_image, pointwise
from bitmoji_jax.ops.conv import patch_conv
from bitmoji_jax.ops.platform import on_cpu

SIZE = 128
"""Side of the input in pixels."""

_STRIDES = (1, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)  # of each block
_FINE = 10  # the last block at 16x16; the others are at 8x8


def detector(params: Params, images: jax.Array) -> jax.Array:
    """Images float [N, 128, 128, 3] in [0, 1] -> float32 [N, 896, 17], one row for each anchor.

    A row is a score in [0, 1] and eight points (x, y) in fractions of the image: the centre and the size of the box,
    then the eyes (the one on the left of the image first), nose, mouth, and both tragions.
    """
    x = jax.nn.relu(_first_conv(images * 2 - 1, params["stem"]))
    for i, stride in enumerate(_STRIDES):
        x = jax.nn.relu(blaze_block(x, params, f"block{i}", stride))
        if i == _FINE:
            fine = x
    rows = []
    for name, features in (("fine", fine), ("coarse", x)):
        scores = jax.nn.sigmoid(pointwise(features, params[f"{name}.scores"])).reshape(len(images), -1, 1)
        boxes = pointwise(features, params[f"{name}.boxes"]).reshape(len(images), -1, 16)
        rows.append(jnp.concatenate([scores, boxes / SIZE], axis=-1))
    return jnp.concatenate(rows, axis=1) + _anchors()


def _first_conv(x: jax.Array, layer: Layer) -> jax.Array:
    """The 5x5 convolution of stride 2, and bias."""
    if on_cpu():
        # The whole network takes 2.1 ms an image with it and 4.2 without (least of 60 interleaved calls, jax 0.10.2,
        # one core of two, under load, 2026-11-26).
        return patch_conv(x, layer["kernel"], 2, ((1, 2), (1, 2))) + layer["bias"]
    return conv(x, layer, 2)


@functools.cache
def _anchors() -> np.ndarray:
    """What is added to each row: 0 to score and size, the anchor's centre to all else. float32 [896, 17]."""
    rows = []
    for cells, count in ((16, 2), (8, 6)):
        y, x = (np.mgrid[:cells, :cells] + 0.5) / cells
        cell = np.stack([0 * x, x, y, 0 * x, 0 * x, *[x, y] * 6], axis=-1)
        rows.append(np.repeat(cell.reshape(-1, 17), count, axis=0))
    return np.concatenate(rows).astype(np.float32)


detect = for_one_image(detector, "detector")


def suppress(rows: np.ndarray, overlap: float = 0.3) -> np.ndarray:
    """Merges rows of the same face (weighted non-maximum suppression): the average by score, with the best score.

    Args:
      rows: float [N, 17] as of `detector`, of one picture, in any unit of length.
      overlap: intersection over union from which two boxes are the same face's.

    Returns:
      float [M, 17], the best score first.
    """
    rows = rows[np.argsort(-rows[:, 0], kind="stable")]
    merged = [rows[:0]]
    while len(rows):
        same = _overlap(rows[0], rows) >= overlap
        same[0] = True  # even a box that has no area
        row = np.average(rows[same], axis=0, weights=rows[same, 0])
        row[0] = rows[0, 0]
        merged.append(row[None])
        rows = rows[~same]
    return np.concatenate(merged)


def _overlap(row: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Intersection over union of the box of `row` [17] with those of `rows` [N, 17]: [N]."""
    low = np.maximum(row[1:3] - row[3:5] / 2, rows[:, 1:3] - rows[:, 3:5] / 2)
    high = np.minimum(row[1:3] + row[3:5] / 2, rows[:, 1:3] + rows[:, 3:5] / 2)
    shared = np.maximum(high - low, 0).prod(axis=1)
    return shared / np.maximum(row[3:5].prod() + rows[:, 3:5].prod(axis=1) - shared, 1e-12)
