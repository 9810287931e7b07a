"""Decodes all files in worker processes: to encoded squares in a spool file, or to reasons why not.

Imported by the worker processes: neither JAX nor TFDS here.
"""

import dataclasses
import functools
import hashlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from pathlib import Path
from typing import BinaryIO, TypeVar

from rich.console import Console

from bitmoji_jax.data.images import Framing, UnusableImageError, encode_image, load_square, quiet_decoders
from bitmoji_jax.errors import InputError
from bitmoji_jax.progress import progress_bar

_Result = TypeVar("_Result")

_CHUNK = 8  # images sent to a worker at a time


@dataclasses.dataclass(frozen=True)
class Decoded:
    """An image that can be used.

    Attributes:
        file: Its name in its folder.
        framing: How the square was cut out of it.
        start: Where in the spool its encoded square is, in bytes.
        length: Of the encoded square, in bytes.
    """

    file: str
    framing: Framing
    start: int
    length: int

    def read(self, spool: BinaryIO) -> bytes:
        """The encoded square."""
        spool.seek(self.start)
        return spool.read(self.length)


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A file that is not in the dataset: `folder` is photos or avatars, `file` its name in it."""

    folder: str
    file: str
    reason: str
    detail: str = ""


def decode_files(
    files: Mapping[str, Mapping[str, Path]], size: int, workers: int, spool: BinaryIO
) -> tuple[dict[str, list[Decoded]], list[LeftOut]]:
    """Decodes all files, each once, and drops those whose squares were there before.

    Squares are compared as they are encoded, so that no two images of a dataset are the same, whatever their
    files. The result depends on the order of the files, not on the workers.

    Args:
        files: Paths by name, by folder.
        size: Of the squares, in pixels.
        workers: Processes; 1 is this process itself.
        spool: Gets the encoded squares.

    Returns:
        The images of each folder, and the files that give none.

    Raises:
        InputError: a worker process died, of lack of memory as a rule.
    """
    jobs = [(folder, name, path) for folder, named in files.items() for name, path in named.items()]
    decoded: dict[str, list[Decoded]] = {folder: [] for folder in files}
    left_out: list[LeftOut] = []
    first: dict[bytes, str] = {}
    with progress_bar("decoding", len(jobs), Console(stderr=True)) as advance:
        results = _in_workers(functools.partial(_decode, size=size), [path for *_, path in jobs], workers)
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


def _in_workers(function: Callable[[Path], _Result], paths: Sequence[Path], workers: int) -> Iterator[_Result]:
    """The results in order."""
    workers = min(workers, -(-len(paths) // _CHUNK))
    if workers == 1:
        yield from map(function, paths)
        return
    # Not fork: the threads of JAX and TFDS do not survive it.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        yield from pool.map(function, paths, chunksize=_CHUNK)
    except BrokenProcessPool:
        raise InputError(
            "a worker process died: too little memory for the largest image, "
            'or a script of your own without `if __name__ == "__main__":`'
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Leaves an interrupt and talk to the parent, and sees to it that the worker does not outlive a killed one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    quiet_decoders()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
