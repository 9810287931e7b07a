import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bitmoji_jax.training.image_pool import ImagePool, empty_pool, query_pool
from bitmoji_jax.training.sample import Sample

SIZE = 2  # pixels


@jax.jit
def query(pool: ImagePool, images: jax.Array, keys: jax.Array) -> tuple[jax.Array, ImagePool]:
    shown, pool = query_pool(pool, Sample(images), keys)
    return shown.image, pool


def numbered(numbers: range) -> jax.Array:
    """Images filled with their number."""
    return jnp.ones((len(numbers), SIZE, SIZE, 3)) * jnp.array(numbers)[:, None, None, None]


def new_pool(size: int) -> ImagePool:
    return empty_pool(size, Sample(numbered(range(1))))


def keys_of(count: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


def numbers_in(images: jax.Array) -> list[int]:
    """The numbers of the images, each of which must still be whole."""
    images = np.asarray(images)
    assert (images == images[:, :1, :1, :1]).all()
    return [int(number) for number in images[:, 0, 0, 0]]


def reference_query(pool: list[int], size: int, image: int, swap: bool, slot: int) -> int:
    """What the authors' implementation does (REFERENCE.md), on a list."""
    if len(pool) < size:
        pool.append(image)
        return image
    if not swap:
        return image
    old, pool[slot] = pool[slot], image
    return old


def draws(key: jax.Array, size: int) -> tuple[bool, int]:
    coin_key, slot_key = jax.random.split(key)
    return bool(jax.random.bernoulli(coin_key)), int(jax.random.randint(slot_key, (), 0, size))


def test_a_new_pool_is_empty() -> None:
    pool = new_pool(5)
    assert pool.count == 0
    assert pool.images.shape == (5, SIZE, SIZE, 3)
    assert pool.images.dtype == jnp.float32


def test_while_filling_images_come_back_and_are_stored_in_order() -> None:
    pool = new_pool(5)
    shown, pool = query(pool, numbered(range(1, 4)), keys_of(3))
    assert numbers_in(shown) == [1, 2, 3]
    assert pool.count == 3
    assert numbers_in(pool.images) == [1, 2, 3, 0, 0]
    shown, pool = query(pool, numbered(range(4, 6)), keys_of(2))
    assert numbers_in(shown) == [4, 5]
    assert pool.count == 5
    assert numbers_in(pool.images) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("size", [1, 4])
def test_the_pool_does_what_the_reference_does_with_the_same_draws(size: int) -> None:
    count = 40
    keys = keys_of(count, seed=size)
    pool: list[int] = []
    expected = [
        reference_query(pool, size, number, *draws(key, size))
        for number, key in zip(range(1, count + 1), keys, strict=True)
    ]
    shown, state = query(new_pool(size), numbered(range(1, count + 1)), keys)
    assert numbers_in(shown) == expected
    assert numbers_in(state.images) == pool
    assert state.count == size
    # The case is no trivial one: old images were shown, and new ones went straight through.
    assert 0 < sum(a != b for a, b in zip(expected, range(1, count + 1), strict=True)) < count - size


def test_once_the_pool_is_full_no_image_is_lost_or_shown_twice() -> None:
    shown, pool = query(new_pool(4), numbered(range(1, 61)), keys_of(60))
    after_filling = numbers_in(shown)[4:]
    assert sorted(after_filling + numbers_in(pool.images)) == list(range(1, 61))


def test_after_filling_about_half_of_the_images_shown_are_old_ones_of_every_slot() -> None:
    size, count = 8, 1000
    pool = ImagePool(images=numbered(range(size)), count=jnp.int32(size))
    # Each image asks the same full pool, so that each answer is one coin and one slot.
    ask = jax.vmap(lambda image, key: query(pool, image[None], key[None])[0][0])
    shown = numbers_in(jax.jit(ask)(numbered(range(size, size + count)), keys_of(count)))
    old = [number for number in shown if number < size]
    # Five standard deviations of a binomial distribution.
    assert abs(len(old) - count / 2) < 5 * (count / 4) ** 0.5
    per_slot = np.bincount(old, minlength=size)
    assert (np.abs(per_slot - len(old) / size) < 5 * (len(old) / size) ** 0.5).all()


@pytest.mark.parametrize("already", [1, 2, 4])
def test_how_images_are_batched_makes_no_difference(already: int) -> None:
    _, pool = query(new_pool(4), numbered(range(100, 100 + already)), keys_of(already, seed=9))
    images, keys = numbered(range(1, 7)), keys_of(6)
    at_once, pool_at_once = query(pool, images, keys)
    first, pool_in_parts = query(pool, images[:3], keys[:3])
    second, pool_in_parts = query(pool_in_parts, images[3:], keys[3:])
    assert numbers_in(at_once) == numbers_in(first) + numbers_in(second)
    assert numbers_in(pool_at_once.images) == numbers_in(pool_in_parts.images)
    assert pool_at_once.count == pool_in_parts.count


def test_a_condition_stays_with_its_image() -> None:
    def conditions(images: jax.Array) -> jax.Array:
        return images[..., :2] + 1000

    pool = empty_pool(4, Sample(numbered(range(1)), condition=conditions(numbered(range(1)))))
    images = numbered(range(1, 31))
    shown, pool = jax.jit(query_pool)(pool, Sample(images, condition=conditions(images)), keys_of(30))
    assert numbers_in(shown.image) != list(range(1, 31))
    np.testing.assert_array_equal(shown.condition, conditions(shown.image))
    np.testing.assert_array_equal(pool.conditions, conditions(pool.images))
