"""Decodes all files: to encoded squares in a spool file, or to reasons why not. Worker processes import it: no TFDS."""

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from rich.console import Console

from bitmoji_jax.data.images import Framing, UnusableImageError, encode_image, load_square
from bitmoji_jax.data.workers import map_in_workers
from bitmoji_jax.progress import progress_bar


@dataclasses.dataclass(frozen=True)
class Decoded:
    """An image that can be used: its name in its folder, its framing, and the bytes of its square in the spool."""

    file: str
    framing: Framing
    start: int
    length: int

    def read(self, spool: BinaryIO) -> bytes:
        """Reads the encoded square."""
        spool.seek(self.start)
        return spool.read(self.length)


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A file that is not in the dataset; `folder` is photos or avatars, `file` the name in it."""

    folder: str
    file: str
    reason: str
    detail: str = ""


def decode_files(
    files: Mapping[str, Mapping[str, Path]], size: int, workers: int, spool: BinaryIO
) -> tuple[dict[str, list[Decoded]], list[LeftOut]]:
    """Decodes all files and drops those whose encoded squares are the same as earlier ones.

    The result depends on the order of the files, not on the number of workers.

    Args:
        files: Paths by name, by folder.
        size: Side of the squares, in pixels.
        workers: Processes; 1 is this process itself.
        spool: Receives the encoded squares.

    Returns:
        The images of each folder, and the files that give none.

    Raises:
        InputError: a worker process died.
    """
    jobs = [(folder, name, path) for folder, named in files.items() for name, path in named.items()]
    decoded: dict[str, list[Decoded]] = {folder: [] for folder in files}
    left_out: list[LeftOut] = []
    first: dict[bytes, str] = {}
    results = map_in_workers(functools.partial(_decode, size=size), [path for *_, path in jobs], workers)
    with contextlib.closing(results), progress_bar("decoding", len(jobs), Console(stderr=True)) as advance:
        for (folder, name, _), result in zip(jobs, results, strict=True):
            advance()
            if isinstance(result, UnusableImageError):
                left_out.append(LeftOut(folder, name, result.reason, result.detail))
                continue
            encoded, framing = result
            digest = hashlib.sha256(encoded).digest()
            if digest in first:
                left_out.append(LeftOut(folder, name, "duplicate", f"of {first[digest]}"))
                continue
            first[digest] = f"{folder}/{name}"
            decoded[folder].append(Decoded(name, framing, spool.tell(), len(encoded)))
            spool.write(encoded)
    return decoded, left_out


def _decode(path: Path, size: int) -> tuple[bytes, Framing] | UnusableImageError:
    try:
        rgb, framing = load_square(path, size)
    except UnusableImageError as error:
        return error
    return encode_image(rgb), framing
