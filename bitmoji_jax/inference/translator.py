"""The translator: photos in, avatars out, and back."""

import dataclasses
import functools
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from PIL import Image

from bitmoji_jax.cache import use_compilation_cache
from bitmoji_jax.config import ExperimentConfig
from bitmoji_jax.data.images import load_photo
from bitmoji_jax.errors import InputError
from bitmoji_jax.inference.export_stablehlo import load_exported
from bitmoji_jax.inference.guard import Guard
from bitmoji_jax.inference.look import Look, look_of
from bitmoji_jax.inference.variants import restore, vary
from bitmoji_jax.inference.weights import Weights, load_weights, pretrained_weights, run_weights
from bitmoji_jax.models.layers import prepare
from bitmoji_jax.models.networks import (
    Params,
    avatar_size,
    avatar_to_photo,
    example_inputs,
    guide_size,
    has_reader,
    make_network,
    photo_to_avatar,
    read_guide,
)
from bitmoji_jax.models.reader import GLASSES, HAT, MOUTH
from bitmoji_jax.ops.batching import BATCHES, in_batches, map_images, resized
from bitmoji_jax.ops.image import check_images, to_float, to_uint8
from bitmoji_jax.parallel import REPLICATED, SHARDED, make_mesh

if TYPE_CHECKING:
    from bitmoji_jax.faces.align import AlignedFace

Translate = Callable[[np.ndarray], np.ndarray]
"""uint8 images [N, H, H, 3], any N and H -> uint8 [N, S, S, 3]."""


class Guided(NamedTuple):
    """A student with a reader."""

    draw: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    """As a `Translate`, with a guide, float32 [size], NaN where the photo decides; also returns what `read` does."""
    read: Callable[[np.ndarray], np.ndarray]
    """Photos as those of a `Translate` -> guides, float32 [N, size]."""
    size: int
    """`guide_size` of the weights."""


Source = str | os.PathLike[str] | bytes | Image.Image | np.ndarray
"""A photo: a file, its content, an image of Pillow, or uint8 [H, W, 3] in sRGB, any H and W."""

_CROP_SIZE = 256  # pixels a side of a face found in a photo: more than G needs, so that the crop can be shown


@dataclasses.dataclass(frozen=True, eq=False)
class Portrait:
    """A face found in a photo, and its avatar."""

    crop: np.ndarray
    """uint8 [H, H, 3]: the face as it was translated; 256 pixels a side where it was found in a photo."""
    avatar: np.ndarray
    """uint8 [S, S, 3]."""
    confidence: float
    """That this is an upright human face, 0 to 1."""
    quality: float
    """The lower of `confidence` and, where the weights have a guard, `Guard.typicality`: 0 to 1. Under 0.5 a person
    should check the avatar before it is used."""
    warnings: tuple[str, ...]
    """Faults of the photo that `force` ignored."""
    look: Look | None = None
    """What the avatar was drawn with; None where the weights have no reader."""
    variant: int = 1
    """Which of the avatars of inference/variants.py it is."""

    def sticker(self, format: Literal["webp", "png"] = "webp") -> bytes:
        """Makes a file of the avatar that blinks and smiles; WebP or APNG, see `inference/sticker.py`."""
        from bitmoji_jax.inference.sticker import make_sticker  # not at the top: training would start later

        return make_sticker(self.avatar, format)


