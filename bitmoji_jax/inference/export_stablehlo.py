"""G as StableHLO: a function that any JAX can load and run, on a CPU, a GPU or a TPU. Needs the extra `export`.

The file is what `jax.export` serializes, with a zip archive after it (which is found from its end). That holds
`metadata.json`: `config`, `images` and `version` of `export_metadata`.
"""

import contextlib
import functools
import importlib.util
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from bitmoji_jax.config import ExperimentConfig, from_json
from bitmoji_jax.errors import InputError
from bitmoji_jax.inference.weights import Weights, export_metadata
from bitmoji_jax.models.networks import Params, input_size, photo_to_avatar
from bitmoji_jax.ops.batching import in_batches, map_images, resized
from bitmoji_jax.ops.image import to_float, to_uint8
from bitmoji_jax.ops.platform import tracing_for

PLATFORMS = ("cpu", "cuda", "tpu")
_METADATA = "metadata.json"


def to_stablehlo(weights: Weights) -> bytes:
    """Serializes G, of photos uint8 [N, size, size, 3], any N, to avatars of the same shape and type.

    The file holds the float32 weights once, and two forms of the network: one for a CPU, and one for accelerators,
    which convolves in bfloat16 unless the configuration says otherwise. The same weights give the same bytes.
    InputError where the extra `export` is not installed.
    """
    _check_extra()
    networks = {name: params for name, params in weights.networks.items() if name != "f"}
    size = input_size(weights.config, networks)
    forms = {branch: _form(platform, weights.config) for branch, platform in (("cpu", "cpu"), ("default", "cuda"))}

    def x2y(photos: jax.Array) -> jax.Array:
        # The weights go into both forms as an argument, so that they are stored once.
        return jax.lax.platform_dependent(networks, photos, **forms)

    photos = jax.ShapeDtypeStruct((*jax.export.symbolic_shape("N"), size, size, 3), jnp.uint8)
    with _without_source_locations():
        exported = jax.export.export(jax.jit(x2y), platforms=PLATFORMS)(photos)
    metadata = export_metadata(weights)
    values = {**metadata, "config": json.loads(metadata["config"]), "images": weights.images}
    file = io.BytesIO(exported.serialize())
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


def load_exported(path: str | os.PathLike[str]) -> tuple[ExperimentConfig, int, Callable[[np.ndarray], np.ndarray]]:
    """Loads what `to_stablehlo` made. Such a file is a program: use only those from a source you trust.

    Returns the configuration of training, the images seen of each domain, and G, called as `Translator.x2y`.

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
        config, images = from_json(json.dumps(metadata["config"])), int(metadata["images"])
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a StableHLO file of `export`, or is damaged: {error}") from error
    try:
        exported = jax.export.deserialize(bytearray(Path(path).read_bytes()))
    except Exception as error:  # many kinds, for a damaged file or one beyond JAX's compatibility window
        version = metadata.get("version")
        raise InputError(f"{path}, of version {version}, cannot be read by JAX {jax.__version__}: {error}") from error
    x2y = jax.jit(exported.call)
    return config, images, lambda photos: in_batches(x2y, resized(photos, config.data.image_size))


def _check_extra() -> None:
    if importlib.util.find_spec("flatbuffers") is None:  # JAX needs it to serialize, but does not depend on it
        raise InputError("StableHLO files need the extra `export`: pip install 'bitmoji-jax[export]'")
