"""The image pool: discriminators learn from earlier generated images too (arXiv 1612.07828, section 2.3)."""

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from bitmoji_jax.training.sample import Sample


@flax.struct.dataclass
class ImagePool:
    """Up to `len(images)` generated images, kept inside the compiled step, with the condition each was made under."""

    images: jax.Array  # float32 [pool size, H, W, 3] in [-1, 1]
    count: jax.Array  # int32 [], how many of them are filled
    conditions: jax.Array | None = None  # float32 [pool size, H, W, C]; None where the generators take none


def empty_pool(size: int, like: Sample) -> ImagePool:
    """Returns a pool for `size` images and conditions shaped as those of `like`."""
    images, conditions = jax.tree.map(
        lambda a: jnp.zeros((size, *a.shape[1:]), jnp.float32), (like.image, like.condition)
    )
    return ImagePool(images=images, count=jnp.zeros((), jnp.int32), conditions=conditions)


def query_pool(pool: ImagePool, sample: Sample, keys: jax.Array) -> tuple[Sample, ImagePool]:
    """Passes generated images through the pool, one after the other, each with its condition.

    While the pool fills, an image is stored and returned. Then, with probability 1/2 each, it is returned as it is,
    or it takes the place of a random older one, which is returned.

    Args:
      pool: the pool.
      sample: the images, [N, H, W, 3].
      keys: [N] random keys, one an image, so that the result does not depend on how images are batched.

    Returns:
      The sample for the discriminator, and the new pool.
    """
    size = len(pool.images)

    def query_one(carry: Any, item: Any) -> tuple[Any, Any]:
        (stored, count), (new, key) = carry, item
        coin_key, slot_key = jax.random.split(key)
        filling = count < size
        slot = jnp.where(filling, count, jax.random.randint(slot_key, (), 0, size))
        swap = ~filling & jax.random.bernoulli(coin_key)
        old = jax.tree.map(lambda a: a[slot], stored)
        stored = jax.tree.map(lambda a, n, o: a.at[slot].set(jnp.where(filling | swap, n, o)), stored, new, old)
        shown = jax.tree.map(lambda n, o: jnp.where(swap, o, n), new, old)
        return (stored, jnp.minimum(count + 1, size)), shown

    stored, new = (pool.images, pool.conditions), (sample.image, sample.condition)
    ((images, conditions), count), (image, condition) = jax.lax.scan(query_one, (stored, pool.count), (new, keys))
    shown = dataclasses.replace(sample, image=image, condition=condition)
    return shown, ImagePool(images=images, count=count, conditions=conditions)