class Translator:
    """Photos to avatars (`x2y`), by G, by G and the refiner, or by the student; avatars to photos (`y2x`), by F.

    Made by `from_run`, `from_file`, `pretrained` or `from_weights`; InputError where they find no weights. `photo` and
    `portraits` take any photo of a person, `x2y` takes faces framed like those of training. A large batch is shared by
    the devices of this process. Threads may share a translator. A forked process may not, where JAX had started before
    the fork: InputError.
    """

    def __init__(
        self,
        directions: Mapping[str, Translate],
        *,
        size: int,
        input_size: int | None = None,
        cut_out: bool,
        images: int = 0,
        guard: Guard | None = None,
        guided: Guided | None = None,
    ) -> None:
        """Takes the directions "x2y" and perhaps "y2x", and the first with a guide where the networks follow one.

        `size` is the side of the avatars in pixels, `input_size` that of the photos that the first network takes (by
        default the same), `cut_out` whether photos are cut out onto white first, `images` the number seen of each
        domain in training.
        """
        self.size, self.input_size = size, size if input_size is None else input_size
        self.cut_out, self.images = cut_out, images
        self._directions, self._guard, self._guided = directions, guard, guided

    @classmethod
    def from_weights(cls, weights: Weights) -> "Translator":
        """Uses weights in memory, on all devices of this process."""
        use_compilation_cache()
        config, networks = weights.config, weights.networks
        everywhere = NamedSharding(make_mesh(jax.local_devices()), REPLICATED)
        prepared = {name: _prepared(config, name, params, everywhere) for name, params in networks.items()}
        x2y, y2x = (make_translate(functools.partial(way, config)) for way in (photo_to_avatar, avatar_to_photo))
        to_avatar = {name: params for name, params in prepared.items() if name != "f"}
        directions: dict[str, Translate] = {"x2y": functools.partial(x2y, to_avatar)}
        guided = _guided(config, to_avatar) if has_reader(config, networks) else None
        if guided is not None:  # one program for both
            draw, nothing = guided.draw, Look().guide(guided.size)
            directions["x2y"] = lambda photos: draw(photos, nothing)[0]
        if "f" in networks:
            directions["y2x"] = functools.partial(y2x, {"f": prepared["f"]})
        return cls(
            directions,
            size=avatar_size(config, networks),
            input_size=config.data.image_size,
            cut_out=config.data.cut_out,
            images=weights.images,
            guard=weights.guard,
            guided=guided,
        )

    @classmethod
    def from_run(cls, run: str | os.PathLike[str], checkpoint: str | int | None = None) -> "Translator":
        """Loads a run's weights; arguments and errors are those of `run_weights`."""
        return cls.from_weights(run_weights(Path(run), checkpoint)[0])

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> "Translator":
        """Loads a file of weights, such as a run's best.safetensors, or an exported StableHLO file, which has no F."""
        if not zipfile.is_zipfile(path):
            return cls.from_weights(load_weights(Path(path)))
        use_compilation_cache()
        config, images, photo_size, size, x2y = load_exported(path)
        return cls({"x2y": x2y}, size=size, input_size=photo_size, cut_out=config.data.cut_out, images=images)

    @classmethod
    def pretrained(cls, name: str | None = None) -> "Translator":
        """Loads weights in the package, by default the first of `inference/weights.py`, `PRETRAINED`.

        Read their model card (`inference/MODEL_CARD.md`) before use. InputError where there are none of this name.
        """
        return cls.from_weights(pretrained_weights(name))

    def __call__(self, photos: np.ndarray) -> np.ndarray:
        """Calls `x2y`."""
        return self.x2y(photos)

    @property
    def directions(self) -> frozenset[str]:
        """The directions that there are: "x2y", and "y2x" where there is an F."""
        return frozenset(self._directions)

    def x2y(self, photos: np.ndarray, look: Look | None = None) -> np.ndarray:
        """Translates photos to avatars: uint8 [N, H, H, 3], any N and H -> uint8 [N, S, S, 3], S being `size`.

        Compiled once for each H and batches of 1, 8 and 32 a device: other N are split and padded. With a `look`, all
        avatars get what it says. Raises ValueError where the images are not uint8, square or RGB, and InputError for a
        look that the weights cannot follow.
        """
        if look is None or look == Look():
            return self._directions["x2y"](photos)
        guided = self.check_look(look)
        return guided.draw(photos, look.guide(guided.size))[0]

    @property
    def guided(self) -> bool:
        """Whether a `Look` can be chosen."""
        return self._guided is not None

    @property
    def glasses(self) -> bool:
        """Whether the glasses of a `Look` can be chosen."""
        return self._guided is not None and self._guided.size > GLASSES

    @property
    def mouth(self) -> bool:
        """Whether the mouth of a `Look` can be chosen."""
        return self._guided is not None and self._guided.size > MOUTH

    @property
    def hat(self) -> bool:
        """Whether the hat of a `Look` can be chosen."""
        return self._guided is not None and self._guided.size > HAT

    def check_look(self, look: Look) -> Guided:
        """Returns the networks that follow a look; InputError where the weights have none, or not for all of it."""
        if self._guided is None:
            raise InputError("with these weights the look of avatars cannot be chosen: they have no reader")
        if look.glasses is not None and not self.glasses:
            raise InputError("with these weights glasses cannot be chosen: they were trained without them")
        if look.mouth is not None and not self.mouth:
            raise InputError("with these weights the mouth cannot be chosen: they were trained without it")
        if look.hat is not None and not self.hat:
            raise InputError("with these weights a hat cannot be chosen: they are of an earlier version")
        return self._guided

    def read(self, photos: np.ndarray) -> list[Look | None]:
        """Reads the looks of photos as `x2y` takes them; None for each where the weights have no reader."""
        if self._guided is None:
            return [None] * len(photos)
        return [look_of(guide) for guide in self._guided.read(photos)]

    def y2x(self, avatars: np.ndarray) -> np.ndarray:
        """Translates avatars of any size to photos of the size of F, otherwise as `x2y`.

        InputError where there is no F, as in an exported file.
        """
        if "y2x" not in self._directions:
            raise InputError("this file translates photos to avatars only: use the run it was exported from")
        return self._directions["y2x"](avatars)

    def photo(self, source: Source, *, force: bool = False, look: Look | None = None) -> Image.Image:
        """Makes the avatar of the largest face in a photo, an RGB image: finds, aligns, cuts out and translates it.

        With `force` also of a face with faults, or of the middle of the photo where there is none. `look` is as in
        `x2y`.

        Raises:
          UnusableImageError: the file has no image that can be used.
          ValueError: an array is not uint8 [H, W, 3].
          FaceError: there is no face, or none without faults.
        """
        return Image.fromarray(self.portraits(source, force=force, look=look)[0].avatar)

    def portraits(
        self,
        source: Source,
        *,
        force: bool = False,
        all_faces: bool = False,
        look: Look | None = None,
        variants: Sequence[int] = (1,),
    ) -> list[Portrait]:
        """Does what `photo` does, with details: of the largest face or, with `all_faces`, of each without faults.

        `variants` is as in `translate_crops`.
        """
        if not isinstance(source, np.ndarray):
            source = load_photo(Path(source) if isinstance(source, str | os.PathLike) else source)
        return self.translate_faces(self.align(source, force=force, all_faces=all_faces), look, variants)

    def align(self, photo: np.ndarray, *, force: bool = False, all_faces: bool = False) -> "list[AlignedFace]":
        """Finds the faces in a decoded photo, the first half of `portraits`; arguments are those of `faces.align`."""
        from bitmoji_jax.faces.align import align  # not at the top: training does not need it, and starts sooner

        return align(photo, size=_CROP_SIZE, cut_out=self.cut_out, force=force, all_faces=all_faces)

    def translate_faces(
        self, faces: "Sequence[AlignedFace]", look: Look | None = None, variants: Sequence[int] = (1,)
    ) -> list[Portrait]:
        """Translates faces of any number of photos, the second half of `portraits`."""
        if not faces:
            return []
        portraits = self.translate_crops([face.image for face in faces], look, variants)
        face_of_each = [face for face in faces for _ in variants]
        return [
            dataclasses.replace(
                portrait,
                confidence=face.confidence,
                quality=min(face.confidence, portrait.quality),
                warnings=tuple(map(str, face.warnings)),
            )
            for face, portrait in zip(face_of_each, portraits, strict=True)
        ]

    def translate_crops(
        self, crops: Sequence[np.ndarray], look: Look | None = None, variants: Sequence[int] = (1,)
    ) -> list[Portrait]:
        """Translates faces framed like those of training, each uint8 [H, H, 3]; `confidence` is 1.

        Of each crop it makes the `variants` (inference/variants.py), next to each other in the list; ValueError for
        numbers that are none.
        """
        of_variants = [self._translate_variant(np.asarray(crops), look or Look(), variant) for variant in variants]
        return [portrait for portraits in zip(*of_variants, strict=True) for portrait in portraits]

    def _translate_variant(self, crops: np.ndarray, look: Look, variant: int) -> list[Portrait]:
        images = vary(crops, variant)
        looks: list[Look | None] = [None] * len(crops)
        if self._guided is None:
            avatars = self.x2y(images, look)
        else:
            avatars, guides = self.check_look(look).draw(images, look.guide(self._guided.size))
            looks = [look_of(guide).but(look) for guide in guides]
        qualities = np.ones(len(crops))
        if self._guard is not None and "y2x" in self.directions:
            cycled = self.y2x(avatars)  # of the size of F, at which the guard was fitted
            of_its_size = functools.partial(resized, size=cycled.shape[1])
            qualities = self._guard.typicality(of_its_size(images), of_its_size(avatars), cycled)
        each = zip(crops, restore(avatars, variant), qualities.tolist(), looks, strict=True)
        return [Portrait(crop, avatar, 1.0, quality, (), drawn, variant) for crop, avatar, quality, drawn in each]


