"""Whether avatars follow the points that they are given: one face drawn with the points of other people's.

    python -m benchmarks.other_points --data DIR [--run RUN | --weights FILE] --out grid.png

draws the avatars of test photos, and each once more with the points of the next photo's face (models/face_points.py).
It prints how much of the wanted change of nose and mouth corners, counted from the eyes, is found in the avatars by the
judges of `evaluate`, which are another network than the one that measures points for drawing: 0 is an avatar that
ignores them. The judges see only a part of such changes; the line about real avatars says how much. In the grid each
row is a person, the first column the photo, the second its avatar, and the others the same avatar with the points of
the photos above them.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from PIL import Image

from benchmarks.chosen import Chosen
from bitmoji_jax.config import DataConfig
from bitmoji_jax.console import make_console
from bitmoji_jax.data.pipeline import Dataset, open_dataset
from bitmoji_jax.errors import InputError
from bitmoji_jax.evaluation.judges import Judges, load_judges
from bitmoji_jax.inference.weights import Weights
from bitmoji_jax.models.equal_eyes import equal_eyes
from bitmoji_jax.models.face_points import Transport, from_eyes, measure
from bitmoji_jax.models.networks import as_seen, has_reader, photo_to_avatar, read_guide
from bitmoji_jax.models.reader import taken_off
from bitmoji_jax.models.reshape_face import reshape_faces
from bitmoji_jax.ops.batching import resized
from bitmoji_jax.ops.image import to_float, to_uint8

_SIZE = 128  # pixels a side of each image of the grid
_JUDGED = ("nose", "left mouth corner", "right mouth corner")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Chosen):
    """What to draw."""

    out: Path
    """File for the grid."""
    count: int = 200
    """Test photos."""
    rows: int = 6
    """People in the grid, and others whose points they are given."""


def main(options: Options) -> None:
    """Draws, measures, prints and writes the grid."""
    dataset, weights = open_dataset(DataConfig(dir=options.data)), options.load_weights()
    if "t" not in weights.networks:
        raise InputError("these weights move no points: they have no network t")
    chosen = np.random.default_rng(options.seed).permutation(dataset.sizes().get("testA", 0))[: options.count]
    if len(chosen) < max(2, options.rows):
        raise InputError(f"too few test photos: {len(chosen)}")
    photos = np.stack([dataset.read("testA", int(i))["image"] for i in chosen])

    draw, wanted = _drawing(weights), _wanted(weights)
    following = np.roll(photos, -1, axis=0)
    pairs = [draw(photo, np.stack([photo, other])) for photo, other in zip(photos, following, strict=True)]
    avatars = np.asarray(pairs).swapaxes(0, 1)  # with their own points, and with others'
    judges = load_judges(dataset, make_console(stderr=True))
    own, other = (from_eyes(jnp.asarray(judges.landmarks("y", images)))[0] for images in avatars)
    should = np.concatenate([wanted(photo[None]) for photo in photos])
    found, change = (np.asarray(a)[:, 2:5] for a in (other - own, np.roll(should, -1, axis=0) - should))
    followed = (found * change).sum(axis=0), (change**2).sum(axis=0)
    print(f"share of the wanted change in {len(photos)} avatars: {followed[0].sum() / followed[1].sum():.2f}")
    print(f"what the judges see of the differences that the labels of real avatars have: {_seen(dataset, judges):.2f}")
    for name, (x, y) in zip(_JUDGED, followed[0] / followed[1], strict=True):
        print(f"{name}: {x:.2f} across, {y:.2f} down")

    shown, blank = photos[: options.rows], np.full_like(photos[0], 255)
    rows = [[blank, blank, *shown]]
    rows += [[photo, avatars[0, i], *np.asarray(draw(photo, shown))] for i, photo in enumerate(shown)]
    grid = [np.concatenate([resized(image[None], _SIZE)[0] for image in row], axis=1) for row in rows]
    Image.fromarray(np.concatenate(grid)).save(options.out)
    print(f"grid: {options.out}")


def _seen(dataset: Dataset, judges: Judges) -> float:
    """Measures the share of the labels' deviations from their mean that the judges find in the real test avatars."""
    rows = [dataset.read("testB", i) for i in range(dataset.sizes()["testB"])]
    rows = [row for row in rows if np.isfinite(row["landmarks"]).all()]
    labels = np.stack([row["landmarks"] for row in rows])
    found = judges.landmarks("y", np.stack([row["image"] for row in rows]))
    found, labels = (np.asarray(from_eyes(jnp.asarray(points))[0])[:, 2:5] for points in (found, labels))
    found, labels = found - found.mean(axis=0), labels - labels.mean(axis=0)
    return float((found * labels).sum() / (labels**2).sum())


def _drawing(weights: Weights) -> Callable[[np.ndarray, np.ndarray], jax.Array]:
    """Returns draw(photo [H, H, 3], others [K, H, H, 3]): its avatar with the points of each other, all uint8."""
    config, transport = weights.config, weights.networks["t"]
    networks = {name: params for name, params in weights.networks.items() if name not in ("f", "t")}

    @jax.jit
    def draw(photo: jax.Array, others: jax.Array) -> jax.Array:
        seen = to_float(photo)[None]
        guides = None
        if has_reader(config, networks):
            guides = taken_off(read_guide(config, networks, seen))  # what is worn would hide what moves
        avatar = photo_to_avatar(config, networks, seen, guides)
        of_others = measure(as_seen(config, networks, to_float(others)))
        avatars, points = reshape_faces(jnp.repeat(avatar, len(others), axis=0), of_others, transport)
        return to_uint8(equal_eyes(avatars, points[:, :2]) if has_reader(config, networks) else avatars)

    return draw


def _wanted(weights: Weights) -> Callable[[np.ndarray], jax.Array]:
    """Returns the function from photos [N, H, H, 3], uint8, to the points that their avatars should have."""
    config, transport = weights.config, weights.networks["t"]

    @jax.jit
    def wanted(photos: jax.Array) -> jax.Array:
        points = measure(as_seen(config, weights.networks, to_float(photos)))  # as `photo_to_avatar` measures them
        return Transport().apply(transport, from_eyes(points)[0])

    return wanted


if __name__ == "__main__":
    main(tyro.cli(Options))
