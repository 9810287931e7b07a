"""The translator: photos in, avatars out, and back."""

import dataclasses
import functools
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np
from jax.sharding import NamedSharding
from PIL import Image

from bitmoji_jax.config import ExperimentConfig
from bitmoji_jax.data.images import UnusableImageError, load_photo
from bitmoji_jax.errors import InputError
from bitmoji_jax.inference.guard import Guard
from bitmoji_jax.inference.weights import Weights, load_weights, pretrained_weights, run_weights
from bitmoji_jax.models.layers import prepare
from bitmoji_jax.models.networks import Params, apply_generator, make_generator
from bitmoji_jax.ops.batching import BATCHES, in_batches, map_images, resized
from bitmoji_jax.ops.image import check_images, resize, to_float, to_uint8
from bitmoji_jax.parallel import REPLICATED, SHARDED, make_mesh

if TYPE_CHECKING:
    from bitmoji_jax.faces.align import AlignedFace

Translate = Callable[[np.ndarray], np.ndarray]
"""uint8 images [N, H, H, 3], any N and H -> uint8 [N, S, S, 3]."""

_CROP_SIZE = 256  # of a face found in a photo: more than G needs, so that the crop can be shown


@dataclasses.dataclass(frozen=True, eq=False)
class Portrait:
    """A face found in a photo, and its avatar."""

    crop: np.ndarray
    """uint8 [H, H, 3]: the face as it was translated, upright, in the framing of training; 256 pixels a side where it
    was found in a photo."""
    avatar: np.ndarray
    """uint8 [S, S, 3]."""
    confidence: float
    """That this is a face that can be used, 0 to 1."""
    quality: float
    """The lower of `confidence` and, where the weights know it, `Guard.usualness`: 0 to 1. Under 0.5 a person should
    look at the avatar before it is used."""
    warnings: tuple[str, ...]
    """What is wrong with the photo, where it was forced."""


