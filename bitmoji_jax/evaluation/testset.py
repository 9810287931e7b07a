"""The test set of an evaluation, and what one translator makes of it."""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np

from bitmoji_jax.data.pipeline import Dataset
from bitmoji_jax.errors import InputError
from bitmoji_jax.evaluation.judges import Judges
from bitmoji_jax.inference.translator import Translator
from bitmoji_jax.metrics.colour import ITA_GROUPS, individual_typology_angle, ita_group, srgb_to_lab
from bitmoji_jax.metrics.face_colour import hair_colour, skin_colour
from bitmoji_jax.metrics.kid import Kid, kid, low_pass
from bitmoji_jax.models.features import Features
from bitmoji_jax.ops.batching import resized

EFFICIENTNET = "EfficientNet-Lite0"
"""Name of the network that measures diversity, and whose KID has the names kid_y and kid_x."""

_VISIBLE = ("glasses", "hat", "shadow")  # attributes of 0 or 1
_FLOOR_IMAGES = 200  # enough for a number near 0; features take most of an evaluation's time


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """One test split: N images as stored, H pixels a side, with their labels."""

    images: np.ndarray
    """uint8 [N, H, H, 3]."""
    landmarks: np.ndarray
    """float32 [N, 5, 2], fractions of the image, NaN where unknown."""
    female: np.ndarray
    """float64 [N]: 1 female, 0 male, NaN unknown."""
    visible: Mapping[str, np.ndarray]
    """glasses, hat, shadow, where the dataset has the attribute: float64 [N], 1 visible, 0 not, NaN unknown."""
    skin: np.ndarray
    """sRGB of the skin, float64 [N, 3], 0 to 255: from attributes, else measured at the landmarks, else NaN."""
    hair: np.ndarray
    """The same of the hair."""

    @functools.cached_property
    def subsets(self) -> dict[str, np.ndarray]:
        """bool [N] by name: gender, visible attributes, skin tone by ITA; empty subsets are left out."""
        angles = individual_typology_angle(srgb_to_lab(self.skin))
        groups = np.array([ita_group(angle) for angle in angles])
        subsets = {
            "female": self.female == 1,
            "male": self.female == 0,
            **{name: values == 1 for name, values in self.visible.items()},
            **{f"skin: {group}": groups == group for group in ITA_GROUPS},
        }
        return {name: members for name, members in subsets.items() if members.any()}


@dataclasses.dataclass(frozen=True, eq=False)
class KidScale:
    """One network's features of the real test images, and the two ends of the KID scale. Keys are domains, x and y."""

    features: Mapping[str, np.ndarray]
    """[N, D]."""
    floor: Mapping[str, Kid]
    """Real training images against the real test images: the score of a perfect translator."""
    ceiling: Kid
    """Photos against avatars: the score of doing nothing, in either direction."""


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """Test photos whose true avatars are known, as in the synthetic set."""

    photos: list[int]
    """Indices in testA."""
    avatars: list[int]
    """Indices in testB of the photos' true avatars."""
    mean_avatar: np.ndarray
    """float64 [H, H, 3], of all training avatars."""


@dataclasses.dataclass(frozen=True, eq=False)
class TestSet:
    """Test photos (x) and avatars (y), and everything about them that runs of one image size S share."""

    photos: Split
    avatars: Split
    images: Mapping[str, np.ndarray]
    """By domain: uint8 [N, S, S, 3]."""
    networks: Mapping[str, Features]
    """Feature networks that KID is taken with, by name; `EFFICIENTNET` is among them."""
    scales: Mapping[str, KidScale]
    """By network."""
    low_pass_scales: Mapping[str, KidScale]
    """By network, of images after `kid.low_pass`."""
    pairs: Pairs | None
    """None where true avatars are unknown."""


