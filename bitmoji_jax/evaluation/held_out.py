"""Test images, and what is known about them."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from bitmoji_jax.data.pipeline import Dataset
from bitmoji_jax.errors import InputError
from bitmoji_jax.metrics.colour import ITA_GROUPS, individual_typology_angle, ita_group, srgb_to_lab
from bitmoji_jax.metrics.face_colour import hair_colour, skin_colour

_SHOWN = ("glasses", "hat", "shadow")  # attributes of 0 or 1 that tell what an image shows


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOut:
    """One test split: N images as stored, H pixels a side."""

    images: np.ndarray
    """uint8 [N, H, H, 3]."""
    landmarks: np.ndarray
    """float32 [N, 5, 2], fractions of the image, NaN where unknown."""
    female: np.ndarray
    """float64 [N]: 1 female, 0 male, NaN unknown."""
    shown: Mapping[str, np.ndarray]
    """glasses, hat, shadow, as far as the dataset knows them: float64 [N], 1 shown, 0 not, NaN unknown."""
    skin: np.ndarray
    """sRGB of the skin, float64 [N, 3], 0 to 255: of attributes, else measured at the landmarks; NaN if neither."""
    hair: np.ndarray
    """Likewise of the hair."""

    def __len__(self) -> int:
        return len(self.images)

    def subsets(self) -> dict[str, np.ndarray]:
        """bool [N] by name: gender, what is shown, skin tone by ITA; those with no image are left out."""
        angles = individual_typology_angle(srgb_to_lab(self.skin))
        groups = np.array([ita_group(angle) for angle in angles])
        subsets = {
            "female": self.female == 1,
            "male": self.female == 0,
            **{name: shown == 1 for name, shown in self.shown.items()},
            **{f"skin: {group}": groups == group for group in ITA_GROUPS},
        }
        return {name: members for name, members in subsets.items() if members.any()}


def read_held_out(dataset: Dataset, split: str) -> HeldOut:
    """Reads testA or testB whole.

    Raises:
      InputError: the dataset has no such split, or less than two images in it.
    """
    count = len(dataset.splits.get(split, ()))
    if count < 2:
        raise InputError(
            f"the dataset has {count} images in split {split}: scores are taken on images not seen in training, and a "
            "KID that says something takes 100. `python -m bitmoji_jax prepare` puts one image in ten there"
        )
    rows = [dataset.read(split, i) for i in range(count)]
    images = np.stack([row["image"] for row in rows])
    landmarks = np.stack([row["landmarks"] for row in rows])

    def numbers(name: str) -> np.ndarray:
        values = [row["attributes"].get(name, np.nan) for row in rows]
        return np.array([value if isinstance(value, float) else np.nan for value in values], np.float64)

    def colour(name: str, measured: np.ndarray) -> np.ndarray:
        labelled = np.stack([numbers(f"{name}_{channel}") for channel in "rgb"], axis=-1)
        return np.where(np.isfinite(labelled).all(axis=1, keepdims=True), labelled, measured)

    shown = {name: numbers(name) for name in _SHOWN}
    return HeldOut(
        images=images,
        landmarks=landmarks,
        female=np.array([{"female": 1.0, "male": 0.0}.get(row["gender"], np.nan) for row in rows]),
        shown={name: values for name, values in shown.items() if np.isfinite(values).any()},
        skin=colour("skin", skin_colour(images, landmarks)),
        hair=colour("hair", hair_colour(images, landmarks)),
    )
