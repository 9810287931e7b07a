"""The networks of an experiment, and the ways from photo to avatar and back through those that a run has.

By name: g: X -> Y and f: Y -> X (one module); r: rough avatars to clean ones (the refiner); a: photos to attributes of
a person (the reader); s: photos to avatars (the student), a network like R after G whose parts learn together, guided
by what A reads; t: points of a face in a photo to where its avatar should have them; l: photos to the same photos
without cast shadows; h: features of a photo to whether it shows a hat. D_X and D_Y share another module.
"""

from collections.abc import Container, Mapping
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp

from bitmoji_jax.config import ExperimentConfig, ReadConfig
from bitmoji_jax.models.clear_around import clear_around
from bitmoji_jax.models.discriminator import Discriminator
from bitmoji_jax.models.equal_eyes import equal_eyes
from bitmoji_jax.models.face_points import POINTS, Transport, measure
from bitmoji_jax.models.generator import Generator
from bitmoji_jax.models.mark_mouth import mark_mouths, mouth_of_photo
from bitmoji_jax.models.read_hat import FEATURES, HatReader, hat_features
from bitmoji_jax.models.reader import GLASSES, GUIDE, HAIR_COLOUR, HAT, HAT_COLOUR, MOUTH, SKIN_COLOUR, Reader, told
from bitmoji_jax.models.recolour import HAIR, SIZE, colour_in, recolour, repaint
from bitmoji_jax.models.reshape_face import reshape_faces
from bitmoji_jax.models.student import Student
from bitmoji_jax.models.unet import UNet
from bitmoji_jax.models.unshade import GRID, Unshade
from bitmoji_jax.models.wear_glasses import wear_glasses
from bitmoji_jax.models.wear_hat import COLOUR, wear_hats
from bitmoji_jax.ops.image import resize
from bitmoji_jax.ops.platform import on_cpu

Params = Any
"""The variables of a network, as `init` gives them and `apply` takes them."""


