"""What a run is watched by while it trains: a cheap KID, and alarms for two ways of failing that losses don't show."""

from collections.abc import Callable

import numpy as np
import rich.console

from bitmoji_jax.data.pipeline import Dataset
from bitmoji_jax.inference.guard import Guard, fit_guard
from bitmoji_jax.metrics.images import colour_inversion, does_nothing
from bitmoji_jax.metrics.kid import kid
from bitmoji_jax.models.efficientnet import load_efficientnet_lite0
from bitmoji_jax.ops.batching import resized

Translate = Callable[[np.ndarray], np.ndarray]
"""uint8 images [N, H, H, 3] -> uint8 [N, S, S, 3]."""

_IMAGES = 200  # of each domain: 3 s a look on two CPU cores


class LoopScores:
    """Scores G on the same training images each time.

    They are training images so that choosing the best checkpoint leaves the test images unseen: a score of the best
    on them would otherwise flatter.
    """

    def __init__(self, dataset: Dataset, size: int, console: rich.console.Console) -> None:
        """Reads the images and resizes them to `size`."""

        def read(split: str) -> np.ndarray:
            count = min(_IMAGES, len(dataset.splits[split]))
            return np.stack([dataset.read(split, i)["image"] for i in range(count)])

        self._console = console
        self._photos = read("trainA")
        self._photos_resized = resized(self._photos, size)
        self._real_avatars = resized(read("trainB"), size)
        self._real_features: np.ndarray | None = None  # at the first look, not before the first step
        # A run that trains on EfficientNet's features must take its KID by the other network, `load_squeezenet`: by the
        # features it was trained on, KID falls without better pictures, and the wrong checkpoint is chosen.
        self._features = load_efficientnet_lite0()

    def __call__(self, translate: Translate, images: int) -> dict[str, float]:
        """Scores `translate`, uint8 photos -> uint8 avatars of size `size`, after `images` images; prints alarms.

        Returns:
          kid (by EfficientNet-Lite0), luma_correlation (−1 to 1) and output_change (grey levels, 0 to 255): see `kid`,
          `colour_inversion` and `does_nothing`.
        """
        avatars = translate(self._photos)
        inversion = colour_inversion(self._photos_resized, avatars)
        idleness = does_nothing(self._photos_resized, avatars)
        if inversion.raised:
            self._alarm(
                images,
                f"dark becomes light (correlation of photo and avatar {inversion.value:.2f})",
                "start again with another train.seed or a larger train.identity_weight",
            )
        if idleness.raised:
            self._alarm(
                images,
                f"avatars differ from their photos by {idleness.value:.1f} grey levels only",
                "lower train.cycle_weight and train.identity_weight",
            )
        if self._real_features is None:
            self._real_features = self._features(self._real_avatars)
        return {
            "luma_correlation": inversion.value,
            "output_change": idleness.value,
            "kid": kid(self._features(avatars), self._real_features, subsets=1).mean,
        }

    def guard(self, x2y: Translate, y2x: Translate) -> Guard:
        """What is usual in this run, by the same training images."""
        avatars = x2y(self._photos)
        return fit_guard(self._real_avatars, self._photos_resized, avatars, y2x(avatars))

    def _alarm(self, images: int, what: str, remedy: str) -> None:
        self._console.print(f"Alarm at {images:,} images: {what}. If it stays, {remedy}")
