"""Small networks that judge a translator, trained on the dataset's own labels.

For avatars: is this a woman, does it wear glasses, a hat. For photos and avatars: where are eyes, nose and mouth
corners. One network answers all of it, so that the two domains share what they have in common and a minute is enough.

It is meant for what a half-trained translator draws. A classifier trained on clean avatars called most rough drawings
of men women, so every training image is spoilt at random, and what the judges reach on spoilt held-out images is
reported beside every score they give.
"""

import dataclasses
import functools
import io
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image
from scipy import ndimage

from bitmoji_jax.data.pipeline import Dataset
from bitmoji_jax.evaluation.results import JudgeCard
from bitmoji_jax.metrics.images import nme
from bitmoji_jax.ops.batching import in_batches
from bitmoji_jax.ops.image import check_images, resize

_SIZE = 64
_BATCH = 32
STEPS = 1600
_DOMAINS = ("photos", "avatars")
_CLASSES = {"gender": ("male", "female"), "glasses": ("no glasses", "glasses"), "hat": ("no hat", "hat")}
_MIN_POINTS, _MIN_CLASS = (200, 20), (50, 5)  # images in train and test, of each class
_MIRRORED = np.array([1, 0, 2, 4, 3])  # eyes and mouth corners change places


@dataclasses.dataclass(frozen=True, eq=False)
class Judges:
    """Trained judges. Images are uint8 [N, S, S, 3], any N and S; compiled once for each S.

    Not to be trusted: on what is no face at all, where they answer all the same; near a card's own error; for a face
    far from where the dataset has its faces (shifts in training are up to 3 of 64 pixels). Landmarks of aligned photos
    hardly vary, so a low NME says little: the mean training points alone score 0.064 on face2bitmoji's photos, 0.088 on
    its avatars. A gender is read off hair and beard, so a man's long hair is a woman's.
    """

    params: Mapping[str, Any]
    cards: tuple[JudgeCard, ...]
    """What each judge reaches, by names such as gender_y and landmarks_x."""
    missing: Mapping[str, str]
    """Why there is no such judge, by the same names."""

    def classify(self, name: str, images: np.ndarray) -> np.ndarray:
        """Probability, float64 [N], that an avatar is female ("gender") or wears it ("glasses", "hat").

        Both classes are taken to be equally common, whatever they were in training.

        Raises:
          LookupError: there is no such judge; says why.
          ValueError: images of another type or shape.
        """
        self._check_there(f"{name}_y")
        _, logits = self._answer(images)
        return 1 / (1 + np.exp(-logits[:, list(_CLASSES).index(name)].astype(np.float64)))

    def landmarks(self, domain: Literal["x", "y"], images: np.ndarray) -> np.ndarray:
        """Left eye, right eye, nose, left and right mouth corner as the domain's labels have them, float32 [N, 5, 2].

        x and y are fractions of the image, "left" is the image's.

        Raises:
          LookupError: there is no such judge; says why.
          ValueError: images of another type or shape.
        """
        self._check_there(f"landmarks_{domain}")
        points, _ = self._answer(images)
        return points[:, "xy".index(domain)]

    def _check_there(self, name: str) -> None:
        if name not in {card.name for card in self.cards}:
            raise LookupError(f"there is no judge {name}: {self.missing.get(name, 'no such name')}")

    def _answer(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        check_images(images)
        return in_batches(functools.partial(_answer, self.params), images, [_BATCH])


def train_judges(dataset: Dataset, *, seed: int = 0, steps: int = STEPS) -> Judges:
    """Trains the judges that the labels of trainA and trainB allow, and measures them on testA and testB.

    Landmarks take 200 images to train on and 20 to measure on, a class of avatars 50 and 5 in each of its two.

    The accuracy on a card is the mean of both classes' own, which is the plain one where they are equally common and
    does not reward naming the commoner where they are not. NME is that of `scores.nme`. The corruptions are fixed and
    made at 64 pixels: gaussian noise (standard deviation in grey levels), gaussian blur (in pixels), JPEG (quality),
    checkerboard (amplitude in grey levels, period in pixels).

    Args:
      dataset: any; splits and labels may be lacking.
      seed: of the weights, the order and the corruptions. The same gives the same judges on the same machine.
      steps: of training, 32 images each, drawn from both domains.
    """
    train, test = _rows(dataset, "train"), _rows(dataset, "test")
    missing = {}
    for i, (domain, letter) in enumerate(zip("xy", "AB", strict=True)):
        counts = [int(np.isfinite(rows.points[:, i, :2]).all((1, 2)).sum()) for rows in (train, test)]
        if counts[0] < _MIN_POINTS[0] or counts[1] < _MIN_POINTS[1]:
            missing[f"landmarks_{domain}"] = (
                f"train{letter} and test{letter} have {counts[0]} and {counts[1]} images with landmarks: "
                f"it takes {_MIN_POINTS[0]} and {_MIN_POINTS[1]}"
            )
            train.points[:, i] = np.nan
    for i, (name, classes) in enumerate(_CLASSES.items()):
        no, yes = ([int((rows.classes[:, i] == c).sum()) for rows in (train, test)] for c in (0, 1))
        if min(no[0], yes[0]) < _MIN_CLASS[0] or min(no[1], yes[1]) < _MIN_CLASS[1]:
            missing[f"{name}_y"] = (
                f"trainB and testB have {no[0]} and {no[1]} avatars labelled {classes[0]}, "
                f"{yes[0]} and {yes[1]} labelled {classes[1]}: it takes {_MIN_CLASS[0]} and {_MIN_CLASS[1]} of each"
            )
            train.classes[:, i] = np.nan
    params = _train(train, seed, steps)
    return Judges(params, tuple(_measure(params, test, missing)), missing)


class _Rows(NamedTuple):
    """Photos and avatars in one; NaN where unknown, so also the points of the other domain and classes of photos."""

    images: np.ndarray  # uint8 [N, 64, 64, 3]
    points: np.ndarray  # float32 [N, domains, 5, 2]
    classes: np.ndarray  # float32 [N, classifiers], 0 or 1


def _rows(dataset: Dataset, part: str) -> _Rows:
    every = [(i, f"{part}{s}", k) for i, s in enumerate("AB") for k in range(len(dataset.splits.get(f"{part}{s}", ())))]
    rows = _Rows(
        np.zeros((len(every), _SIZE, _SIZE, 3), np.uint8),
        np.full((len(every), 2, 5, 2), np.nan, np.float32),
        np.full((len(every), len(_CLASSES)), np.nan, np.float32),
    )
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(every), _BATCH):
            batch = every[start : start + _BATCH]
            read = list(pool.map(lambda row: dataset.read(row[1], row[2]), batch))
            rows.images[start : start + _BATCH] = in_batches(
                _shrink, np.stack([row["image"] for row in read]), [_BATCH]
            )
            for n, ((domain, _, _), row) in enumerate(zip(batch, read, strict=True), start):
                rows.points[n, domain] = row["landmarks"]
                if domain == 1:
                    labels = {**row["attributes"], "gender": {"male": 0, "female": 1}.get(row["gender"])}
                    rows.classes[n] = [labels[k] if labels.get(k) in (0, 1) else np.nan for k in _CLASSES]
    return rows


