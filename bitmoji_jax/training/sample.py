"""Images as they go through the step, with what is known of them."""

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp

from bitmoji_jax.data.builder import GENDERS

DOMAINS = ("x", "y")
"""X: photos; Y: avatars."""


@flax.struct.dataclass
class Sample:
    """N images of one domain, real or generated, and what is known of them.

    A translation keeps all but `image` of the sample it was made from; an image pool keeps `image` and `condition`.
    """

    image: jax.Array  # float32 [N, S, S, 3] in [-1, 1]
    landmarks: jax.Array | None = None  # float32 [N, 5, 2], x and y as fractions of the image, NaN where unknown
    key: jax.Array | None = None  # [N] random keys, for what is drawn after augmentation
    condition: jax.Array | None = None  # float32 [N, S, S, C] beside the image for g and f; for s [N, GUIDE]
    gender: jax.Array | None = None  # int32 [N], an index into `data.builder.GENDERS`
    known: jax.Array | None = None  # bool [N, S, S, 1], of a target: where a network should learn from it
    features: Sequence[jax.Array] | None = None  # float32 [N, h, w, c], the feature maps that critics of them see

    def is_female(self) -> tuple[jax.Array, jax.Array]:
        """Returns bool [N], the class of each image, and bool [N], whether it is known."""
        assert self.gender is not None
        return self.gender == GENDERS.index("female"), self.gender != GENDERS.index("unknown")


def signed_gender(gender: jax.Array, unknown: jax.Array | float = 0.0) -> jax.Array:
    """Returns genders as float32 of the same shape: 1 for a woman, -1 for a man, and `unknown` where there is no label.

    `gender` are int32 indices into `data.builder.GENDERS`.
    """
    female = jnp.where(gender == GENDERS.index("female"), 1.0, -1.0)
    return jnp.where(gender == GENDERS.index("unknown"), unknown, female)


Pair = dict[str, Sample]  # keys x, y


def concatenate(a: Sample, b: Sample) -> Sample:
    """Joins two samples along the batch."""
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), a, b)
