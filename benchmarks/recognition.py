"""Whether a face-recognition network finds a photo by its avatar, among all test photos.

    npm install @vladmandic/face-api
    python -m benchmarks.recognition --network node_modules/@vladmandic/face-api/model --data DIR [--run RUN]

prints, as JSON, in how many of a hundred cases the own photo of an avatar is the nearest of the test photos, or one of
the five nearest; with the pretrained weights by default. Near is a large cosine of two embeddings.

All avatars are far from all photos, for a network that was made for photos, and the direction between the two hides the
rest. So the mean embedding of the photos is subtracted from those of photos, and that of the avatars from those of
avatars ("centred"); the figures without that are given beside them. Since a kept gender is half of the way to the own
photo, there are rows of women among women and of men among men.

A photo is its own nearest photo, so an avatar that stays half a photo scores high: compare only where KID is alike.

The network is dlib's residual network (dlib_face_recognition_resnet_model_v1, public domain) as face-api (MIT) ships
it, most of it in eight bits. No stage trains with it, and the package does not contain it.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from benchmarks.chosen import Chosen
from benchmarks.recognition_network import SIZE, embed, read_network
from bitmoji_jax.config import DataConfig
from bitmoji_jax.data.pipeline import Dataset, open_dataset
from bitmoji_jax.errors import InputError

_EYES = (0.318, 0.669, 0.314)  # x of both eyes and y, as fractions of dlib's chip of 150 px with a padding of 0.25
_NEAREST = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Chosen):
    """What to measure; the test images need landmarks."""

    network: Path
    """Folder with face_recognition_model-weights_manifest.json, as in the npm package @vladmandic/face-api."""
    count: int | None = None
    """Test photos, chosen at random; all by default. Fewer photos are easier to tell apart."""


def main(options: Options) -> None:
    """Measures and prints."""
    network = read_network(options.network)
    dataset = open_dataset(DataConfig(dir=options.data))
    available = len(dataset.splits.get("testA", ()))
    chosen = np.random.default_rng(options.seed).permutation(available)[: options.count]
    if len(chosen) < 2:
        raise InputError(f"{len(chosen)} of {available} test photos are chosen, two or more are needed")
    rows = [dataset.read("testA", int(i)) for i in chosen]
    photos = np.stack([row["image"] for row in rows])
    avatars = options.open_translator()(photos)
    of_photos = embed(network, chips(photos, mean_eyes(dataset, "testA")))
    of_avatars = embed(network, chips(avatars, mean_eyes(dataset, "testB")))
    genders = np.array([row["gender"] for row in rows])
    everybody = np.ones(len(rows), bool)
    women, men = genders == "female", genders == "male"
    searches = {
        "all": (everybody, everybody),
        "women": (women, everybody),
        "men": (men, everybody),
        "women among women": (women, women),
        "men among men": (men, men),
    }
    figures = {
        name: {group: found(similarity, *search) for group, search in searches.items() if search[0].any()}
        for name, similarity in (
            ("centred", cosines(of_avatars - of_avatars.mean(axis=0), of_photos - of_photos.mean(axis=0))),
            ("not centred", cosines(of_avatars, of_photos)),
        )
    }
    print(json.dumps(figures, indent=1))


def mean_eyes(dataset: Dataset, split: str) -> tuple[float, float, float]:
    """The mean x of the left and the right eye and the mean y of both, by the labels of a split.

    One place for all images of a domain, since alignment has put the eyes there, and since a network that found the
    eyes of each avatar would take part in the score.

    Raises:
      InputError: no image of the split has landmarks.
    """
    eyes = np.stack([dataset.read(split, i)["landmarks"][:2] for i in range(len(dataset.splits.get(split, ())))])
    eyes = eyes[np.isfinite(eyes).all(axis=(1, 2))]
    if not len(eyes):
        raise InputError(f"no image of {split} has landmarks, which say where faces are")
    (left, y_left), (right, y_right) = eyes.mean(axis=0).tolist()
    return left, right, (y_left + y_right) / 2


def chips(images: np.ndarray, eyes: tuple[float, float, float]) -> np.ndarray:
    """Cuts squares [N, 150, 150, 3] out of uint8 images [N, S, S, 3], in which `eyes` come to be where dlib has them.

    Where a square goes over the edge, as below the chin of avatars, the pixels at the edge are repeated.
    """
    size = images.shape[1]
    margin = size // 2
    side = (eyes[1] - eyes[0]) / (_EYES[1] - _EYES[0]) * size
    left = margin + (eyes[0] + eyes[1]) / 2 * size - (_EYES[0] + _EYES[1]) / 2 * side
    top = margin + eyes[2] * size - _EYES[2] * side
    around = ((margin, margin), (margin, margin), (0, 0))
    return np.stack([_resized(np.pad(image, around, "edge"), (left, top, left + side, top + side)) for image in images])


def _resized(image: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BICUBIC, box))


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Computes the cosines [N, M] of rows [N, D] and [M, D]."""
    first, second = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (first, second))
    return first @ second.T


def found(similarity: np.ndarray, members: np.ndarray, searched: np.ndarray) -> dict[str, float]:
    """Counts how often an avatar's own photo is the nearest, or among the five nearest, in per cent, beside chance.

    Args:
      similarity: [N avatars, N photos] in one order.
      members: bool [N], the avatars that count.
      searched: bool [N], the photos that are searched; those of the members are among them.
    """
    own = np.diagonal(similarity)[members]
    nearer = (similarity[np.ix_(members, searched)] > own[:, None]).sum(axis=1)
    photos = int(searched.sum())
    return {
        "avatars": int(members.sum()),
        "photos": photos,
        "nearest %": round(100 * float((nearer < 1).mean()), 1),
        "chance %": round(100 / photos, 2),
        f"among {_NEAREST} nearest %": round(100 * float((nearer < _NEAREST).mean()), 1),
        f"chance of {_NEAREST} %": round(100 * min(1, _NEAREST / photos), 2),
    }


if __name__ == "__main__":
    main(tyro.cli(Options))
