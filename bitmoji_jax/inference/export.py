"""G as one file that runs without this package: from uint8 photos to uint8 avatars, weights inside."""

import dataclasses
import os
from pathlib import Path

from bitmoji_jax.errors import InputError
from bitmoji_jax.files import write_atomic
from bitmoji_jax.inference.export_stablehlo import to_stablehlo
from bitmoji_jax.inference.weights import Weights


def export_stablehlo(weights: Weights, path: str | os.PathLike[str]) -> None:
    """Writes G as `to_stablehlo` has it, whole or not at all.

    Raises:
      InputError: the file is there already, or its folder is not, or the extra `export` is not installed.
    """
    file = _new(path)
    write_atomic(file, to_stablehlo(_shareable(weights)))


def export_onnx(weights: Weights, path: str | os.PathLike[str]) -> None:
    """Writes G as `to_onnx` has it, whole or not at all.

    Raises:
      InputError: the file is there already, or its folder is not, or the extra `export` is not installed.
    """
    file = _new(path)
    try:
        from bitmoji_jax.inference.export_onnx import to_onnx
    except ModuleNotFoundError as error:
        raise InputError("ONNX files need the extra `export`: pip install 'bitmoji-jax[export]'") from error
    write_atomic(file, to_onnx(_shareable(weights)))


def _shareable(weights: Weights) -> Weights:
    """A dataset's path names a machine and whose it is, which is nobody's business where the file goes."""
    data = weights.config.data
    data = dataclasses.replace(data, dir=data.dir and Path(data.dir).name)
    return dataclasses.replace(weights, config=dataclasses.replace(weights.config, data=data))


def _new(path: str | os.PathLike[str]) -> Path:
    file = Path(path)
    if file.exists():
        raise InputError(f"{file} is already there: remove it first, or choose another name")
    if not file.parent.is_dir():
        raise InputError(f"there is no folder {file.parent} for {file.name}: make it first")
    return file
