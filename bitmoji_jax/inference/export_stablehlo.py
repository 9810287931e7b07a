"""G as StableHLO: a function that any JAX can load and run, on a CPU, a GPU or a TPU. Needs the extra `export`."""

import contextlib
import dataclasses
import functools
import importlib.metadata
import importlib.util
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from bitmoji_jax.config import ExperimentConfig, from_json, to_json
from bitmoji_jax.errors import InputError
from bitmoji_jax.inference.weights import Weights
from bitmoji_jax.models.networks import Params, apply_generator
from bitmoji_jax.ops.batching import in_batches, map_images, resized
from bitmoji_jax.ops.image import to_float, to_uint8
from bitmoji_jax.ops.platform import tracing_for

PLATFORMS = ("cpu", "cuda", "tpu")

_METADATA = "metadata.json"


def to_stablehlo(weights: Weights) -> bytes:
    """G of uint8 [N, size, size, 3], any N, to uint8 of the same shape, as a file for `jax.export.deserialize`.

    It holds the float32 weights once, and two forms of the network: that of a CPU, and that of accelerators, which
    convolves in bfloat16 unless the configuration says otherwise. The file is a zip archive as well (such an archive
    is found from its end): its `metadata.json` has `images`, `version` (of this package) and `config`. The same
    weights give the same bytes.

    Raises:
      InputError: the extra `export` is not installed.
    """
    _check_extra()
    generator, size = weights.generators["g"], weights.config.data.image_size

    def x2y(photos: jax.Array) -> jax.Array:
        # The weights go into both forms as an argument, so that they are stored once.
        return jax.lax.platform_dependent(
            generator, photos, cpu=_form("cpu", weights.config), default=_form("cuda", weights.config)
        )

    (count,) = jax.export.symbolic_shape("N")
    photos = jax.ShapeDtypeStruct((count, size, size, 3), jnp.uint8)
    with _without_source_locations():
        exported = jax.export.export(jax.jit(x2y), platforms=PLATFORMS)(photos)
    metadata = {
        "images": weights.images,
        "version": importlib.metadata.version("bitmoji-jax"),
        "config": json.loads(to_json(weights.config)),
    }
    file = io.BytesIO(exported.serialize())
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(zipfile.ZipInfo(_METADATA), json.dumps(metadata, indent=2) + "\n")  # dated 1980
    return file.getvalue()


def _form(platform: str, config: ExperimentConfig) -> Callable[[Params, jax.Array], jax.Array]:
    def translate(params: Params, photos: jax.Array) -> jax.Array:
        with tracing_for(platform):
            return to_uint8(map_images(functools.partial(apply_generator, config, params), to_float(photos)))

    return translate


@contextlib.contextmanager
def _without_source_locations() -> Iterator[None]:
    """JAX writes the path and line of every caller beside each operation: another file on another machine."""
    wanted = {"jax_include_full_tracebacks_in_locations": True, "jax_traceback_in_locations_limit": 0}
    before = {name: getattr(jax.config, name) for name in wanted}
    for name, value in wanted.items():
        jax.config.update(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


@dataclasses.dataclass(frozen=True, eq=False)
class ExportedGenerator:
    """G of an exported file. Call with photos, uint8 [N, H, H, 3], any N and H; gives uint8 [N, size, size, 3].

    Photos of another size are resized first. Compiled for batches of 1, 8 and 32, as `Translator` is.
    """

    config: ExperimentConfig
    """Of training; its `data.dir` is the name of the dataset's folder alone."""
    images: int
    """Images of each domain seen in training."""
    size: int
    """Side of the avatars in pixels."""
    translate_batch: Callable[[np.ndarray], jax.Array]
    """The exported function under `jax.jit`: uint8 [N, size, size, 3] to the same, compiled for each N."""

    def __call__(self, photos: np.ndarray) -> np.ndarray:
        """Raises ValueError where the images are not uint8, square or RGB."""
        return in_batches(self.translate_batch, resized(photos, self.size))


def load_exported(path: str | os.PathLike[str]) -> ExportedGenerator:
    """Reads what `to_stablehlo` made. Like any program, such a file should come from somebody trusted.

    Raises:
      InputError: there is no such file, it is damaged or of another kind, this version of JAX can't read it, or the
        extra `export` is not installed.
    """
    _check_extra()
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such exported file")
    try:
        with zipfile.ZipFile(path) as archive:
            metadata = json.loads(archive.read(_METADATA))
        config, images = from_json(json.dumps(metadata["config"])), int(metadata["images"])
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no StableHLO file of `export`, or is damaged: {error}") from error
    try:
        exported = jax.export.deserialize(bytearray(Path(path).read_bytes()))
    except Exception as error:  # whatever a damaged file, or one beyond JAX's compatibility window, raises
        raise InputError(
            f"{path}, made by version {metadata.get('version')}, can't be read by JAX {jax.__version__}: {error}"
        ) from error
    return ExportedGenerator(config, images, config.data.image_size, jax.jit(exported.call))


def _check_extra() -> None:
    if importlib.util.find_spec("flatbuffers") is None:  # JAX serializes with it, but does not depend on it
        raise InputError("StableHLO files need the extra `export`: pip install 'bitmoji-jax[export]'")