class Translator:
    """G: photos to avatars (`x2y`), and F: avatars to photos (`y2x`), with averaged weights.

    `photo` and `portraits` take any photo of a person; `x2y` takes faces framed like those of training: see the README,
    "Your own pictures". A large batch is shared by the devices of this process.
    """

    def __init__(
        self,
        directions: Mapping[str, Translate],
        *,
        size: int,
        cut_out: bool,
        images: int = 0,
        guard: Guard | None = None,
    ) -> None:
        """`from_run`, `from_file`, `pretrained` and `from_weights` make one.

        Args:
          directions: x2y, and perhaps y2x.
          size: side of the output in pixels.
          cut_out: whether photos are cut out onto white before they are translated.
          images: images of each domain seen in training.
          guard: what is usual, see `Portrait.quality`.
        """
        self.size = size
        self.cut_out = cut_out
        self.images = images
        self._directions = directions
        self._guard = guard

    @classmethod
    def from_weights(cls, weights: Weights) -> "Translator":
        """Of weights in memory; they go to all devices of this process."""
        translate = make_translate(weights.config)
        network, size = make_generator(weights.config), weights.config.data.image_size
        everywhere = NamedSharding(make_mesh(jax.local_devices()), REPLICATED)
        prepare_params = jax.jit(lambda params: prepare(network, params, size), out_shardings=everywhere)
        generators = {name: prepare_params(params) for name, params in weights.generators.items()}
        return cls(
            {
                "x2y": functools.partial(translate, generators["g"]),
                "y2x": functools.partial(translate, generators["f"]),
            },
            size=size,
            cut_out=weights.config.data.cut_out,
            images=weights.images,
            guard=weights.guard,
        )

    @classmethod
    def from_run(cls, run: str | os.PathLike[str], checkpoint: str | int | None = None) -> "Translator":
        """Of a run's folder: "best" (lowest KID), "latest", or images seen; None is the best where there is one.

        Raises:
          InputError: there is no run, or not this checkpoint in it.
        """
        return cls.from_weights(run_weights(Path(run), checkpoint)[0])

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> "Translator":
        """Of a file of weights, such as a run's best.safetensors, or of an exported StableHLO file, which has no F.

        Raises:
          InputError: there is no such file, or it is neither.
        """
        if not zipfile.is_zipfile(path):
            return cls.from_weights(load_weights(Path(path)))
        from bitmoji_jax.inference.export_stablehlo import load_exported  # which is made of this module's parts

        exported = load_exported(path)
        return cls({"x2y": exported}, size=exported.size, cut_out=exported.config.data.cut_out, images=exported.images)

    @classmethod
    def pretrained(cls) -> "Translator":
        """With the weights in the package; read their model card (`inference/MODEL_CARD.md`) before use."""
        return cls.from_weights(pretrained_weights())

    def __call__(self, photos: np.ndarray) -> np.ndarray:
        """`x2y`."""
        return self.x2y(photos)

    def x2y(self, photos: np.ndarray) -> np.ndarray:
        """Photos to avatars: uint8 [N, H, H, 3], any N and H -> uint8 [N, size, size, 3].

        Compiled for batches of 1, 8 and 32 a device and each H, and never again: other N are cut and padded.

        Raises:
          ValueError: the images are not uint8, square or RGB.
        """
        return self._directions["x2y"](photos)

    def y2x(self, avatars: np.ndarray) -> np.ndarray:
        """Avatars to photos; otherwise as `x2y`. InputError where there is no F, as in an exported file."""
        if "y2x" not in self._directions:
            raise InputError("this file holds the way from photos to avatars only; use the run it was exported from")
        return self._directions["y2x"](avatars)

    def photo(
        self, source: str | os.PathLike[str] | bytes | Image.Image | np.ndarray, *, force: bool = False
    ) -> Image.Image:
        """The avatar of the largest face in a photo: finds, aligns, cuts out, translates.

        Args:
          source: a file, its content, or a decoded photo: a PIL image, or uint8 [H, W, 3] in sRGB, any H and W.
          force: whether to translate a face that can hardly be used, or the middle of the photo where there is none.

        Returns:
          An RGB image of `size` pixels a side.

        Raises:
          UnusableImageError: there is no image.
          FaceError: there is no face that can be used.
        """
        return Image.fromarray(self.portraits(source, force=force)[0].avatar)

    def portraits(
        self,
        source: str | os.PathLike[str] | bytes | Image.Image | np.ndarray,
        *,
        force: bool = False,
        all_faces: bool = False,
    ) -> list[Portrait]:
        """As `photo`, with all that is known: the largest face or, with `all_faces`, each that can be used."""
        if isinstance(source, np.ndarray):
            if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or 0 in source.shape:
                raise UnusableImageError("unreadable", f"{source.dtype} {list(source.shape)}, not uint8 [H, W, 3]")
            photo = source
        else:
            photo = load_photo(Path(source) if isinstance(source, str | os.PathLike) else source)
        return self.translate_faces(self.align(photo, force=force, all_faces=all_faces))

    def align(self, photo: np.ndarray, *, force: bool = False, all_faces: bool = False) -> "list[AlignedFace]":
        """The first half of `portraits`: `faces.align.align` of a decoded photo, in the framing of training."""
        from bitmoji_jax.faces.align import align  # a run trains without it, and starts sooner

        return align(photo, size=_CROP_SIZE, cut_out=self.cut_out, force=force, all_faces=all_faces)

    def translate_faces(self, faces: "Sequence[AlignedFace]") -> list[Portrait]:
        """The second half of `portraits`, for faces of any number of photos."""
        if not faces:
            return []
        portraits = self.translate_crops(np.stack([face.image for face in faces]))
        return [
            dataclasses.replace(
                portrait,
                confidence=face.confidence,
                quality=min(face.confidence, portrait.quality),
                warnings=tuple(map(str, face.warnings)),
            )
            for face, portrait in zip(faces, portraits, strict=True)
        ]

    def translate_crops(self, crops: np.ndarray) -> list[Portrait]:
        """Portraits of faces framed like those of training, uint8 [N, H, H, 3]; `confidence` is 1."""
        avatars = self.x2y(crops)
        qualities = np.ones(len(crops))
        if self._guard is not None and "y2x" in self._directions:
            qualities = self._guard.usualness(resized(crops, self.size), avatars, self.y2x(avatars))
        return [
            Portrait(crop, avatar, 1.0, float(quality), ())
            for crop, avatar, quality in zip(crops, avatars, qualities, strict=True)
        ]


def make_translate(config: ExperimentConfig) -> Callable[[Params, np.ndarray], np.ndarray]:
    """Returns translate(params, images): one generator over any number of images, as `Translator.x2y` says it.

    `params` are on all devices of this process, which share each batch; they may be those of `prepare`.
    """
    size = config.data.image_size
    mesh = make_mesh(jax.local_devices())
    # Each device maps over images of its own: a loop over a batch that lies on several would send them about.

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(REPLICATED, SHARDED), out_specs=SHARDED)
    def translate_batch(params: Params, images: jax.Array) -> jax.Array:
        return to_uint8(map_images(functools.partial(apply_generator, config, params), resize(to_float(images), size)))

    def translate(params: Params, images: np.ndarray) -> np.ndarray:
        check_images(images)
        batches = [count * mesh.size for count in BATCHES]
        return in_batches(functools.partial(translate_batch, params), images, batches)

    return translate