def make_network(config: ExperimentConfig, name: str) -> nn.Module:
    """Returns the module of the network g, f, r, a, s, t, l or h."""
    dtype = compute_dtype(config)
    generator = Generator(config.generator, dtype)
    refiner = UNet(config.refiner.features, config.refiner.output_size, dtype)
    reader = Reader(config.refiner.features // 2, config.read.glasses, dtype)
    student = Student(generator, refiner, reader if is_guided(config) else None)
    unshade = Unshade(UNet(config.refiner.features // 2, config.data.image_size, dtype, grid=GRID))
    modules = {"g": generator, "f": generator, "r": refiner, "a": reader, "s": student, "l": unshade}
    modules |= {"t": Transport(), "h": HatReader()}
    return modules[name]


def is_guided(config: ExperimentConfig) -> bool:
    """Whether the student reads attributes from the photo, which guide it."""
    return config.read.images > 0


def has_reader(config: ExperimentConfig, networks: Container[str]) -> bool:
    """Whether one of the networks, by name, reads from a photo what its avatar follows: a student with a reader."""
    return "s" in networks and is_guided(config)


def helpers(read: ReadConfig) -> tuple[str, ...]:
    """Lists the networks beside a that the stage read makes, and that all later stages pass on."""
    return tuple(name for name, made in {"t": read.points, "l": read.shadows, "h": read.hats}.items() if made)


def guide_size(config: ExperimentConfig) -> int:
    """How many numbers a guide has."""
    if config.read.mouth:
        return GUIDE
    return MOUTH if config.read.glasses else GLASSES


def has_glasses(config: ExperimentConfig, networks: Container[str]) -> bool:
    """Whether avatars of persons with glasses have glasses: those of a student whose reader tells them."""
    return has_reader(config, networks) and config.read.glasses


def has_mouth(config: ExperimentConfig, networks: Container[str]) -> bool:
    """Whether a student is told by a mark in the photo that the mouth is open or closed. Hats go with it."""
    return has_reader(config, networks) and config.read.mouth


def student_of(config: ExperimentConfig, networks: Mapping[str, Params]) -> Params:
    """Returns the parameters of the student that draws as R after G do; where it has a reader, as A reads."""
    parts = {"generator": networks["g"], "refiner": networks["r"]}
    if is_guided(config):
        parts["reader"] = networks["a"]
    given = flax.traverse_util.flatten_dict({name: part["params"] for name, part in parts.items()})
    shapes = flax.traverse_util.flatten_dict(network_shapes(config, "s")["params"])
    # What a guide does begins at nothing.
    arrays = {name: given[name] if name in given else jnp.zeros(s.shape, s.dtype) for name, s in shapes.items()}
    return {"params": flax.traverse_util.unflatten_dict(arrays)}


def make_discriminator(config: ExperimentConfig) -> Discriminator:
    """Returns the module of D_X and D_Y."""
    return Discriminator(config.discriminator, dtype=compute_dtype(config))


def apply_generator(
    config: ExperimentConfig, params: Params, images: jax.Array, condition: jax.Array | None = None, name: str = "g"
) -> jax.Array:
    """Applies G, F or S: the one way to do so, for training, samples, `Translator` and exports.

    Args:
      config: the experiment.
      params: of the network.
      images: float32 [N, S, S, 3] in [-1, 1].
      condition: float32 [N, S, S, C], what G sees beside the image, None for a generator without; of S, the guide
        [N, C] (models/reader.py), None for what it reads from the image.
      name: g, also for F, or s.

    Returns:
      float32 [N, S, S, 3] in [-1, 1]; for S with S of `avatar_size`.
    """
    return make_network(config, name).apply(params, images, condition)


def as_seen(config: ExperimentConfig, networks: Mapping[str, Params], photos: jax.Array) -> jax.Array:
    """Returns photos as all other networks see them: of `data.image_size`, and without cast shadows if there is an l.

    Both are float32 [N, H, H, 3] in [-1, 1]; those that are given may have any H.
    """
    photos = resize(photos, config.data.image_size)
    return make_network(config, "l").apply(networks["l"], photos) if "l" in networks else photos


def draw_roughly(
    config: ExperimentConfig, networks: Mapping[str, Params], photos: jax.Array, guides: jax.Array | None = None
) -> jax.Array:
    """Draws avatars that are not refined: by the student where `networks` has one, else by G.

    `photos` are float32 [N, H, H, 3] in [-1, 1], any H; the result is the network's. A student with a reader follows
    `guides` [N, `guide_size`], by default what is read from the photos.
    """
    return _draw(config, networks, as_seen(config, networks, photos), guides)


def _draw(
    config: ExperimentConfig, networks: Mapping[str, Params], photos: jax.Array, guides: jax.Array | None
) -> jax.Array:
    """As `draw_roughly`, from what `as_seen` returns."""
    if "s" not in networks:
        return apply_generator(config, networks["g"], photos)
    if not is_guided(config):
        return apply_generator(config, networks["s"], photos, name="s")
    if guides is None:
        guides = _read(config, networks, photos)
    seen = mark_mouths(photos, measure(photos), guides[:, MOUTH]) if config.read.mouth else photos
    avatars = apply_generator(config, networks["s"], seen, told(guides), name="s")
    return jax.vmap(repaint)(avatars, guides[:, SKIN_COLOUR], guides[:, HAIR_COLOUR])


def read_guide(config: ExperimentConfig, networks: Mapping[str, Params], photos: jax.Array) -> jax.Array:
    """Reads the guides [N, `guide_size`] of photos [N, H, H, 3] in [-1, 1], any H, with the reader and the points."""
    return _read(config, networks, as_seen(config, networks, photos))


def _read(config: ExperimentConfig, networks: Mapping[str, Params], photos: jax.Array) -> jax.Array:
    """As `read_guide`, from what `as_seen` returns."""
    guides: jax.Array = make_network(config, "s").apply(networks["s"], photos, method="read")
    if config.read.mouth:
        mouths = mouth_of_photo(measure(photos))
        guides = jnp.concatenate([guides, mouths[:, None], _hats(networks, photos)], axis=1)
    return guides


def _hats(networks: Mapping[str, Params], photos: jax.Array) -> jax.Array:
    """What a guide says of hats, [N, 4]; who wears none, or is not known to, would have a blue one."""
    blue = jnp.broadcast_to(jnp.array(COLOUR), (photos.shape[0], 3))
    if "h" not in networks:
        return jnp.concatenate([jnp.full_like(blue[:, :1], -1.0), blue], axis=1)
    worn = jnp.tanh(HatReader().apply(networks["h"], hat_features(photos)))[:, None]
    colours, _ = jax.vmap(lambda photo: colour_in(photo, HAIR))(resize(photos, SIZE))
    return jnp.concatenate([worn, jnp.where(worn > 0, colours, blue)], axis=1)


def refine(config: ExperimentConfig, params: Params, avatars: jax.Array) -> jax.Array:
    """Refines avatars, float32 [N, H, H, 3] in [-1, 1], any H, with the refiner's `params`."""
    return make_network(config, "r").apply(params, resize(avatars, config.data.image_size))


def photo_to_avatar(
    config: ExperimentConfig, networks: Mapping[str, Params], photos: jax.Array, guides: jax.Array | None = None
) -> jax.Array:
    """Translates photos by the last network that a run has: S, else R after G, else G.

    The avatars of R, and of a student without a guide, are given the colours of the photo's skin and hair; those of a
    student with one are cleared around the person. Where `networks` have t, the points of all faces are moved to where
    it has them for the photo, and those of a student with a reader have equal eyes. Where its guide says so, the avatar
    has glasses, and a hat.

    Args:
      config: the experiment.
      networks: parameters by name.
      photos: float32 [N, H, H, 3] in [-1, 1], any H.
      guides: as `draw_roughly` takes them.

    Returns:
      float32 [N, S, S, 3], mostly in [-1, 1]; S is `avatar_size`.
    """
    photos = as_seen(config, networks, photos)
    if guides is None and has_reader(config, networks):
        guides = _read(config, networks, photos)
    avatars = _draw(config, networks, photos, guides)
    if "r" in networks:
        avatars = refine(config, networks["r"], avatars)
    if "r" in networks or ("s" in networks and not is_guided(config)):
        avatars = jax.vmap(recolour)(avatars, photos)
    if has_reader(config, networks):
        avatars = clear_around(avatars)
    points = None
    if "t" in networks:
        avatars, points = reshape_faces(avatars, measure(photos), networks["t"])
        if has_reader(config, networks):
            avatars = equal_eyes(avatars, points[:, :2])
    if guides is not None and has_glasses(config, networks):
        points = measure(avatars) if points is None else points
        avatars = wear_glasses(avatars, points[:, :2], guides[:, GLASSES])
        if has_mouth(config, networks):
            avatars = wear_hats(avatars, points[:, :2], guides[:, HAT], guides[:, HAT_COLOUR])
    return avatars


def avatar_to_photo(config: ExperimentConfig, networks: Mapping[str, Params], avatars: jax.Array) -> jax.Array:
    """Translates avatars, float32 [N, H, H, 3] in [-1, 1], any H, by F, whose photos have `data.image_size` pixels."""
    return apply_generator(config, networks["f"], resize(avatars, config.data.image_size))


def avatar_size(config: ExperimentConfig, networks: Container[str]) -> int:
    """Returns the side in pixels of the avatars of `photo_to_avatar`."""
    return config.refiner.output_size if "r" in networks or "s" in networks else config.data.image_size


def network_shapes(config: ExperimentConfig, name: str) -> Any:
    """Returns shapes and types of the parameters of the network g, f, r, a, s, t, l or h; nothing is computed."""
    network = make_network(config, name)
    return jax.eval_shape(lambda key: network.init(key, *example_inputs(config, name)), jax.random.key(0))


def example_inputs(config: ExperimentConfig, name: str) -> tuple[jax.Array, ...]:
    """Returns zeros in the shapes of what a network takes.

    Most take an image, g and f a condition too; t takes points, h features.
    """
    if name == "t":
        return (jnp.zeros((1, POINTS, 2)),)
    if name == "h":
        return (jnp.zeros((1, FEATURES)),)
    size = config.data.image_size
    conditions: tuple[jax.Array, ...] = ()
    return (jnp.zeros((1, size, size, 3)), *(conditions if name in "gf" else ()))


def compute_dtype(config: ExperimentConfig) -> Any:
    """Returns the type that convolutions compute in: `train.compute_dtype`, or for "auto" what suits the platform."""
    name = config.train.compute_dtype
    return jnp.dtype(("float32" if on_cpu() else "bfloat16") if name == "auto" else name)