def make_translate(
    function: Callable[[Any, jax.Array], jax.Array], devices: Sequence[jax.Device] | None = None
) -> Callable[[Any, np.ndarray], np.ndarray]:
    """Returns translate(networks, images): `function` of any number of images, as in `Translator.x2y`.

    `function` maps networks by name and float32 images [N, H, H, 3] in [-1, 1] to avatars or photos. Networks are on
    all devices of this process, or on `devices` of it, which share each batch; they may be those of `prepare`, and any
    tree of arrays may be in their place.
    """
    return _make_map(lambda networks, images: to_uint8(function(networks, images)), devices)


def _make_map(
    function: Callable[[Any, jax.Array], Any], devices: Sequence[jax.Device] | None = None
) -> Callable[[Any, np.ndarray], Any]:
    """As `make_translate`, of a function that returns a tree of arrays [N, ...], of which NumPy arrays are made."""
    mesh = make_mesh(jax.local_devices() if devices is None else devices)
    # Sharded explicitly: `map_images` over a batch on several devices would move every image between them.

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(REPLICATED, SHARDED), out_specs=SHARDED)
    def map_batch(networks: Any, images: jax.Array) -> Any:
        return map_images(functools.partial(function, networks), to_float(images))

    def apply(networks: Any, images: np.ndarray) -> Any:
        check_images(images)
        batches = [count * mesh.size for count in BATCHES]
        return in_batches(functools.partial(map_batch, networks), images, batches)

    return apply


def _guided(config: ExperimentConfig, networks: Mapping[str, Params]) -> Guided:
    def draw(given: tuple[Mapping[str, Params], jax.Array], photos: jax.Array) -> tuple[jax.Array, jax.Array]:
        networks, wanted = given
        read = read_guide(config, networks, photos)
        guides = jnp.where(jnp.isnan(wanted), read, wanted)
        return to_uint8(photo_to_avatar(config, networks, photos, guides)), read

    draw_all, read_all = _make_map(draw), _make_map(functools.partial(read_guide, config))
    return Guided(
        draw=lambda photos, wanted: draw_all((networks, wanted), photos),
        read=lambda photos: read_all(networks, photos),
        size=guide_size(config),
    )


def _prepared(config: ExperimentConfig, name: str, params: Params, sharding: NamedSharding) -> Params:
    network, inputs = make_network(config, name), example_inputs(config, name)
    return jax.jit(lambda params: prepare(network, params, *inputs), out_shardings=sharding)(params)
