"""The 468 points of a face (Kartynnik et al., arXiv 1907.06724)."""

import jax
import jax.numpy as jnp

from bitmoji_jax.faces.layers import Params, blaze_block, conv, for_one_image, pointwise, prelu

SIZE = 192
"""Side of the input in pixels."""

_STRIDES = (1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1)  # of each block of the trunk


def mesh(params: Params, images: jax.Array) -> jax.Array:
    """Images float [N, 192, 192, 3] in [0, 1], of an upright face two thirds as wide -> float32 [N, 469, 3].

    These are the points (x, y, z) in pixels of the image, z away from the camera and relative to the middle of the
    head; then the logit of there being a face, three times.
    """
    x = prelu(conv(images, params["stem"], 2), params["stem.prelu"])
    for i, stride in enumerate(_STRIDES):
        x = _block(x, params, f"block{i}", stride)
    face = _head(_block(x, params, "face.block0", 2), params, "face")
    for i, stride in enumerate((2, 1, 1)):
        x = _block(x, params, f"points.block{i}", stride)
    points = _head(x, params, "points").reshape(len(images), 468, 3)
    return jnp.concatenate([points, jnp.broadcast_to(face[..., None], (len(images), 1, 3))], axis=1)


def _block(x: jax.Array, params: Params, name: str, stride: int) -> jax.Array:
    return prelu(blaze_block(x, params, name, stride), params[f"{name}.prelu"])


def _head(x: jax.Array, params: Params, name: str) -> jax.Array:
    x = prelu(pointwise(x, params[f"{name}.narrow"]), params[f"{name}.narrow.prelu"])
    x = _block(x, params, f"{name}.last", 1)
    out = params[f"{name}.out"]
    # A 3x3 convolution of the 3x3 pixels that are left.
    return x.reshape(len(x), -1) @ out["kernel"].reshape(-1, out["bias"].shape[0]) + out["bias"]


measure = for_one_image(mesh, "mesh")
