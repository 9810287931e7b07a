"""Damaged files: seen when a dataset is opened where their index shows it, else when the record is read."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bitmoji_jax.config import DataConfig
from bitmoji_jax.data.pipeline import Dataset, open_dataset
from bitmoji_jax.data.shards import Shards
from bitmoji_jax.errors import InputError, RunError
from tests.tiny_images import COUNTS, SIZE


@pytest.fixture
def shard(tiny_dataset: Path, tmp_path: Path) -> Path:
    """The file of trainA in a copy of the dataset."""
    shutil.copytree(tiny_dataset, tmp_path / "copy")
    return next((tmp_path / "copy").glob("*trainA*"))


def opened(shard: Path) -> Dataset:
    return open_dataset(DataConfig(dir=str(shard.parent), image_size=SIZE))


def test_the_rows_are_those_of_the_files(shard: Path) -> None:
    rows = opened(shard).splits["trainA"]
    assert len(rows) == COUNTS["trainA"]
    assert [row["id"] for row in rows] == [rows[i]["id"] for i in range(len(rows))]
    with pytest.raises(IndexError):
        rows[len(rows)]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 5]), "at least 64KB"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-70_000] + bytes(70_000)), "Riegeli"),
        (lambda path: shutil.copy(next(path.parent.glob("*testA*")), path), "holds 4 records in place of 12"),
    ],
)
def test_what_the_index_shows_is_an_input_error_that_names_the_file(
    shard: Path, damage: Callable[[Path], object], reason: str
) -> None:
    damage(shard)
    with pytest.raises(InputError, match=reason) as error:
        opened(shard)
    assert str(shard) in str(error.value)
    assert "\n" not in str(error.value)


def test_zeroed_bytes_are_an_error_that_names_file_and_record_and_other_records_can_be_read(shard: Path) -> None:
    whole = shard.read_bytes()
    shard.write_bytes(whole[:3000] + bytes(20) + whole[3020:])
    dataset = opened(shard)

    def complaint(index: int) -> str:
        try:
            dataset.read("trainA", index)
        except RunError as error:
            return str(error)
        return ""

    complaints = {index: text for index in range(COUNTS["trainA"]) if (text := complaint(index))}
    ((index, text),) = complaints.items()
    assert text.startswith(f"record {index} of {shard} cannot be read: ")


def test_records_are_counted_within_their_file() -> None:
    class Rows(list):
        def __getitem__(self, index: object) -> object:
            raise RuntimeError("torn\npage")

    shards = Shards(Rows(), [], [])
    shards._paths, shards._ends = ["one", "two", "three"], [2, 5, 6]
    for index, place in ((1, "record 1 of one"), (2, "record 0 of two"), (5, "record 0 of three")):
        with pytest.raises(RunError, match=f"^{place} cannot be read: torn. Put"):
            shards[index]


def test_a_record_that_is_no_picture_is_named(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = opened(shard)
    monkeypatch.setattr(dataset.splits["trainA"], "_rows", [{"image": b"\xff\xd8no picture"}])
    with pytest.raises(RunError, match=f"record 0 of {shard} cannot be read"):
        dataset.read("trainA", 0)
