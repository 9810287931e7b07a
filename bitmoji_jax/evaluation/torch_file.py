"""Files of named tensors as `torch.save` writes them, read without torch and without running what they name."""

import collections
import io
import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np

from bitmoji_jax.errors import InputError

_ZIP_MAGIC = b"PK\x03\x04"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C

_DTYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(jnp.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The named tensors of a file that `torch.save` wrote, read-only: a state dict, or any dict of tensors alone.

    Since PyTorch 1.6 such a file is a zip archive, nothing in it compressed: `NAME/data.pkl`, a pickle of the tensors,
    `NAME/data/KEY`, the elements of each storage, and later also `NAME/byteorder`. Before, it was five pickles (magic
    number, version, platform, tensors, keys of the storages), then each storage as its count and its elements.

    A pickle can call whatever it names: these are given nothing but what tensors need. Checked with files of torch
    2.13.0, in both formats and of every type of storage that is known here.

    Raises:
      InputError: the file can't be read, is damaged, of another format, written on a big-endian machine, or names or
        holds anything but tensors.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from error
    try:
        views, storages = _read_zip(data) if data.startswith(_ZIP_MAGIC) else _read_legacy(data)
        return {name: _elements(name, view, storages[view.storage.key]) for name, view in views.items()}
    except Exception as error:  # a damaged pickle may raise nearly anything
        reason = str(error) or type(error).__name__
        raise InputError(f"{path} can't be read as PyTorch weights, get it anew: {reason}") from error


class _Storage(NamedTuple):
    type: str
    key: str
    length: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.length * _DTYPES[self.type].itemsize


class _View(NamedTuple):
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def _read_zip(data: bytes) -> tuple[dict[str, _View], dict[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        pickles = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"the archive has {len(pickles)} times data.pkl")
        folder = pickles[0].removesuffix("data.pkl")
        used = [archive.getinfo(pickles[0])]
        if folder + "byteorder" in archive.namelist():
            used.append(archive.getinfo(folder + "byteorder"))
        _check_stored(used, data)
        if len(used) > 1 and archive.read(used[1]) != b"little":
            raise ValueError("it was written on a big-endian machine")
        views = _named_views(_load(io.BytesIO(archive.read(used[0]))))
        # By key: tensors may share a storage.
        entries = {view.storage: archive.getinfo(f"{folder}data/{view.storage.key}") for view in views.values()}
        _check_stored([*used, *entries.values()], data)
        for storage, entry in entries.items():
            if entry.file_size != storage.size:
                raise ValueError(f"storage {storage.key!r} has {entry.file_size} bytes, not {storage.size}")
        return views, {storage.key: archive.read(entry) for storage, entry in entries.items()}


def _check_stored(entries: list[zipfile.ZipInfo], data: bytes) -> None:
    # An archive of a few bytes can unpack to more than the memory, from compressed entries or from overlapping ones.
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("the archive is compressed, which torch.save's are not")
    if sum(entry.file_size for entry in entries) > len(data):
        raise ValueError("the archive claims more bytes than it has")


def _read_legacy(data: bytes) -> tuple[dict[str, _View], dict[str, bytes]]:
    file = io.BytesIO(data)
    if _load(file) != _LEGACY_MAGIC:
        raise ValueError("it does not begin as torch.save's files do")
    _load(file)
    if not _load(file)["little_endian"]:
        raise ValueError("it was written on a big-endian machine")
    views = _named_views(_load(file))
    storages = {view.storage.key: view.storage for view in views.values()}
    contents = {}
    for key in _load(file):
        if key not in storages:
            raise ValueError(f"no tensor has storage {key!r}")
        count = int.from_bytes(file.read(8), "little")
        if count != storages[key].length:
            raise ValueError(f"storage {key!r} has {count} elements, not {storages[key].length}")
        contents[key] = file.read(storages[key].size)
    missing = [key for key, storage in storages.items() if len(contents.get(key, b"")) != storage.size]
    if missing:
        raise ValueError(f"the file ends before the end of storage {missing[0]!r}")
    return views, contents


def _load(file: BinaryIO) -> Any:
    """The next pickle of a file, which is left at its end."""
    start = file.tell()
    for opcode, argument, _ in pickletools.genops(file):
        # The unpickler makes room for every index up to one it is to keep a value at: one wrong byte can be gigabytes.
        if opcode.name in ("PUT", "LONG_BINPUT") and (argument or 0) > file.tell():
            raise pickle.UnpicklingError(f"it keeps a value at index {argument}")
    file.seek(start)
    return _TensorUnpickler(file).load()


# A pickle can set attributes of what it is given. A function's would outlast it; instances with empty slots take none.


class _RebuildTensor:
    __slots__ = ()

    def __call__(
        self, storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
    ) -> _View:
        return _View(storage, offset, size, stride)  # what is left out concerns gradients


class _RebuildParameter:
    __slots__ = ()

    def __call__(self, data: _View, *_: Any) -> _View:
        return data


class _TensorUnpickler(pickle.Unpickler):
    _GIVEN: ClassVar = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
        ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
        **{("torch", name): name for name in _DTYPES},
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._GIVEN:
            raise pickle.UnpicklingError(f"it names {f'{module}.{name}'!r}, which is no part of a tensor: refused")
        return self._GIVEN[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, length, *view = pid  # the fourth is the device
        if kind != "storage" or dtype not in _DTYPES or any(part is not None for part in view):
            raise pickle.UnpicklingError(f"{pid!r} is no storage")
        return _Storage(dtype, key, length)


def _named_views(tensors: Any) -> dict[str, _View]:
    if not isinstance(tensors, dict):
        raise ValueError("it holds something else than named tensors")
    for name, view in tensors.items():
        if not isinstance(name, str) or not isinstance(view, _View) or not isinstance(view.storage, _Storage):
            raise ValueError(f"{name!r} in it is not a tensor")
    return tensors


def _elements(name: str, view: _View, storage: bytes) -> np.ndarray:
    dtype = _DTYPES[view.storage.type]
    axes = list(zip(view.size, view.stride, strict=True))
    # NumPy compares what the file claims with the buffer too, but in 64 bits, which can overflow.
    last = view.offset + sum((length - 1) * step for length, step in axes)
    if min(view.offset, *view.size, *view.stride, 0) < 0 or (0 not in view.size and last >= view.storage.length):
        raise ValueError(f"{name!r} reaches beyond its storage")
    if 0 in view.size:
        return np.empty(view.size, dtype)
    strides = [step * dtype.itemsize for step in view.stride]
    return np.ndarray(view.size, dtype, storage, view.offset * dtype.itemsize, strides)
