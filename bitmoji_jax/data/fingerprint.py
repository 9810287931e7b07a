"""What tells one dataset from another: its contents, and not the place where it lies or how its path is written."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bitmoji_jax.errors import InputError
from bitmoji_jax.files import write_atomic

_FILE = "dataset.json"
_ENDS = 2**16  # bytes of each end of a shard; an ArrayRecord file ends with the sizes of all its records


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a run keeps of the dataset that it was trained on."""

    sizes: dict[str, int]
    """Number of images in each split."""
    fingerprint: str | None
    """Of `fingerprint`; None in a run of an earlier version."""

    def __str__(self) -> str:
        return " · ".join(f"{name} {count:,}" for name, count in self.sizes.items())

    def agree(self, other: "Contents") -> bool:
        """Returns whether both are the same dataset, as far as is known."""
        fingerprints = {self.fingerprint, other.fingerprint} - {None}
        return self.sizes == other.sizes and len(fingerprints) < 2


def fingerprint(shards: Iterable[Any]) -> str:
    """Returns a hash of the names, sizes and ends of the files of a dataset, which are read.

    `shards` are their paths (`pathlib.Path`, or what TFDS has for a bucket); OSError if one cannot be read.
    """
    digest = hashlib.sha256()
    for path in sorted(shards, key=lambda path: path.name):
        size = path.stat().st_size if isinstance(path, Path) else path.stat().length
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(_ENDS))
            file.seek(max(size - _ENDS, 0))
            digest.update(file.read(_ENDS))
    return digest.hexdigest()[:16]


def keep_contents(run: Path, contents: Contents) -> None:
    """Writes what `kept_contents` reads into the folder of a run; OSError if it cannot be written."""
    write_atomic(run / _FILE, json.dumps(dataclasses.asdict(contents), indent=2) + "\n")


def kept_contents(run: Path) -> Contents | None:
    """Reads which dataset the run in a folder was trained on; None if it has not been trained.

    A run of an earlier version has the sizes in its checkpoints.

    Raises:
      InputError: the file cannot be read.
    """
    path = run / _FILE
    try:
        if path.exists():
            return Contents(**json.loads(path.read_text(encoding="utf-8")))
        for path in run.glob("checkpoints/*/progress/metadata"):
            if (sizes := json.loads(path.read_text(encoding="utf-8")).get("sizes")) is not None:
                return Contents(sizes, None)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"cannot read {path}, which says what a run was trained on: {error}") from error
    return None
