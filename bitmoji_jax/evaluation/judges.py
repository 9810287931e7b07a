"""Small networks that judge translations, trained on the dataset's own labels.

For avatars: gender, glasses, hat, whether the mouth is open. For photos and avatars: the places of eyes, nose, mouth
corners. One network has an output for each, so both domains share its layers and a minute of training is enough;
glasses and hats have a second one.
Where a real avatar has no label of glasses or an open mouth, these are measured (`metrics.glasses`, `metrics.mouth`).

Outputs of a half-trained translator are rough, so every training image is corrupted at random, and a judge's accuracy
on corrupted test images is reported beside every score it gives.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import flax
import jax
import numpy as np
import safetensors
import safetensors.numpy
from rich.console import Console

from bitmoji_jax.cache import cache_folder
from bitmoji_jax.data.pipeline import Dataset
from bitmoji_jax.evaluation import judge_network
from bitmoji_jax.evaluation.judge_network import BATCH, CLASSES, SIZE, corrupt, predict, shrink, train_network
from bitmoji_jax.evaluation.results import JudgeAccuracy
from bitmoji_jax.files import write_atomic
from bitmoji_jax.metrics import glasses, mouth
from bitmoji_jax.metrics.images import nme
from bitmoji_jax.ops.batching import in_batches
from bitmoji_jax.ops.image import check_images

STEPS = 1600
_DOMAINS = ("photos", "avatars")
_RARE = np.array([name in ("glasses", "hat") for name in CLASSES])
"""Classes judged by a network of their own: few avatars have them, so each weighs much, and the others would suffer."""
_MIN_LANDMARKS, _MIN_CLASS = (200, 20), (50, 5)  # labelled images in train and test, of each class


@dataclasses.dataclass(frozen=True, eq=False)
class Judges:
    """Trained judges. Images are uint8 [N, S, S, 3], any N and S; compiled once for each S.

    Not to be trusted: below a judge's own error; on images without a face, or with one unlike the dataset's.
    """

    params: Mapping[str, Any]
    """Of the networks "common" and "rare", those that could be trained."""
    accuracies: tuple[JudgeAccuracy, ...]
    """Of each judge, by names such as gender_y and landmarks_x."""
    missing: Mapping[str, str]
    """Why a judge could not be trained, by the same names."""

    def accuracy(self, name: str) -> JudgeAccuracy:
        """The accuracy of one judge; LookupError with the reason if it could not be trained."""
        for accuracy in self.accuracies:
            if accuracy.name == name:
                return accuracy
        raise LookupError(f"there is no judge {name}: {self.missing.get(name, 'no such name')}")

    def classify(self, name: str, images: np.ndarray) -> np.ndarray:
        """Estimates the probability, float64 [N], that an avatar has class 1 of a classifier in `CLASSES`.

        Both classes are taken to be equally common, as they were weighted in training. LookupError with the reason if
        there is no such judge, ValueError for images of another type or shape.
        """
        self.accuracy(f"{name}_y")
        _, logits = self._predict(images)
        return 1 / (1 + np.exp(-logits[:, list(CLASSES).index(name)].astype(np.float64)))

    def landmarks(self, domain: Literal["x", "y"], images: np.ndarray) -> np.ndarray:
        """Finds left eye, right eye, nose, left and right mouth corner: float32 [N, 5, 2], fractions of the image.

        The points are those of the domain's labels; "left" is the image's. Errors are those of `classify`.
        """
        self.accuracy(f"landmarks_{domain}")
        points, _ = self._predict(images)
        return points[:, "xy".index(domain)]

    def _predict(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        check_images(images)
        return in_batches(functools.partial(_predict, self.params), images, [BATCH])


def load_judges(dataset: Dataset, console: Console, *, steps: int = STEPS) -> Judges:
    """Reads the judges of a dataset from the cache, or trains them and keeps them there.

    The file is named by a digest of the dataset's rows and of the code that trains them. A damaged one is replaced.
    """
    cache = cache_folder()
    path = None if cache is None else cache / f"judges-{_dataset_digest(dataset, steps)}.safetensors"
    if path is not None and path.exists():
        try:
            return _read(path)
        except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            console.print(f"{path} is damaged and will be replaced: {error}")
    console.print("Training the judges on the dataset's labels: about a minute, once for each dataset")
    judges = train_judges(dataset, steps=steps)
    try:
        if path is not None:
            _write(path, judges)
    except OSError as error:
        console.print(f"The judges could not be saved: {error}")
    return judges


def train_judges(dataset: Dataset, *, seed: int = 0, steps: int = STEPS) -> Judges:
    """Trains the judges that the labels of trainA and trainB allow, and measures them on testA and testB.

    Landmarks need 200 labelled images in train and 20 in test, a classifier 50 and 5 avatars of each class; splits and
    labels may be missing. A step takes 32 images of both domains. The same seed gives the same judges on one machine.

    A classifier's accuracy is the mean of its accuracies on both classes, so always naming the more common one is not
    rewarded. NME is that of `metrics.images.nme`. The corruptions are those of `corrupt`: gaussian noise (standard
    deviation in grey levels), blur (pixels), JPEG (quality), checkerboard (amplitude in grey levels, period in pixels).
    """
    train, test = _read_rows(dataset, "train"), _read_rows(dataset, "test")
    missing = {}
    for i, (domain, letter) in enumerate(zip("xy", "AB", strict=True)):
        counts = [int(np.isfinite(rows.points[:, i, :2]).all((1, 2)).sum()) for rows in (train, test)]
        if counts[0] < _MIN_LANDMARKS[0] or counts[1] < _MIN_LANDMARKS[1]:
            missing[f"landmarks_{domain}"] = (
                f"train{letter} and test{letter} have {counts[0]} and {counts[1]} images with landmarks, "
                f"{_MIN_LANDMARKS[0]} and {_MIN_LANDMARKS[1]} are needed"
            )
            train.points[:, i] = np.nan
    for i, (name, classes) in enumerate(CLASSES.items()):
        no, yes = ([int((rows.classes[:, i] == c).sum()) for rows in (train, test)] for c in (0, 1))
        if min(no[0], yes[0]) < _MIN_CLASS[0] or min(no[1], yes[1]) < _MIN_CLASS[1]:
            missing[f"{name}_y"] = (
                f"trainB and testB have {no[0]} and {no[1]} avatars labelled {classes[0]}, "
                f"{yes[0]} and {yes[1]} labelled {classes[1]}, {_MIN_CLASS[0]} and {_MIN_CLASS[1]} of each are needed"
            )
            train.classes[:, i] = np.nan
    parts = {
        "common": (train.points, np.where(_RARE, np.nan, train.classes)),
        "rare": (np.full_like(train.points, np.nan), np.where(_RARE, train.classes, np.nan)),
    }
    params = {}
    for name, (points, labels) in parts.items():
        known = np.isfinite(points).any((1, 2, 3)) | np.isfinite(labels).any(1)
        if known.any():
            params[name] = train_network(train.images[known], points[known], labels[known], seed, steps)
    return Judges(params, tuple(_measure(params, test, missing)), missing)


def _dataset_digest(dataset: Dataset, steps: int) -> str:
    digest = hashlib.sha256(f"{steps} {dataset.stored_size}".encode())
    for module in (__file__, judge_network.__file__, glasses.__file__, mouth.__file__):
        digest.update(Path(module).read_bytes())
    for split, rows in dataset.splits.items():
        digest.update(f"{split} {len(rows)}".encode())
        for i in range(len(rows)):
            for leaf in jax.tree.leaves(dict(rows[i])):
                digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()[:16]


def _write(path: Path, judges: Judges) -> None:
    tensors = flax.traverse_util.flatten_dict(judges.params, sep="/")
    accuracies = [dataclasses.asdict(accuracy) for accuracy in judges.accuracies]
    record = {"accuracies": accuracies, "missing": judges.missing, "sha256": _tensor_digest(tensors)}
    write_atomic(path, safetensors.numpy.save(tensors, {"judges": json.dumps(record)}))


def _read(path: Path) -> Judges:
    with safetensors.safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        record = json.loads(file.metadata()["judges"])
    if _tensor_digest(tensors) != record["sha256"]:
        raise ValueError("its checksum is wrong")
    accuracies = tuple(JudgeAccuracy(**accuracy) for accuracy in record["accuracies"])
    return Judges(flax.traverse_util.unflatten_dict(tensors, sep="/"), accuracies, record["missing"])


def _tensor_digest(tensors: Mapping[str, np.ndarray]) -> str:
    return hashlib.sha256(b"".join(tensors[name].tobytes() for name in sorted(tensors))).hexdigest()


class _Rows(NamedTuple):
    """Photos and avatars together; NaN where unknown: also the points of the other domain and classes of photos."""

    images: np.ndarray  # uint8 [N, 64, 64, 3]
    points: np.ndarray  # float32 [N, domains, 5, 2]
    classes: np.ndarray  # float32 [N, classifiers], 0 or 1


def _read_rows(dataset: Dataset, part: str) -> _Rows:
    every = [(i, f"{part}{s}", k) for i, s in enumerate("AB") for k in range(len(dataset.splits.get(f"{part}{s}", ())))]
    rows = _Rows(
        np.zeros((len(every), SIZE, SIZE, 3), np.uint8),
        np.full((len(every), 2, 5, 2), np.nan, np.float32),
        np.full((len(every), len(CLASSES)), np.nan, np.float32),
    )
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(every), BATCH):
            batch = every[start : start + BATCH]
            read = list(pool.map(lambda row: dataset.read(row[1], row[2]), batch))
            images = np.stack([row["image"] for row in read])
            rows.images[start : start + BATCH] = in_batches(shrink, images, [BATCH])
            for n, ((domain, _, _), row) in enumerate(zip(batch, read, strict=True), start):
                rows.points[n, domain] = row["landmarks"]
                if domain == 1:
                    rows.classes[n] = _avatar_classes(row)
    return rows


def _avatar_classes(row: Mapping[str, Any]) -> list[float]:
    """Returns the classes of an avatar's row, in the order of `CLASSES`: the label, else the measure, else NaN."""
    avatar = row["image"][None], row["landmarks"][None]
    measures = {"glasses": glasses.wears_glasses(*avatar)[0], "mouth_open": mouth.shows_teeth(*avatar)[0]}
    labels = {**row["attributes"], "gender": {"male": 0, "female": 1}.get(row["gender"])}
    return [labels[name] if labels.get(name) in (0, 1) else measures.get(name, np.nan) for name in CLASSES]


