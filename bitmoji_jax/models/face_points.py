"""Points of a face: measured in photos and avatars, and moved to where the avatar of a photo should have them.

The mesh network (models/face_networks.py) was made for photos, and finds the points of drawn faces too. A bitmoji's
proportions are not a person's, so an avatar cannot have its points where the photo has them: `Transport` moves them.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bitmoji_jax.models.face_networks import SIZES, load_params, mesh
from bitmoji_jax.ops.image import resize

POINTS = 12
"""The middles of the eyes, the tip of the nose, the corners of the mouth, the inner edges of upper and lower lip, the
chin, the corners of the jaw, and the brows; of two, first the one that is left in the picture."""
MIRRORED = np.array([1, 0, 2, 4, 3, 5, 6, 7, 9, 8, 11, 10])
"""Their order in a mirrored image."""
_MESH = ((33, 133), (362, 263), (1,), (61,), (291,), (13,), (14,), (152,), (172,), (397,), (105,), (334,))

SELECTION = np.zeros((POINTS, 468), np.float32)
"""Takes them from the points of the mesh; some are the mean of two."""
for _row, _points in zip(SELECTION, _MESH, strict=True):
    _row[list(_points)] = 1 / len(_points)


def measure(images: jax.Array) -> jax.Array:
    """Measures the points of faces in framed photos or avatars, float32 [N, S, S, 3] in [-1, 1], any S.

    Returns float32 [N, POINTS, 2], x and y as fractions of the side.
    """
    size = SIZES["mesh"]
    found = mesh(load_params("mesh"), (resize(images, size) + 1) / 2)[:, :468, :2] / size
    return jnp.einsum("pm,nmd->npd", SELECTION, found)


def from_eyes(points: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Counts points [N, POINTS, 2] from the middle of the eyes; returns that [N, 1, 2] too.

    Where a face lies in its picture is a matter of framing, which is not the same for photos and avatars.
    """
    eyes = points[:, :2].mean(axis=1, keepdims=True)
    return points - eyes, eyes


class Transport(nn.Module):
    """matrix (points - source) + target: points of photos [N, POINTS, 2], from the eyes, -> those of their avatars.

    Its parameters are not trained but fitted, see training/transport.py; at first it changes nothing.
    """

    @nn.compact
    def __call__(self, points: jax.Array) -> jax.Array:
        size = 2 * POINTS
        matrix = self.param("matrix", lambda key: jnp.eye(size))  # noqa: ARG005
        source, target = (self.param(name, nn.initializers.zeros_init(), (size,)) for name in ("source", "target"))
        return ((points.reshape(-1, size) - source) @ matrix.T + target).reshape(points.shape)
