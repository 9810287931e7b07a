"""The image pool: discriminators learn from past generated images too (arXiv 1612.07828, section 2.3)."""

import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class ImagePool:
    """Up to `len(images)` generated images, kept inside the compiled step."""

    images: jax.Array  # float32 [pool size, H, W, 3] in [-1, 1]
    count: jax.Array  # int32 [], how many of them are filled


def empty_pool(size: int, image_size: int) -> ImagePool:
    """A pool for `size` square images of `image_size` pixels; size 0 passes images through."""
    return ImagePool(images=jnp.zeros((size, image_size, image_size, 3), jnp.float32), count=jnp.zeros((), jnp.int32))


def query_pool(pool: ImagePool, images: jax.Array, keys: jax.Array) -> tuple[jax.Array, ImagePool]:
    """Passes images through the pool, one after the other.

    While the pool fills, an image is stored and returned. Then, with probability 1/2 each, it is returned as it is,
    or it takes the place of a random older one, which is returned.

    Args:
      pool: the pool.
      images: float32 [N, H, W, 3].
      keys: [N] random keys, one an image, so that the result does not depend on how images are batched.

    Returns:
      The images for the discriminator, of the shape of `images`, and the new pool.
    """
    size = pool.images.shape[0]
    if size == 0:
        return images, pool

    def query_one(pool: ImagePool, item: tuple[jax.Array, jax.Array]) -> tuple[ImagePool, jax.Array]:
        image, key = item
        coin_key, slot_key = jax.random.split(key)
        filling = pool.count < size
        slot = jnp.where(filling, pool.count, jax.random.randint(slot_key, (), 0, size))
        old = pool.images[slot]
        swap = ~filling & jax.random.bernoulli(coin_key)
        stored = jnp.where(filling | swap, image, old)
        pool = ImagePool(images=pool.images.at[slot].set(stored), count=jnp.minimum(pool.count + 1, size))
        return pool, jnp.where(swap, old, image)

    pool, chosen = jax.lax.scan(query_one, pool, (images, keys))
    return chosen, pool
