"""The last step of a guided student: the points of the avatar's face are moved to where the guide has them.

A network that learns from unpaired images draws nearly everybody the usual face. Told where points should be, it learns
to follow slowly; moving them by what is left binds at once, and a small smooth change leaves lines as they are.
"""

import jax
import jax.numpy as jnp

REACH = 0.12
"""Standard deviation, as a fraction of the side, of the surroundings that a point takes along."""
LARGEST = 0.06
"""Change of a point's x or y, as a fraction of the side: more is an error of measurement, and would tear the face."""
STIFFNESS = 0.02
"""Of a fit to all points, as a share: where two that are near should move apart, both give way."""


def move_points(avatar: jax.Array, points: jax.Array, wanted: jax.Array, usual: jax.Array) -> jax.Array:
    """Bends an avatar so that the points of its face come to where they are wanted.

    Each point takes what is around its usual place along, with a weight that falls off as a normal distribution does.

    Args:
      avatar: float32 [S, S, 3].
      points: float32 [P, 2], x and y as fractions, where it has them.
      wanted: likewise, where it should.
      usual: likewise, where avatars have them in the mean.

    Returns:
      float32 [S, S, 3].
    """
    size = avatar.shape[0]
    shifts = mixing(usual) @ jnp.clip(wanted - points, -LARGEST, LARGEST)
    across, down = near(usual, size)
    field = jnp.einsum("pd,py,px->dyx", shifts, down, across)
    columns, rows = (
        jnp.arange(size).reshape(shape) - size * shift for shape, shift in zip(((1, -1), (-1, 1)), field, strict=True)
    )
    return jax.vmap(lambda c: jax.scipy.ndimage.map_coordinates(c, [rows, columns], 1, mode="nearest"), 2, 2)(avatar)


def near(usual: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Returns how much of the shift of points [P, 2] columns and rows take along, float32 [P, S] each."""
    centres = (jnp.arange(size) + 0.5) / size
    across, down = jnp.moveaxis(jnp.exp(-jnp.square((centres - usual[..., None]) / REACH) / 2), 1, 0)
    return across, down


def mixing(usual: jax.Array) -> jax.Array:
    """Returns the matrix [P, P] from wanted shifts of points to those whose sum, with their reach, shifts them so."""
    squared = jnp.sum(jnp.square(usual[:, None] - usual), axis=-1)
    nearness = jnp.exp(-squared / (2 * REACH**2))
    return jnp.linalg.inv(nearness + STIFFNESS * jnp.eye(len(usual)))
