"""Scores taken while a run trains: a cheap KID, and alarms for two ways of failing that losses do not show."""

import functools
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import rich.console

from bitmoji_jax.config import ExperimentConfig
from bitmoji_jax.data.pipeline import Dataset
from bitmoji_jax.inference.guard import fit_guard
from bitmoji_jax.inference.translator import make_translate
from bitmoji_jax.inference.weights import BEST, Weights, save_weights
from bitmoji_jax.metrics.images import colour_inversion, does_nothing
from bitmoji_jax.metrics.kid import kid
from bitmoji_jax.models.networks import avatar_to_photo, photo_to_avatar
from bitmoji_jax.models.squeezenet import load_squeezenet
from bitmoji_jax.ops.batching import resized
from bitmoji_jax.training.stage import Stage
from bitmoji_jax.training.train_state import TrainState

_IMAGES = 200  # of each domain: 3 s a validation on two CPU cores


class Validation:
    """Scores translations of the same training images each time, keeps the weights of the lowest KID: best.safetensors.

    Weights count from `Stage.best_from` on.

    They are training images, so that choosing the best checkpoint leaves the test images unseen: the test score of the
    best would flatter otherwise.
    """

    best: dict[str, float] | None
    """The lowest KID so far, and the images seen then; None before the first."""

    def __init__(
        self,
        config: ExperimentConfig,
        stage: Stage,
        dataset: Dataset,
        folder: Path,
        console: rich.console.Console,
        devices: Sequence[jax.Device],
        *,
        best: dict[str, float] | None = None,
    ) -> None:
        """Prepares the scores of one stage.

        Args:
          config: the experiment.
          stage: what is trained.
          dataset: its images are read at the first call.
          folder: the stage's, for the best weights.
          console: for alarms.
          devices: of this process, those that train.
          best: of a run that is continued.
        """
        self.best = best
        self._config = config
        self._dataset = dataset
        self._stage = stage
        self._folder = folder
        self._photo_to_avatar = make_translate(functools.partial(photo_to_avatar, config), devices)
        self._avatar_to_photo = make_translate(functools.partial(avatar_to_photo, config), devices)
        self._console = console

    @functools.cached_property
    def _photos(self) -> np.ndarray:
        return self._read("trainA")

    @functools.cached_property
    def _resized_photos(self) -> np.ndarray:
        return resized(self._photos, self._config.data.image_size)

    @functools.cached_property
    def _real_avatars(self) -> np.ndarray:
        return resized(self._read("trainB"), self._config.data.image_size)

    # By SqueezeNet: later stages train on EfficientNet's features, in which KID then falls without better pictures.
    @functools.cached_property
    def _real_features(self) -> np.ndarray:
        return load_squeezenet()(self._real_avatars if self._stage.domain == "y" else self._resized_photos)

    def _read(self, split: str) -> np.ndarray:
        count = min(_IMAGES, len(self._dataset.splits[split]))
        return np.stack([self._dataset.read(split, i)["image"] for i in range(count)])

    def __call__(self, state: TrainState, images: int) -> dict[str, float]:
        """Scores the averaged networks after `images` images, prints alarms, and saves the weights if they are best.

        All is measured at `data.image_size`, so that the stages of a run can be compared.

        Returns:
          kid, luma_correlation (−1 to 1) and output_change (grey levels, 0 to 255): the values of `metrics.kid`,
          `metrics.images.colour_inversion` and `metrics.images.does_nothing`.
        """
        networks = self._stage.networks_of(state.ema, state.frozen)
        avatars = resized(self._photo_to_avatar(networks, self._photos), self._config.data.image_size)
        inversion = colour_inversion(self._resized_photos, avatars)
        idleness = does_nothing(self._resized_photos, avatars)
        if inversion.raised:
            what = f"dark becomes light (correlation of photo and avatar {inversion.value:.2f})"
            self._alarm(images, what, "start again with another train.seed or a larger train.identity_weight")
        if idleness.raised:
            what = f"avatars differ from their photos by {idleness.value:.1f} grey levels only"
            self._alarm(images, what, "lower train.cycle_weight and train.identity_weight")
        photos_drawn = self._stage.domain == "x"
        scored = self._avatar_to_photo(networks, self._real_avatars) if photos_drawn else avatars
        scores = {
            "luma_correlation": inversion.value,
            "output_change": idleness.value,
            "kid": kid(load_squeezenet()(scored), self._real_features, subsets=1).mean,
        }
        if images >= self._stage.best_from and (self.best is None or scores["kid"] < self.best["kid"]):
            self.best = {"kid": scores["kid"], "images": images}
            cycled = self._avatar_to_photo(networks, avatars)
            guard = fit_guard(self._real_avatars, self._resized_photos, avatars, cycled)
            kept = jax.device_get((networks, state.discriminators))
            save_weights(self._folder / BEST, Weights(self._config, images, kept[0], guard, kept[1]))
        return scores

    def _alarm(self, images: int, what: str, remedy: str) -> None:
        self._console.print(f"Alarm at {images:,} images: {what}. If it stays, {remedy}")