def _predict(params: Mapping[str, Any], images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `judge_network.predict`, of all networks: what none of them predicts is NaN."""
    points, logits = np.full((len(images), 2, 5, 2), np.nan), np.full((len(images), len(CLASSES)), np.nan)
    if "common" in params:
        points, common = map(np.asarray, predict(params["common"], images))
        logits = np.where(_RARE, logits, common)
    if "rare" in params:
        logits = np.where(_RARE, predict(params["rare"], images)[1], logits)
    return points.astype(np.float32), logits.astype(np.float32)


def _measure(params: Mapping[str, Any], rows: _Rows, missing: Mapping[str, str]) -> Iterator[JudgeAccuracy]:
    predictions = {}
    if params:
        network = functools.partial(_predict, params)
        predictions = {name: in_batches(network, images, [BATCH]) for name, images in corrupt(rows.images).items()}
    for i, domain in enumerate("xy"):
        if (name := f"landmarks_{domain}") not in missing:
            errors = {k: nme(points[:, i], rows.points[:, i]) for k, (points, _) in predictions.items()}
            under = {k: error.mean for k, error in errors.items()}
            clean, images = under.pop("clean"), errors["clean"].images
            yield JudgeAccuracy(name, f"landmarks of {_DOMAINS[i]}", "NME", clean, images, under, clean <= 0.1)
    for i, name in enumerate(CLASSES):
        if f"{name}_y" not in missing:
            truth = rows.classes[:, i]
            under = {k: _accuracy(logits[:, i] > 0, truth) for k, (_, logits) in predictions.items()}
            clean, images = under.pop("clean"), int(np.isfinite(truth).sum())
            title = f"{name.replace('_', ' ')} of avatars"
            yield JudgeAccuracy(f"{name}_y", title, "accuracy", clean, images, under, clean >= 0.95)


def _accuracy(positive: np.ndarray, truth: np.ndarray) -> float:
    return float((positive[truth == 1].mean() + (~positive[truth == 0]).mean()) / 2)
