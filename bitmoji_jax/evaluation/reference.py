"""What the scores of a run are compared with: features of the real test images, and how far apart real sets are."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from bitmoji_jax.data.pipeline import Dataset
from bitmoji_jax.evaluation.held_out import HeldOut
from bitmoji_jax.metrics.kid import Kid, kid, low_pass
from bitmoji_jax.models.features import Features
from bitmoji_jax.ops.batching import resized

DOMAINS = ("x", "y")
EFFICIENTNET = "EfficientNet-Lite0"
"""Name of the network that diversity is measured with, and whose KID is called kid_y and kid_x."""
_FLOOR_IMAGES = 200  # enough for a number that is about 0, and features are what an evaluation spends its time on


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkReference:
    """Features of the real test images by one network, and the two ends of its KID scale."""

    features: dict[str, np.ndarray]
    """By domain, [N, D]."""
    low_pass_features: dict[str, np.ndarray]
    """Of the images after `kid.low_pass`."""
    floor: dict[str, Kid]
    """By domain: real training images against the real test images, the score of a perfect translator."""
    low_pass_floor: dict[str, Kid]
    ceiling: Kid
    """Photos against avatars: the score of untranslated images, in either direction."""
    low_pass_ceiling: Kid


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """Real test images at the size of a run, and what each network gives for them."""

    images: dict[str, np.ndarray]
    """By domain, uint8 [N, S, S, 3]."""
    networks: dict[str, NetworkReference]
    """By name."""


def take_reference(
    dataset: Dataset, photos: HeldOut, avatars: HeldOut, size: int, networks: Mapping[str, Features]
) -> Reference:
    """Everything about the real images that runs of `size` pixels share."""
    images = {"x": resized(photos.images, size), "y": resized(avatars.images, size)}
    training = {}
    for domain, split in zip(DOMAINS, ("trainA", "trainB"), strict=True):
        count = min(_FLOOR_IMAGES, len(dataset.splits[split]))
        chosen = np.random.default_rng(0).permutation(len(dataset.splits[split]))[:count]
        training[domain] = resized(np.stack([dataset.read(split, int(i))["image"] for i in chosen]), size)
    return Reference(images, {name: _network_reference(images, training, f) for name, f in networks.items()})


def _network_reference(
    images: Mapping[str, np.ndarray], training: Mapping[str, np.ndarray], features: Features
) -> NetworkReference:
    plain = {domain: features(images[domain]) for domain in DOMAINS}
    blurred = {domain: features(low_pass(images[domain])) for domain in DOMAINS}
    return NetworkReference(
        features=plain,
        low_pass_features=blurred,
        floor={domain: kid(features(training[domain]), plain[domain]) for domain in DOMAINS},
        low_pass_floor={domain: kid(features(low_pass(training[domain])), blurred[domain]) for domain in DOMAINS},
        ceiling=kid(plain["x"], plain["y"]),
        low_pass_ceiling=kid(blurred["x"], blurred["y"]),
    )
