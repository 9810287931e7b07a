"""What the scores of a run are compared with: features of the real test images, and how far apart real sets are."""

import dataclasses

import numpy as np

from bitmoji_jax.data.pipeline import Dataset
from bitmoji_jax.evaluation.held_out import HeldOut
from bitmoji_jax.metrics.kid import Kid, kid, low_pass
from bitmoji_jax.models.efficientnet import Features
from bitmoji_jax.ops.batching import resized

DOMAINS = ("x", "y")
_FLOOR_IMAGES = 200  # enough for a number that is about 0, and features are what an evaluation spends its time on


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """Real test images at the size of a run, their features, and the two ends of the KID scale."""

    images: dict[str, np.ndarray]
    """By domain, uint8 [N, S, S, 3]."""
    features: dict[str, np.ndarray]
    """By domain, [N, D]."""
    low_pass_features: dict[str, np.ndarray]
    """Of the images after `kid.low_pass`."""
    floor: dict[str, Kid]
    """By domain: real training images against the real test images, what a perfect translator scores."""
    low_pass_floor: dict[str, Kid]
    ceiling: Kid
    """Photos against avatars: what doing nothing scores, in either direction."""
    low_pass_ceiling: Kid


def take_reference(dataset: Dataset, photos: HeldOut, avatars: HeldOut, size: int, features: Features) -> Reference:
    """Everything about the real images that runs of `size` pixels share."""
    tests = {"x": photos, "y": avatars}
    images = {domain: resized(tests[domain].images, size) for domain in DOMAINS}
    plain = {domain: features(images[domain]) for domain in DOMAINS}
    blurred = {domain: features(low_pass(images[domain])) for domain in DOMAINS}
    floor, low_pass_floor = {}, {}
    for domain, split in zip(DOMAINS, ("trainA", "trainB"), strict=True):
        count = min(_FLOOR_IMAGES, len(dataset.splits[split]))
        chosen = np.random.default_rng(0).permutation(len(dataset.splits[split]))[:count]
        train = resized(np.stack([dataset.read(split, int(i))["image"] for i in chosen]), size)
        floor[domain] = kid(features(train), plain[domain])
        low_pass_floor[domain] = kid(features(low_pass(train)), blurred[domain])
    return Reference(
        images=images,
        features=plain,
        low_pass_features=blurred,
        floor=floor,
        low_pass_floor=low_pass_floor,
        ceiling=kid(plain["x"], plain["y"]),
        low_pass_ceiling=kid(blurred["x"], blurred["y"]),
    )
