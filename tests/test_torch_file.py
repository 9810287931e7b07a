"""The reader of PyTorch's files on files of both formats, whole, damaged and hostile."""

import pickle
import struct
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from bitmoji_jax.errors import InputError
from bitmoji_jax.evaluation.torch_file import read_tensors

# Files by hand: `cmodule\nname\n` in a pickle names a thing, `R` calls it, `Q` asks for a storage.

Write = Callable[..., Path]


def write_legacy(path: Path, tensors: bytes, storages: dict[str, np.ndarray], little: bool = True) -> Path:
    head = [pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2), pickle.dumps({"little_endian": little}, 2)]
    body = [struct.pack("<q", storage.size) + storage.tobytes() for storage in storages.values()]
    path.write_bytes(b"".join([*head, tensors, pickle.dumps(list(storages), 2), *body]))
    return path


def write_zip(
    path: Path, tensors: bytes, storages: dict[str, np.ndarray], little: bool = True, method: int = zipfile.ZIP_STORED
) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("weights/data.pkl", tensors)
        archive.writestr("weights/byteorder", "little" if little else "big")
        for key, storage in storages.items():
            archive.writestr(f"weights/data/{key}", storage.tobytes())
        archive.writestr("weights/version", "3\n")
    return path


both_formats = pytest.mark.parametrize("write", [write_legacy, write_zip])


