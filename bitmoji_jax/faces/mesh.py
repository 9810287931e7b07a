"""The 468 points of a face (Kartynnik et al., arXiv 1907.06724)."""

import functools

import jax
import jax.numpy as jnp

from bitmoji_jax.faces.layers import Params, blaze_block, conv, pointwise, prelu
from bitmoji_jax.ops.batching import map_images

SIZE = 192
"""Side of the input in pixels."""

_STRIDES = (1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1)  # of each block of the trunk


def mesh(params: Params, images: jax.Array) -> jax.Array:
    """The points of an upright face in the middle of each image, about two thirds as wide as it.

    Args:
      params: of "mesh".
      images: float [N, 192, 192, 3] in [0, 1].

    Returns:
      float32 [N, 469, 3]: the points (x, y, z) in pixels of the image, z away from the camera and relative to the
      middle of the head; then, three times, a logit that says whether there is a face.
    """
    x = prelu(conv(images, params["stem"], 2), params["stem.prelu"])
    for i, stride in enumerate(_STRIDES):
        x = _block(x, params, f"block{i}", stride)
    face = _head(_block(x, params, "face.block0", 2), params, "face")
    x = _block(x, params, "points.block0", 2)
    x = _block(x, params, "points.block1", 1)
    points = _head(_block(x, params, "points.block2", 1), params, "points").reshape(len(images), 468, 3)
    return jnp.concatenate([points, jnp.broadcast_to(face[..., None], (len(images), 1, 3))], axis=1)


def _block(x: jax.Array, params: Params, name: str, stride: int) -> jax.Array:
    return prelu(blaze_block(x, params, name, stride), params[f"{name}.prelu"])


def _head(x: jax.Array, params: Params, name: str) -> jax.Array:
    x = prelu(pointwise(x, params[f"{name}.narrow"]), params[f"{name}.narrow.prelu"])
    x = _block(x, params, f"{name}.last", 1)
    out = params[f"{name}.out"]
    # A convolution whose kernel is as large as what is left, 3x3.
    return x.reshape(len(x), -1) @ out["kernel"].reshape(-1, out["bias"].shape[0]) + out["bias"]


@jax.jit
def mesh_batch(params: Params, images: jax.Array) -> jax.Array:
    """`mesh` of uint8 images [N, 192, 192, 3], in the way that is fastest."""
    return map_images(functools.partial(mesh, params), images.astype(jnp.float32) / 255)
