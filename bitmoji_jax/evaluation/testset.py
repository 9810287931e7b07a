"""The test set of an evaluation, and what one translator makes of it."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from bitmoji_jax.data.pipeline import Dataset
from bitmoji_jax.errors import InputError
from bitmoji_jax.evaluation.groups import groups_of_persons
from bitmoji_jax.evaluation.judges import Judges
from bitmoji_jax.inference.translator import Translator
from bitmoji_jax.metrics.colour import individual_typology_angle, srgb_to_lab
from bitmoji_jax.metrics.face_colour import hair_colour, skin_colour
from bitmoji_jax.metrics.kid import Kid, kid, low_pass
from bitmoji_jax.models.features import Features
from bitmoji_jax.ops.batching import resized
from bitmoji_jax.ops.image import resize

SQUEEZENET, EFFICIENTNET = "SqueezeNet", "EfficientNet-Lite0"
"""Names of the networks that KID is taken with; stages train on the second, so no decision may rest on it."""

KID_SIZE = 64
"""Side in pixels at which KID is always taken, so that runs of every size compare."""

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
    ita: np.ndarray
    """Individual typology angle of the skin in degrees, float64 [N]: from attributes, else of `skin`, else NaN."""
    age: np.ndarray
    """Years, float64 [N], NaN where unknown."""

    @functools.cached_property
    def subsets(self) -> dict[str, np.ndarray]:
        """bool [N] by name: gender, skin tone by ITA, age, visible attributes; empty subsets are left out."""
        visible = {name: values == 1 for name, values in self.visible.items()}
        subsets = groups_of_persons(self.female, self.ita, self.age) | visible
        return {name: members for name, members in subsets.items() if members.any()}


class View(NamedTuple):
    """How both sides of a comparison by features are seen: by which network, at how many pixels, blurred or not."""

    network: str
    size: int
    blurred: bool


PLAIN = View(SQUEEZENET, KID_SIZE, False)
"""The view of the scores of variety and of the distance of single avatars from real ones."""


@dataclasses.dataclass(frozen=True, eq=False)
class KidScale:
    """Features of the real test images in one view, and the two ends of the KID scale. Keys are domains, x and y."""

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
    """float64 [S, S, 3], of all training avatars."""


@dataclasses.dataclass(frozen=True, eq=False)
class TestSet:
    """Test photos (x) and avatars (y), and everything about them that runs of one image size S share."""

    photos: Split
    avatars: Split
    images: Mapping[str, np.ndarray]
    """By domain: uint8 [N, S, S, 3]."""
    networks: Mapping[str, Features]
    """Feature networks by name; `SQUEEZENET` is among them."""
    scales: Mapping[View, KidScale]
    """In every view that KID is taken in; `PLAIN` is among them."""
    pairs: Pairs | None
    """None where true avatars are unknown."""

    def features(self, view: View, images: np.ndarray) -> np.ndarray:
        """Computes the features [N, D] of uint8 images [N, H, H, 3] in a view."""
        return self.networks[view.network](_seen(images, view))


@dataclasses.dataclass(frozen=True, eq=False)
class Outputs:
    """The outputs of a translator on the test set, and the judges that score them."""

    translator: Translator
    test_set: TestSet
    judges: Judges
    fake_y: np.ndarray
    """uint8 [N, S, S, 3], G of the photos."""
    fake_x: np.ndarray | None
    """uint8 [M, H, H, 3], F of the avatars, H of any size; None where there is no F."""

    @functools.cached_property
    def features(self) -> dict[View, np.ndarray]:
        """[N, D] by view, of the avatars."""
        return {view: self.test_set.features(view, self.fake_y) for view in self.test_set.scales}


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
    skin, ita = colour("skin", skin_colour(images, landmarks)), attribute("ita")
    return Split(
        images=images,
        landmarks=landmarks,
        female=np.array([{"female": 1.0, "male": 0.0}.get(row["gender"], np.nan) for row in rows]),
        visible={name: values for name, values in visible.items() if np.isfinite(values).any()},
        skin=skin,
        hair=colour("hair", hair_colour(images, landmarks)),
        ita=np.where(np.isfinite(ita), ita, individual_typology_angle(srgb_to_lab(skin))),
        age=attribute("age"),
    )


def make_test_set(
    dataset: Dataset, photos: Split, avatars: Split, size: int, networks: Mapping[str, Features]
) -> TestSet:
    """Resizes the test images to `size` pixels, and measures both ends of the KID scale in every view.

    The views are those of each network at `KID_SIZE` pixels and, where that is larger, at `size`, but no larger than
    the stored images: enlarged ones would be compared for their blur.
    """
    sizes = sorted({KID_SIZE, max(KID_SIZE, min(size, dataset.stored_size))})
    tests = {"x": photos.images, "y": avatars.images}
    train = {"x": _some_images(dataset, "trainA"), "y": _some_images(dataset, "trainB")}
    views = [View(name, pixels, blurred) for name in networks for pixels in sizes for blurred in (False, True)]
    pairs = None
    if dataset.paired_test:
        of_photos, of_avatars = zip(*dataset.test_pairs(), strict=True)
        mean_avatar = np.asarray(resize(jnp.asarray(dataset.mean_image("trainB"))[None], size)[0], np.float64)
        pairs = Pairs(list(of_photos), list(of_avatars), mean_avatar)
    return TestSet(
        photos=photos,
        avatars=avatars,
        images={domain: resized(images, size) for domain, images in tests.items()},
        networks=networks,
        scales={view: _kid_scale(tests, train, networks[view.network], view) for view in views},
        pairs=pairs,
    )


def _some_images(dataset: Dataset, split: str) -> np.ndarray:
    rows = len(dataset.splits[split])
    chosen = np.random.default_rng(0).permutation(rows)[:_FLOOR_IMAGES]
    return np.stack([dataset.read(split, int(i))["image"] for i in chosen])


def _kid_scale(
    tests: Mapping[str, np.ndarray], train: Mapping[str, np.ndarray], network: Features, view: View
) -> KidScale:
    features = {domain: network(_seen(images, view)) for domain, images in tests.items()}
    return KidScale(
        features=features,
        floor={domain: kid(network(_seen(train[domain], view)), features[domain]) for domain in features},
        ceiling=kid(features["x"], features["y"]),
    )


def _seen(images: np.ndarray, view: View) -> np.ndarray:
    images = resized(images, view.size)
    return low_pass(images) if view.blurred else images
