"""The way from photo to avatar as StableHLO: a function that any JAX can load and run, on a CPU, a GPU or a TPU.

The file is what `jax.export` serializes, with a zip archive after it (which is found from its end). That holds
`metadata.json`: what `export_metadata` returns, the configuration and the numbers as JSON, and `crc32` of all before
the archive. Needs the extra `export`.
"""

import contextlib
import functools
import importlib.util
import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from bitmoji_jax.config import ExperimentConfig, from_json
from bitmoji_jax.console import one_line
from bitmoji_jax.errors import InputError
from bitmoji_jax.inference.weights import Weights, export_metadata
from bitmoji_jax.models.networks import Params, photo_to_avatar
from bitmoji_jax.ops.batching import in_batches, map_images, resized
from bitmoji_jax.ops.image import to_float, to_uint8
from bitmoji_jax.ops.platform import tracing_for

PLATFORMS = ("cpu", "cuda", "tpu")
_METADATA = "metadata.json"


def to_stablehlo(weights: Weights) -> bytes:
    """Serializes `photo_to_avatar`: of photos, uint8 [N, H, H, 3], any N, to avatars, uint8 [N, S, S, 3].

    H and S are `input_size` and `avatar_size` of the networks. The file holds the float32 weights once, and two forms
    of the networks: one for a CPU, and one for accelerators, which convolves in bfloat16 unless the configuration says
    otherwise. The same weights give the same bytes.
    InputError where the extra `export` is not installed.
    """
    _check_extra()
    networks = {name: params for name, params in weights.networks.items() if name != "f"}
    size = weights.config.data.image_size
    forms = {branch: _form(platform, weights.config) for branch, platform in (("cpu", "cpu"), ("default", "cuda"))}

    def x2y(photos: jax.Array) -> jax.Array:
        # The weights go into both forms as an argument, so that they are stored once.
        return jax.lax.platform_dependent(networks, photos, **forms)

    photos = jax.ShapeDtypeStruct((*jax.export.symbolic_shape("N"), size, size, 3), jnp.uint8)
    with _without_source_locations():
        exported = jax.export.export(jax.jit(x2y), platforms=PLATFORMS)(photos)
    metadata = export_metadata(weights)
    values = {**metadata, "config": json.loads(metadata["config"])}
    values |= {name: int(metadata[name]) for name in ("images", "input_size", "output_size")}
    function = exported.serialize()
    values["crc32"] = zlib.crc32(function)
    file = io.BytesIO(function)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(zipfile.ZipInfo(_METADATA), json.dumps(values, indent=2) + "\n")  # dated 1980
    return file.getvalue()


def _form(platform: str, config: ExperimentConfig) -> Callable[[Mapping[str, Params], jax.Array], jax.Array]:
    def translate(networks: Mapping[str, Params], photos: jax.Array) -> jax.Array:
        with tracing_for(platform):
            return to_uint8(map_images(functools.partial(photo_to_avatar, config, networks), to_float(photos)))

    return translate


@contextlib.contextmanager
def _without_source_locations() -> Iterator[None]:
    """Leaves out the path and line of each operation's callers: they would make another file on another machine."""
    wanted = {"jax_include_full_tracebacks_in_locations": True, "jax_traceback_in_locations_limit": 0}
    before = {name: getattr(jax.config, name) for name in wanted}
    for name, value in wanted.items():
        jax.config.update(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


class Exported(NamedTuple):
    """What an exported file holds."""

    config: ExperimentConfig
    images: int
    """Images of each domain seen in training."""
    input_size: int
    """Side in pixels of the photos that the first network takes."""
    size: int
    """Side in pixels of the avatars."""
    x2y: Callable[[np.ndarray], np.ndarray]
    """Photos to avatars, called as `Translator.x2y`."""


def load_exported(path: str | os.PathLike[str]) -> Exported:
    """Loads what `to_stablehlo` made. Such a file is a program: use only those from a source you trust.

    Raises:
      InputError: there is no such file, it is damaged or of another kind, this version of JAX cannot read it, or the
        extra `export` is not installed.
    """
    _check_extra()
    if not Path(path).is_file():
        raise InputError(f"{path}: no such exported file")
    try:
        with zipfile.ZipFile(path) as archive:
            metadata = json.loads(archive.read(_METADATA))
            function = Path(path).read_bytes()[: archive.getinfo(_METADATA).header_offset]
        if metadata.get("crc32", checksum := zlib.crc32(function)) != checksum:  # earlier versions wrote none
            raise ValueError("its function is not the one that was written")
        config, images = from_json(json.dumps(metadata["config"])), int(metadata["images"])
        # Earlier versions wrote no sizes: both were those of the dataset.
        photo_size, size = (int(metadata.get(name, config.data.image_size)) for name in ("input_size", "output_size"))
    except Exception as error:  # many kinds, for a damaged archive
        why = one_line(str(error), 300)
        raise InputError(f"{path} is not a StableHLO file of `export`, or is damaged: {why}") from error
    try:
        exported = jax.export.deserialize(bytearray(function))
    except Exception as error:  # many kinds, for a damaged file or one beyond JAX's compatibility window
        version, why = one_line(str(metadata.get("version")), 20), one_line(str(error), 300)
        raise InputError(f"{path}, of version {version}, cannot be read by JAX {jax.__version__}: {why}") from error
    shapes = [each.shape[1:] for each in (*exported.in_avals, *exported.out_avals)]
    if shapes != [(photo_size, photo_size, 3), (size, size, 3)]:
        raise InputError(f"{path} is damaged: it translates no photos of {photo_size} px to avatars of {size} px")
    x2y = jax.jit(exported.call)
    return Exported(config, images, photo_size, size, lambda photos: in_batches(x2y, resized(photos, photo_size)))


def _check_extra() -> None:
    if importlib.util.find_spec("flatbuffers") is None:  # JAX needs it to serialize, but does not depend on it
        raise InputError("StableHLO files need the extra `export`: pip install 'bitmoji-jax[export]'")