@dataclasses.dataclass(frozen=True, eq=False)
class Outputs:
    """The outputs of a translator on the test set, and the judges that score them."""

    translator: Translator
    test_set: TestSet
    judges: Judges
    fake_y: np.ndarray
    """uint8 [N, S, S, 3], G of the photos."""
    fake_x: np.ndarray
    """uint8 [M, S, S, 3], F of the avatars."""

    @functools.cached_property
    def features(self) -> dict[str, dict[str, np.ndarray]]:
        """[N, D] by network and domain, of the translated images."""
        fakes = {"x": self.fake_x, "y": self.fake_y}
        return {
            name: {domain: network(images) for domain, images in fakes.items()}
            for name, network in self.test_set.networks.items()
        }


def read_split(dataset: Dataset, name: str) -> Split:
    """Reads all of testA or testB; InputError if the dataset has no such split, or fewer than two images in it."""
    count = len(dataset.splits.get(name, ()))
    if count < 2:
        raise InputError(
            f"the dataset has {count} images in split {name}: scores need test images, 100 or more for a meaningful "
            "KID. `python -m bitmoji_jax prepare` puts one image in ten there"
        )
    rows = [dataset.read(name, i) for i in range(count)]
    images = np.stack([row["image"] for row in rows])
    landmarks = np.stack([row["landmarks"] for row in rows])

    def attribute(name: str) -> np.ndarray:
        values = [row["attributes"].get(name, np.nan) for row in rows]
        return np.array([value if isinstance(value, float) else np.nan for value in values], np.float64)

    def colour(name: str, measured: np.ndarray) -> np.ndarray:
        labelled = np.stack([attribute(f"{name}_{channel}") for channel in "rgb"], axis=-1)
        return np.where(np.isfinite(labelled).all(axis=1, keepdims=True), labelled, measured)

    visible = {name: attribute(name) for name in _VISIBLE}
    return Split(
        images=images,
        landmarks=landmarks,
        female=np.array([{"female": 1.0, "male": 0.0}.get(row["gender"], np.nan) for row in rows]),
        visible={name: values for name, values in visible.items() if np.isfinite(values).any()},
        skin=colour("skin", skin_colour(images, landmarks)),
        hair=colour("hair", hair_colour(images, landmarks)),
    )


def make_test_set(
    dataset: Dataset, photos: Split, avatars: Split, size: int, networks: Mapping[str, Features]
) -> TestSet:
    """Resizes the test images to `size` pixels and measures both ends of the KID scale with every network."""
    images = {"x": resized(photos.images, size), "y": resized(avatars.images, size)}
    train = {domain: _some_images(dataset, split, size) for domain, split in (("x", "trainA"), ("y", "trainB"))}
    blurred = {domain: low_pass(values) for domain, values in images.items()}
    blurred_train = {domain: low_pass(values) for domain, values in train.items()}
    pairs = None
    if dataset.paired_test:
        of_photos, of_avatars = zip(*dataset.test_pairs(), strict=True)
        pairs = Pairs(list(of_photos), list(of_avatars), dataset.mean_image("trainB"))
    return TestSet(
        photos=photos,
        avatars=avatars,
        images=images,
        networks=networks,
        scales={name: _kid_scale(images, train, network) for name, network in networks.items()},
        low_pass_scales={name: _kid_scale(blurred, blurred_train, network) for name, network in networks.items()},
        pairs=pairs,
    )


def _some_images(dataset: Dataset, split: str, size: int) -> np.ndarray:
    rows = len(dataset.splits[split])
    chosen = np.random.default_rng(0).permutation(rows)[:_FLOOR_IMAGES]
    return resized(np.stack([dataset.read(split, int(i))["image"] for i in chosen]), size)


def _kid_scale(tests: Mapping[str, np.ndarray], train: Mapping[str, np.ndarray], network: Features) -> KidScale:
    features = {domain: network(images) for domain, images in tests.items()}
    return KidScale(
        features=features,
        floor={domain: kid(network(train[domain]), features[domain]) for domain in features},
        ceiling=kid(features["x"], features["y"]),
    )