def tensor(kind: str, key: str, count: int, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    def text(value: Any) -> bytes:
        if isinstance(value, tuple):
            return b"(" + b"".join(text(v) for v in value) + b"t"
        return b"I%d\n" % value if isinstance(value, int) else b"V%s\n" % value.encode()

    storage = b"(Vstorage\nctorch\n%s\n" % kind.encode() + text(key) + b"Vcpu\n" + text(count) + b"NtQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + text(offset) + text(size) + text(stride) + b"I00\nNtR"


def entries(**values: bytes) -> bytes:
    """The pickle of an OrderedDict."""
    pairs = b"".join(b"V%s\n" % name.encode() + value + b"s" for name, value in values.items())
    return b"ccollections\nOrderedDict\n(tR" + pairs + b"."


def whole_tensors(tensors: dict[str, np.ndarray]) -> tuple[bytes, dict[str, np.ndarray]]:
    """What a writer takes: each of some float32 arrays in a storage of its own."""
    values = {
        name: tensor("FloatStorage", str(i), x.size, 0, x.shape, tuple(step // 4 for step in x.strides))
        for i, (name, x) in enumerate(tensors.items())
    }
    return entries(**values), {str(i): x for i, x in enumerate(tensors.values())}


FOUR = np.arange(4, dtype=np.float32)
FOUR_ENTRIES = entries(weight=tensor("FloatStorage", "a", 4, 0, (4,), (1,)))


@both_formats
def test_tensors_share_storages_and_have_strides(tmp_path: Path, write: Write) -> None:
    path = write(
        tmp_path / "weights.pth",
        entries(
            transposed=tensor("FloatStorage", "a", 7, 1, (3, 2), (1, 3)),
            row=tensor("FloatStorage", "a", 7, 4, (3,), (1,)),
            count=tensor("LongStorage", "b", 1, 0, (), ()),
            none=tensor("FloatStorage", "a", 7, 7, (2, 0), (1, 1)),
        ),
        {"b": np.array([7]), "a": np.arange(7, dtype=np.float32)},
    )
    tensors = read_tensors(path)
    assert list(tensors) == ["transposed", "row", "count", "none"]
    np.testing.assert_array_equal(tensors["transposed"], np.array([[1, 4], [2, 5], [3, 6]], np.float32))
    np.testing.assert_array_equal(tensors["row"], np.array([4, 5, 6], np.float32))
    assert tensors["transposed"].dtype == np.float32
    assert tensors["count"] == 7
    assert tensors["none"].shape == (2, 0)


@both_formats
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("Double", np.float64),
        ("Float", np.float32),
        ("Half", np.float16),
        ("BFloat16", jnp.bfloat16),
        ("Long", np.int64),
        ("Int", np.int32),
    ],
)
def test_every_type_of_storage_is_read(tmp_path: Path, write: Write, kind: str, dtype: Any) -> None:
    values = np.array([-3, 0, 1, 96]).astype(dtype)
    weights = entries(weight=tensor(f"{kind}Storage", "0", 4, 1, (3,), (1,)))
    weight = read_tensors(write(tmp_path / "weights.pth", weights, {"0": values}))["weight"]
    assert weight.dtype == dtype
    np.testing.assert_array_equal(weight.astype(float), [0, 1, 96])


@both_formats
def test_a_parameter_is_its_tensor(tmp_path: Path, write: Write) -> None:
    parameter = b"ctorch._utils\n_rebuild_parameter\n(" + tensor("FloatStorage", "a", 4, 0, (4,), (1,))
    path = write(tmp_path / "weights.pth", entries(weight=parameter + b"I01\nNtR"), {"a": FOUR})
    np.testing.assert_array_equal(read_tensors(path)["weight"], FOUR)


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@both_formats
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_would_run_code_is_refused_and_does_not(tmp_path: Path, write: Write, protocol: int) -> None:
    touched = tmp_path / "touched"
    attack = pickle.dumps(OrderedDict(weight=Touch(touched)), protocol)
    pickle.loads(attack)
    assert touched.exists()  # the attack is a real one
    touched.unlink()
    path = write(tmp_path / "weights.pth", attack, {})
    with pytest.raises(InputError, match=r"weights\.pth .*refused"):
        read_tensors(path)
    assert not touched.exists()


@both_formats
@pytest.mark.parametrize(
    "name",
    [
        "os\nsystem",
        "builtins\neval",
        "torch\nload",
        "torch._utils\n_rebuild_tensor",
        "collections\nnamedtuple",
        "os\nOrderedDict",
    ],
)
def test_every_other_name_is_refused(tmp_path: Path, write: Write, name: str) -> None:
    path = write(tmp_path / "weights.pth", entries(weight=b"c" + name.encode() + b"\n"), {})
    with pytest.raises(InputError, match=f"names '{name.replace(chr(10), '[.]')}', .*refused"):
        read_tensors(path)


@both_formats
def test_a_name_with_dots_reaches_nothing_inside_what_is_given(tmp_path: Path, write: Write) -> None:
    dotted = b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93."
    with pytest.raises(InputError, match="refused"):
        read_tensors(write(tmp_path / "weights.pth", dotted, {}))


@pytest.mark.parametrize("given", ["torch._utils\n_rebuild_tensor_v2", "collections\nOrderedDict", "torch\nIntStorage"])
def test_no_attribute_of_what_is_given_can_be_set(tmp_path: Path, given: str) -> None:
    attack = b"c" + given.encode() + b"\n(N}Vmark\nI1\nstb"  # setattr(given, "mark", 1)
    with pytest.raises(InputError, match="attribute"):
        read_tensors(write_zip(tmp_path / "weights.pth", entries(weight=attack), {}))


@both_formats
def test_a_huge_index_takes_no_memory_for_those_below_it(tmp_path: Path, write: Write) -> None:
    start = time.monotonic()
    with pytest.raises(InputError, match="index 4294967295"):
        read_tensors(write(tmp_path / "weights.pth", b"}r\xff\xff\xff\xff.", {}))
    assert time.monotonic() - start < 1  # filling 32 GB takes longer


@both_formats
@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (1, (4,), (1,)),
        (0, (2, 2), (3, 1)),
        (0, (2,), (1, 1)),
        (-1, (2,), (1,)),
        (3, (2,), (-1,)),
        (0, (-1,), (1,)),
        (0, (5,), (2**60,)),  # 4 · 2⁶⁰ · 4 bytes are 0 in 64 bits
        (2**62, (2,), (1,)),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(
    tmp_path: Path, write: Write, offset: int, size: Any, stride: Any
) -> None:
    weights = entries(weight=tensor("FloatStorage", "a", 4, offset, size, stride))
    with pytest.raises(InputError, match=r"weights\.pth can't be read"):
        read_tensors(write(tmp_path / "weights.pth", weights, {"a": FOUR}))


@both_formats
@pytest.mark.parametrize("count", [3, 5, -4, 2**62])
def test_a_storage_of_another_size_is_refused(tmp_path: Path, write: Write, count: int) -> None:
    weights = entries(weight=tensor("FloatStorage", "a", count, 0, (1,), (1,)))
    with pytest.raises(InputError, match=r"storage 'a' has .*, not"):
        read_tensors(write(tmp_path / "weights.pth", weights, {"a": FOUR}))


@both_formats
@pytest.mark.parametrize("storages", [{}, {"b": FOUR}])
def test_a_storage_that_is_not_there_is_refused(tmp_path: Path, write: Write, storages: dict[str, np.ndarray]) -> None:
    with pytest.raises(InputError, match=r"storage '[ab]'|'weights/data/a'"):
        read_tensors(write(tmp_path / "weights.pth", FOUR_ENTRIES, storages))


@both_formats
def test_big_endian_files_are_refused(tmp_path: Path, write: Write) -> None:
    with pytest.raises(InputError, match="big-endian"):
        read_tensors(write(tmp_path / "weights.pth", FOUR_ENTRIES, {"a": FOUR}, little=False))


@both_formats
@pytest.mark.parametrize("content", [b"N.", b"]I1\na.", b"I7\n.", tensor("FloatStorage", "a", 4, 0, (4,), (1,)) + b"."])
def test_other_things_than_a_dict_are_refused(tmp_path: Path, write: Write, content: bytes) -> None:
    with pytest.raises(InputError, match="something else than named tensors"):
        read_tensors(write(tmp_path / "weights.pth", content, {"a": FOUR}))


@both_formats
@pytest.mark.parametrize("value", [b"I3\n", b"}", b"ctorch\nFloatStorage\n"])
def test_a_dict_of_other_things_is_refused(tmp_path: Path, write: Write, value: bytes) -> None:
    with pytest.raises(InputError, match="'epoch' in it is not a tensor"):
        read_tensors(write(tmp_path / "weights.pth", entries(epoch=value), {}))


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    zeros = np.zeros(2**20, np.float32)
    weights = entries(weight=tensor("FloatStorage", "a", zeros.size, 0, zeros.shape, (1,)))
    path = write_zip(tmp_path / "weights.pth", weights, {"a": zeros}, method=zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="compressed"):
        read_tensors(path)


def test_storages_in_one_place_of_an_archive_are_refused(tmp_path: Path) -> None:
    values = np.arange(1000, dtype=np.float32)
    path = tmp_path / "weights.pth"
    keys = "abcdef"
    weights = entries(**{key: tensor("FloatStorage", key, 1000, 0, (1000,), (1,)) for key in keys})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", weights)
        archive.writestr("weights/data/a", values.tobytes())
        first = archive.getinfo("weights/data/a")
        for key in keys[1:]:
            info = zipfile.ZipInfo(f"weights/data/{key}")
            info.header_offset, info.CRC = first.header_offset, first.CRC
            info.file_size = info.compress_size = first.file_size
            archive.filelist.append(info)
    with pytest.raises(InputError, match="claims more bytes than it has"):
        read_tensors(path)


def test_two_archives_in_one_are_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "weights.pth", FOUR_ENTRIES, {"a": FOUR})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/data.pkl", FOUR_ENTRIES)
    with pytest.raises(InputError, match=r"2 times data\.pkl"):
        read_tensors(path)