class _Net(nn.Module):
    """Images [N, 64, 64, 3] of 0 to 255 -> points [N, 2 domains, 5, 2] and logits [N, classifiers]."""

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        # 4 x 4 pixels become the channels of one, since XLA's CPU convolutions are slow where channels are few.
        x = ((images - 127.5) / 64).reshape(-1, 16, 4, 16, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 16, 16, 48)
        for features, stride in ((48, 1), (96, 2), (96, 1), (96, 1), (128, 2), (128, 1)):
            y = nn.Conv(features, (3, 3), stride, use_bias=False)(x)
            # Without norms landmarks are learnt far more slowly: NME 0.068 after 500 steps, with them 0.052 after 400.
            y = nn.relu(nn.LayerNorm(reduction_axes=(1, 2, 3), feature_axes=-1)(y))
            x = x + y if x.shape == y.shape else y
        x = x.reshape(len(x), -1)
        return 0.5 + 0.1 * nn.Dense(20)(x).reshape(-1, 2, 5, 2), nn.Dense(len(_CLASSES))(x)


def _train(rows: _Rows, seed: int, steps: int) -> dict[str, Any]:
    labelled = np.isfinite(rows.points).any((1, 2, 3)) | np.isfinite(rows.classes).any(1)
    if not labelled.any():
        return {}
    images, points, classes = (array[labelled] for array in rows)
    # Each class counts as much as the other, however many images it has.
    no, yes = ((classes == c) / np.maximum((classes == c).mean(axis=0), 1e-9) for c in (0, 1))
    weights = (0.5 * (no + yes)).astype(np.float32)
    random = np.random.default_rng(seed)
    with ThreadPoolExecutor() as pool:
        compressed = np.stack(list(pool.map(_jpeg, images, random.integers(20, 96, len(images)))))
    key = jax.random.key(seed)
    params = jax.jit(_Net().init)(key, jnp.zeros((1, _SIZE, _SIZE, 3)))
    state = _optimizer.init(params)
    rates = np.asarray(optax.warmup_cosine_decay_schedule(0, 4e-3, steps // 10, steps)(np.arange(steps)))
    epochs = -(-steps * _BATCH // len(images))
    order = np.concatenate([random.permutation(len(images)) for _ in range(epochs)])
    for step in range(steps):
        batch = order[step * _BATCH : (step + 1) * _BATCH]
        seen = np.where(random.random((_BATCH, 1, 1, 1)) < 0.5, images[batch], compressed[batch])
        labels = points[batch], classes[batch], weights[batch]
        params, state = _train_step(params, state, rates[step], seen, labels, jax.random.fold_in(key, step))
    return jax.tree.map(np.asarray, params)


_optimizer = optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(1e-4))


@functools.partial(jax.jit, donate_argnums=(0, 1))
def _train_step(params: Any, state: Any, rate: Any, images: Any, labels: Any, key: jax.Array) -> tuple[Any, Any]:
    points, classes, weights = labels
    images, points = jax.vmap(_corrupt)(images, points, jax.random.split(key, _BATCH))
    known = jnp.isfinite(points)

    def loss(params: Any) -> jax.Array:
        found, logits = _Net().apply(params, images)
        distances = jnp.where(known, jnp.abs(found - jnp.where(known, points, 0)), 0)
        errors = optax.sigmoid_binary_cross_entropy(logits, jnp.where(weights > 0, classes, 0)) * weights
        # A twelfth of the image counts as much as a class named at chance.
        return 8 * distances.sum() / jnp.maximum(known.sum(), 1) + errors.mean(axis=0).sum()

    updates, state = _optimizer.update(jax.grad(loss)(params), state, params)
    return jax.tree.map(lambda p, u: p - rate * u, params, updates), state


def _corrupt(image: jax.Array, points: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """One image [64, 64, 3] of 0 to 255 and its points [2, 5, 2], moved and spoilt at random."""
    keys = iter(jax.random.split(key, 14))

    def uniform(low: float, high: float, *shape: int) -> jax.Array:
        return jax.random.uniform(next(keys), shape, minval=low, maxval=high)

    # Mirroring, zoom, shift and blur are all in two small matrices, one an axis: x, y.
    mirror = jax.random.bernoulli(next(keys))
    step = jnp.where(mirror, jnp.array([-1, 1]), 1) * uniform(0.92, 1.08) * uniform(0.97, 1.03, 2)
    shift = uniform(-3, 3, 2) / _SIZE
    sigma = jnp.maximum(uniform(-1, 2), 0.35) / _SIZE
    centres = (jnp.arange(_SIZE) + 0.5) / _SIZE
    read_at = 0.5 + shift[:, None] + step[:, None] * (centres - 0.5)
    across, down = jax.nn.softmax(-jnp.square((read_at[..., None] - centres) / sigma) / 2, axis=-1)
    x = jnp.einsum("ij,jkc,lk->ilc", down, image.astype(jnp.float32), across)
    points = (points - 0.5 - shift) / step + 0.5
    points = jnp.where(mirror, points[:, _MIRRORED], points)

    x = (x - 127.5) * uniform(0.8, 1.2) * uniform(0.9, 1.1, 3) + 127.5 + uniform(-20, 20) + uniform(-10, 10, 3)
    cells = jnp.arange(_SIZE) // jax.random.randint(next(keys), (), 1, 3)
    board = 1 - 2 * ((cells[:, None] + cells) % 2)
    x = x + board[..., None] * jnp.maximum(uniform(-12, 25), 0) * uniform(0.3, 1, 3)
    x = x + jnp.maximum(uniform(-8, 25), 0) * jax.random.normal(next(keys), x.shape)
    return jnp.clip(x, 0, 255), points


def _measure(params: Mapping[str, Any], rows: _Rows, missing: Mapping[str, str]) -> Iterator[JudgeCard]:
    answers = {}
    if params:
        answer = functools.partial(_answer, params)
        answers = {name: in_batches(answer, images, [_BATCH]) for name, images in _spoilt(rows.images).items()}
    for i, domain in enumerate("xy"):
        if (name := f"landmarks_{domain}") not in missing:
            errors = {k: nme(points[:, i], rows.points[:, i]) for k, (points, _) in answers.items()}
            under = {k: error.mean for k, error in errors.items()}
            clean, images = under.pop("clean"), errors["clean"].images
            yield JudgeCard(name, f"landmarks of {_DOMAINS[i]}", "NME", clean, images, under, clean <= 0.1)
    for i, name in enumerate(_CLASSES):
        if f"{name}_y" not in missing:
            truth = rows.classes[:, i]
            under = {k: _accuracy(logits[:, i] > 0, truth) for k, (_, logits) in answers.items()}
            clean, images = under.pop("clean"), int(np.isfinite(truth).sum())
            yield JudgeCard(f"{name}_y", f"{name} of avatars", "accuracy", clean, images, under, clean >= 0.95)


def _accuracy(positive: np.ndarray, truth: np.ndarray) -> float:
    return float((positive[truth == 1].mean() + (~positive[truth == 0]).mean()) / 2)


def _spoilt(images: np.ndarray) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    levels = images.astype(np.float32)
    rows, columns = np.indices(images.shape[1:3])[..., None]
    changed = {f"noise {s}": levels + random.normal(0, s, images.shape) for s in (8, 20)}
    changed |= {f"blur {s} px": ndimage.gaussian_filter(levels, (0, s, s, 0)) for s in (1, 2)}
    for amplitude, period in ((8, 2), (16, 4)):
        board = 1 - 2 * ((rows // (period // 2) + columns // (period // 2)) % 2)
        changed[f"checkerboard {amplitude}, {period} px"] = levels + amplitude * board
    rounded = {name: values.round().clip(0, 255).astype(np.uint8) for name, values in changed.items()}
    return {"clean": images, **rounded, "JPEG 30": np.stack([_jpeg(image, 30) for image in images])}


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=int(quality))
    return np.asarray(Image.open(file))


@jax.jit
def _shrink(images: jax.Array) -> jax.Array:
    return jnp.round(resize(images.astype(jnp.float32), _SIZE)).astype(jnp.uint8)


@jax.jit
def _answer(params: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    # Full precision, or an accelerator's shorter products would make a score depend on where it was taken.
    with jax.default_matmul_precision("highest"):
        images = resize(images.astype(jnp.float32), _SIZE)
        points, logits = _Net().apply(params, jnp.concatenate([images, images[:, :, ::-1]]))
    # The mean with what it says of the mirrored image: NME 0.048 and 0.049 in place of 0.051 (photos and avatars).
    (points, mirrored), (logits, logits_mirrored) = jnp.split(points, 2), jnp.split(logits, 2)
    return (points + _mirror(mirrored)) / 2, (logits + logits_mirrored) / 2


def _mirror(points: jax.Array) -> jax.Array:
    return points.at[..., 0].set(1 - points[..., 0])[..., _MIRRORED, :]
