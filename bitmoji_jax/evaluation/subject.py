"""A translator before the judges."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from bitmoji_jax.evaluation.held_out import HeldOut
from bitmoji_jax.evaluation.judges import Judges
from bitmoji_jax.evaluation.reference import Reference
from bitmoji_jax.inference.translator import Translator
from bitmoji_jax.models.features import Features


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A translator, the real test images at its size, and what it makes of them; what it is judged by."""

    translator: Translator
    photos: HeldOut
    avatars: HeldOut
    reference: Reference
    judges: Judges
    networks: Mapping[str, Features]
    fake_y: np.ndarray
    """uint8 [N, S, S, 3], G of the photos."""
    fake_x: np.ndarray
    """uint8 [M, S, S, 3], F of the avatars."""
    fake_y_features: Mapping[str, np.ndarray]
    """By network, [N, D]."""
    subsets: Mapping[str, np.ndarray]
    """bool [N] by name, of the photos."""
