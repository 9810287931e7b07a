"""The network of the judges, its training on corrupted images, and its predictions."""

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import ndimage

from bitmoji_jax.data.augment import MIRRORED_LANDMARKS
from bitmoji_jax.metrics.images import compress_jpeg
from bitmoji_jax.ops.image import resize

SIZE = 64
"""Side in pixels of the images that the network sees."""
BATCH = 32
CLASSES = {
    "gender": ("male", "female"),
    "glasses": ("no glasses", "glasses"),
    "hat": ("no hat", "hat"),
    "mouth_open": ("mouth closed", "mouth open"),
}
"""Names of class 0 and class 1 by classifier."""


class JudgeNet(nn.Module):
    """Images [N, 64, 64, 3] of 0 to 255 -> points [N, 2 domains, 5, 2] and logits [N, classifiers]."""

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        # 4 x 4 pixels become the channels of one, since XLA's CPU convolutions are slow where channels are few.
        x = ((images - 127.5) / 64).reshape(-1, 16, 4, 16, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 16, 16, 48)
        for features, stride in ((48, 1), (96, 2), (96, 1), (96, 1), (128, 2), (128, 1)):
            y = nn.Conv(features, (3, 3), stride, use_bias=False)(x)
            # Without norms landmarks are learnt much more slowly.
            y = nn.relu(nn.LayerNorm(reduction_axes=(1, 2, 3), feature_axes=-1)(y))
            x = x + y if x.shape == y.shape else y
        x = x.reshape(len(x), -1)
        return 0.5 + 0.1 * nn.Dense(20)(x).reshape(-1, 2, 5, 2), nn.Dense(len(CLASSES))(x)


