"""The files of a split: whether they are whole, and which of them holds a row that cannot be read."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from array_record.python.array_record_module import ArrayRecordReader

from bitmoji_jax.errors import InputError, RunError

_MEND = "Put a good copy in its place, or make the dataset anew"


class Shards(Sequence[Mapping[str, Any]]):
    """The rows of a split; one that cannot be read is an error that names its file."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], paths: Sequence[Any], lengths: Sequence[int]) -> None:
        """Looks into each file, which takes no longer for a large one.

        Args:
          rows: as TFDS reads them.
          paths: of the ArrayRecord files.
          lengths: number of rows in each, by the dataset's description.

        Raises:
          InputError: a file is missing, cut off, or holds another number of rows.
        """
        for path, length in zip(paths, lengths, strict=True):
            try:
                reader = ArrayRecordReader(str(path), options="readahead_buffer_size:0")
                found = reader.num_records()
                reader.close()
            except RuntimeError as error:
                raise InputError(f"{path} is missing or damaged: {first_line(error)}. {_MEND}") from error
            if found != length:
                raise InputError(f"{path} holds {found} records in place of {length}. {_MEND}")
        self._rows = rows
        self._paths = paths
        self._ends = list(itertools.accumulate(lengths))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        try:
            return self._rows[index]
        except Exception as error:  # ArrayRecord, protobuf and TFDS raise many kinds
            raise self.damaged(index, error) from error

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return (self[index] for index in range(len(self)))

    def damaged(self, index: int, error: Exception) -> RunError:
        """Returns the error that says where the row `index` is, and why it is none."""
        shard = next(i for i, end in enumerate(self._ends) if index < end)
        record = index - [0, *self._ends][shard]
        return RunError(f"record {record} of {self._paths[shard]} cannot be read: {first_line(error)}. {_MEND}")


def first_line(error: Exception) -> str:
    """Returns the first line of an error of a library, without a full stop."""
    return str(error).strip().split("\n")[0].rstrip(".:") or type(error).__name__
