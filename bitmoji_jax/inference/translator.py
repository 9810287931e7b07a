"""The translator: uint8 photos in, uint8 avatars out, and back."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from bitmoji_jax.config import ExperimentConfig
from bitmoji_jax.data.augment import resize, to_float, to_uint8
from bitmoji_jax.inference.weights import Weights, load_weights, pretrained_weights, run_weights
from bitmoji_jax.models.batching import map_images
from bitmoji_jax.training.train_step import Params, make_networks

_BATCHES = (32, 8, 1)  # sizes compiled for; the largest bounds memory
_LEAST_FILLED = 0.75  # of a batch; what is missing is padding, computed and thrown away


class Translator:
    """G: photos to avatars (`x2y`), and F: avatars to photos (`y2x`), with averaged weights.

    Photos are to be framed like those of training: see the README, "Your own pictures".
    """

    def __init__(self, weights: Weights) -> None:
        """Puts the weights on the default device; `from_run`, `from_file` and `pretrained` find them."""
        self.config: ExperimentConfig = weights.config
        self.images: int = weights.images
        """Images of each domain seen in training."""
        self.size: int = weights.config.data.image_size
        """Side of the output in pixels."""
        self._generators = jax.device_put(weights.generators, jax.local_devices()[0])
        self._translate = make_translate(weights.config)

    @classmethod
    def from_run(cls, run: str | os.PathLike[str], checkpoint: str | int | None = None) -> "Translator":
        """Of a run's folder: "best" (lowest KID), "latest", or images seen; None is the best where there is one.

        Raises:
          InputError: there is no run, or not this checkpoint in it.
        """
        return cls(run_weights(Path(run), checkpoint)[0])

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> "Translator":
        """Of a file of weights, such as a run's best.safetensors; InputError if it is not one."""
        return cls(load_weights(Path(path)))

    @classmethod
    def pretrained(cls) -> "Translator":
        """With the weights in the package; read their model card (`inference/MODEL_CARD.md`) before use."""
        return cls(pretrained_weights())

    def __call__(self, photos: np.ndarray) -> np.ndarray:
        """`x2y`."""
        return self.x2y(photos)

    def x2y(self, photos: np.ndarray) -> np.ndarray:
        """Photos to avatars: uint8 [N, H, H, 3], any N and H -> uint8 [N, size, size, 3].

        Compiled for batches of 1, 8 and 32 and each H, and never again: other N are cut and padded.

        Raises:
          ValueError: the images are not uint8, square or RGB.
        """
        return self._through("g", photos)

    def y2x(self, avatars: np.ndarray) -> np.ndarray:
        """Avatars to photos; otherwise as `x2y`."""
        return self._through("f", avatars)

    def _through(self, name: str, images: np.ndarray) -> np.ndarray:
        return self._translate(self._generators[name], images)


def make_translate(config: ExperimentConfig) -> Callable[[Params, np.ndarray], np.ndarray]:
    """Returns translate(params, images): one generator over any number of images, as `Translator.x2y` says it."""
    generator, _ = make_networks(config)
    size = config.data.image_size

    @jax.jit
    def translate_batch(params: Params, images: jax.Array) -> jax.Array:
        return to_uint8(map_images(lambda part: generator.apply(params, part), resize(to_float(images), size)))

    def translate(params: Params, images: np.ndarray) -> np.ndarray:
        return in_batches(lambda batch: translate_batch(params, batch), images, size)

    return translate


def in_batches(translate_batch: Callable[[np.ndarray], jax.Array], images: np.ndarray, size: int) -> np.ndarray:
    """Any number of images through a function that is compiled for each: in batches of 1, 8 and 32, the last padded.

    Args:
      translate_batch: uint8 [B, H, H, 3] -> uint8 [B, size, size, 3].
      images: uint8 [N, H, H, 3].
      size: side of the result in pixels.

    Returns:
      uint8 [N, size, size, 3].

    Raises:
      ValueError: the images are not uint8, square or RGB.
    """
    _check(images)
    translated = np.empty((len(images), size, size, 3), np.uint8)
    start = 0
    while start < len(images):
        batch = next(count for count in _BATCHES if len(images) - start >= _LEAST_FILLED * count)
        part = images[start : start + batch]
        padded = np.pad(part, ((0, batch - len(part)), (0, 0), (0, 0), (0, 0)))
        translated[start : start + len(part)] = translate_batch(padded)[: len(part)]
        start += len(part)
    return translated


def resized(images: np.ndarray, size: int) -> np.ndarray:
    """uint8 [N, H, H, 3] -> uint8 [N, size, size, 3], as a translator resizes what it is given."""
    _check(images)
    if images.shape[1] == size:
        return images
    return np.concatenate(
        [_resized_batch(images[i : i + _BATCHES[0]], size) for i in range(0, len(images), _BATCHES[0])]
    )


@functools.partial(jax.jit, static_argnums=1)
def _resized_batch(images: jax.Array, size: int) -> jax.Array:
    return to_uint8(resize(to_float(images), size))


def _check(images: np.ndarray) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != images.shape[2] or images.shape[3] != 3:
        raise ValueError(f"images are {images.dtype} {list(images.shape)}, not uint8 [N, H, H, 3]")