def train_network(images: np.ndarray, points: np.ndarray, classes: np.ndarray, seed: int, steps: int) -> dict[str, Any]:
    """Trains the network with Adam on randomly corrupted images, and returns its parameters.

    Images are uint8 [N, 64, 64, 3], points float32 [N, domains, 5, 2], classes float32 [N, classifiers], 0 or 1; NaN is
    unknown, but each image has a known point or class. A step takes 32 images.
    """
    # Both classes count equally, however many images each has.
    no, yes = ((classes == c) / np.maximum((classes == c).mean(axis=0), 1e-9) for c in (0, 1))
    weights = (0.5 * (no + yes)).astype(np.float32)
    random = np.random.default_rng(seed)
    with ThreadPoolExecutor() as pool:
        compressed = np.stack(list(pool.map(compress_jpeg, images, random.integers(20, 96, len(images)))))
    key = jax.random.key(seed)
    params = jax.jit(JudgeNet().init)(key, jnp.zeros((1, SIZE, SIZE, 3)))
    state = _optimizer.init(params)
    rates = np.asarray(optax.warmup_cosine_decay_schedule(0, 4e-3, steps // 10, steps)(np.arange(steps)))
    epochs = -(-steps * BATCH // len(images))
    order = np.concatenate([random.permutation(len(images)) for _ in range(epochs)])
    for step in range(steps):
        batch = order[step * BATCH : (step + 1) * BATCH]
        seen = np.where(random.random((BATCH, 1, 1, 1)) < 0.5, images[batch], compressed[batch])
        labels = points[batch], classes[batch], weights[batch]
        params, state = _train_step(params, state, rates[step], seen, labels, jax.random.fold_in(key, step))
    return jax.tree.map(np.asarray, params)


_optimizer = optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(1e-4))


@functools.partial(jax.jit, donate_argnums=(0, 1))
def _train_step(params: Any, state: Any, rate: Any, images: Any, labels: Any, key: jax.Array) -> tuple[Any, Any]:
    points, classes, weights = labels
    images, points = jax.vmap(_augment)(images, points, jax.random.split(key, BATCH))
    known = jnp.isfinite(points)

    def loss(params: Any) -> jax.Array:
        found, logits = JudgeNet().apply(params, images)
        distances = jnp.where(known, jnp.abs(found - jnp.where(known, points, 0)), 0)
        errors = optax.sigmoid_binary_cross_entropy(logits, jnp.where(weights > 0, classes, 0)) * weights
        # A distance of a twelfth of the image costs as much as a class guessed at random.
        return 8 * distances.sum() / jnp.maximum(known.sum(), 1) + errors.mean(axis=0).sum()

    updates, state = _optimizer.update(jax.grad(loss)(params), state, params)
    return jax.tree.map(lambda p, u: p - rate * u, params, updates), state


def _augment(image: jax.Array, points: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Moves and corrupts one image [64, 64, 3] of 0 to 255 and its points [2, 5, 2] at random."""
    keys = iter(jax.random.split(key, 14))

    def uniform(low: float, high: float, *shape: int) -> jax.Array:
        return jax.random.uniform(next(keys), shape, minval=low, maxval=high)

    # Mirroring, zoom, shift and blur in two small matrices, one for each axis: x, y.
    mirror = jax.random.bernoulli(next(keys))
    step = jnp.where(mirror, jnp.array([-1, 1]), 1) * uniform(0.92, 1.08) * uniform(0.97, 1.03, 2)
    shift = uniform(-3, 3, 2) / SIZE
    sigma = jnp.maximum(uniform(-1, 2), 0.35) / SIZE
    centres = (jnp.arange(SIZE) + 0.5) / SIZE
    read_at = 0.5 + shift[:, None] + step[:, None] * (centres - 0.5)
    across, down = jax.nn.softmax(-jnp.square((read_at[..., None] - centres) / sigma) / 2, axis=-1)
    x = jnp.einsum("ij,jkc,lk->ilc", down, image.astype(jnp.float32), across)
    points = (points - 0.5 - shift) / step + 0.5
    points = jnp.where(mirror, points[:, MIRRORED_LANDMARKS], points)

    x = (x - 127.5) * uniform(0.8, 1.2) * uniform(0.9, 1.1, 3) + 127.5 + uniform(-20, 20) + uniform(-10, 10, 3)
    cells = jnp.arange(SIZE) // jax.random.randint(next(keys), (), 1, 3)
    board = 1 - 2 * ((cells[:, None] + cells) % 2)
    x = x + board[..., None] * jnp.maximum(uniform(-12, 25), 0) * uniform(0.3, 1, 3)
    x = x + jnp.maximum(uniform(-8, 25), 0) * jax.random.normal(next(keys), x.shape)
    return jnp.clip(x, 0, 255), points


def corrupt(images: np.ndarray) -> dict[str, np.ndarray]:
    """Makes fixed corruptions of uint8 images [N, 64, 64, 3], by name; "clean" are the images themselves."""
    random = np.random.default_rng(0)
    levels = images.astype(np.float32)
    rows, columns = np.indices(images.shape[1:3])[..., None]
    changed = {f"noise {s}": levels + random.normal(0, s, images.shape) for s in (8, 20)}
    changed |= {f"blur {s} px": ndimage.gaussian_filter(levels, (0, s, s, 0)) for s in (1, 2)}
    for amplitude, period in ((8, 2), (16, 4)):
        board = 1 - 2 * ((rows // (period // 2) + columns // (period // 2)) % 2)
        changed[f"checkerboard {amplitude}, {period} px"] = levels + amplitude * board
    rounded = {name: values.round().clip(0, 255).astype(np.uint8) for name, values in changed.items()}
    return {"clean": images, **rounded, "JPEG 30": np.stack([compress_jpeg(image, 30) for image in images])}


@jax.jit
def shrink(images: jax.Array) -> jax.Array:
    """Resizes uint8 images [N, S, S, 3] to [N, 64, 64, 3]."""
    return jnp.round(resize(images.astype(jnp.float32), SIZE)).astype(jnp.uint8)


@jax.jit
def predict(params: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Predicts points [N, domains, 5, 2] and logits [N, classifiers] of uint8 images [N, S, S, 3]."""
    # Full precision, or scores would depend on the device: accelerators round products by default.
    with jax.default_matmul_precision("highest"):
        images = resize(images.astype(jnp.float32), SIZE)
        points, logits = JudgeNet().apply(params, jnp.concatenate([images, images[:, :, ::-1]]))
    # The mean with the mirrored image's prediction lowers the error.
    (points, mirrored), (logits, logits_mirrored) = jnp.split(points, 2), jnp.split(logits, 2)
    return (points + _mirror(mirrored)) / 2, (logits + logits_mirrored) / 2


def _mirror(points: jax.Array) -> jax.Array:
    return points.at[..., 0].set(1 - points[..., 0])[..., MIRRORED_LANDMARKS, :]