def test_a_changed_byte_in_an_archive_is_noticed(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "weights.pth", FOUR_ENTRIES, {"a": FOUR})
    data = bytearray(path.read_bytes())
    data[data.index(FOUR.tobytes())] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"Bad CRC-32 .*weights/data/a"):
        read_tensors(path)


@both_formats
@pytest.mark.parametrize("length", [0, 2, 10, 100, -4, -13])
def test_a_file_cut_short_is_refused(tmp_path: Path, write: Write, length: int) -> None:
    path = write(tmp_path / "weights.pth", FOUR_ENTRIES, {"a": FOUR})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=r"weights\.pth can't be read"):
        read_tensors(path)


@both_formats
def test_any_damage_is_an_input_error_of_one_line_or_none(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path / "weights.pth", FOUR_ENTRIES, {"a": FOUR})
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    messages = []
    for _ in range(300):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(0, 256)
        path.write_bytes(data)
        try:
            read_tensors(path)
        except InputError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert all(len(message.splitlines()) == 1 for message in messages)


@pytest.mark.parametrize(
    "data", [b"PK\x03\x04" + bytes(60), b"<!DOCTYPE html>\n", b"\x89PNG\r\n", pickle.dumps({"weight": 1}, 2)]
)
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"weights\.pth can't be read"):
        read_tensors(path)


def test_a_file_that_is_not_there_or_a_folder_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"weights\.pth can't be read: No such file"):
        read_tensors(tmp_path / "weights.pth")
    with pytest.raises(InputError, match="can't be read: Is a directory"):
        read_tensors(tmp_path)
