"""Files: written whole or not at all, listed under names that are valid Unicode, and weights. No JAX here."""

import collections
import dataclasses
import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors.numpy

from bitmoji_jax.errors import InputError, RunError


@dataclasses.dataclass(frozen=True)
class Listing:
    """The files of a folder and all folders below it; a name is the path below the folder, as text."""

    files: dict[str, Path]
    """Paths by name, sorted by name."""
    skipped: dict[str, str]
    """Reasons why entries were left out, by name."""
    folders: set[tuple[int, int]]
    """Device and inode of every folder that was read."""


def list_files(root: Path) -> Listing:
    """Lists the regular files below a folder: follows links, reads every folder once, leaves hidden entries out.

    Raises:
        InputError: there is no such folder, or it cannot be read.
    """
    try:
        os.scandir(root).close()
    except OSError as error:
        raise InputError(f"{root}: {error.strerror}") from None
    files: dict[str, Path] = {}
    skipped: dict[str, str] = {}
    folders: set[tuple[int, int]] = set()

    def name_of(path: Path) -> str:
        # TFDS and JSON need UTF-8, which a file name may not be.
        name = os.fsencode(path.relative_to(root)).decode("utf-8", "backslashreplace")
        while name in files or name in skipped:
            name += "~"
        return name

    # Links to folders come last, so that a folder that is also linked to keeps its own name.
    waiting, linked = [root], list[Path]()
    while waiting or linked:
        folder = waiting.pop() if waiting else linked.pop(0)
        try:
            info = folder.stat()
            entries = sorted(folder.iterdir(), key=os.fsencode)
        except OSError:
            skipped[name_of(folder)] = "unreadable folder"
            continue
        if (info.st_dev, info.st_ino) in folders:
            skipped[name_of(folder)] = "folder read already"
            continue
        folders.add((info.st_dev, info.st_ino))
        for path in entries:
            if path.name.startswith("."):
                skipped[name_of(path)] = "hidden"
            elif isinstance(mode := _mode(path), str):
                skipped[name_of(path)] = mode
            elif stat.S_ISREG(mode):
                files[name_of(path)] = path
            elif not stat.S_ISDIR(mode):
                skipped[name_of(path)] = "not a file"  # opening a FIFO would block
            else:
                (linked if path.is_symlink() else waiting).append(path)
    return Listing(dict(sorted(files.items())), dict(sorted(skipped.items())), folders)


def list_folders(roots: Sequence[Path]) -> tuple[Listing, dict[str, str]]:
    """Lists the files of several folders as those of one, in the order of the folders.

    A path that is below more than one of them gets the name of its folder in front.

    Returns:
        The listing and, by name, the path of each file below its own folder, which does not depend on the others.

    Raises:
        InputError: a folder cannot be read, two share a folder, or two have the same name and a path in common.
    """
    listings = [list_files(root) for root in roots]
    counts = collections.Counter(name for listing in listings for name in (*listing.files, *listing.skipped))
    merged, below = Listing({}, {}, set()), dict[str, str]()
    for root, listing in zip(roots, listings, strict=True):
        if merged.folders & listing.folders:
            raise InputError(f"{root} shares a folder with one named before it: they must be apart")
        merged.folders.update(listing.folders)
        front = os.fsencode(root.resolve().name).decode("utf-8", "backslashreplace")
        named = {name: f"{front}/{name}" if counts[name] > 1 else name for name in (*listing.files, *listing.skipped)}
        for name, full in named.items():
            if full in merged.files or full in merged.skipped:
                raise InputError(f"{root} and a folder named before it both have {full}: give the folders other names")
            if name in listing.files:
                merged.files[full], below[full] = listing.files[name], name
            else:
                merged.skipped[full] = listing.skipped[name]
    return merged, below


def _mode(path: Path) -> int | str:
    """Returns the mode of the target of a path, or the reason why there is none."""
    try:
        return path.stat().st_mode
    except PermissionError:
        return "no permission"
    except OSError:  # also for a link to itself
        return "broken link"


def make_folder(folder: Path, name: str) -> None:
    """Makes a folder, unless it is there, and tries that files can be written into it.

    Raises:
        InputError: it cannot be made or written to. The message begins with `name`, such as "--out".
    """
    try:
        check_link(folder, name)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
    except OSError as error:
        # What mkdir says of a file in the way is "File exists".
        reason = "Not a directory" if isinstance(error, FileExistsError) else error.strerror
        raise InputError(f"{name} {folder}: {reason}. Choose another place") from error


def check_link(path: Path, name: str) -> None:
    """Raises InputError, beginning with `name`, where the path or a folder above it is a link to nothing."""
    for each in (path, *path.parents):
        if each.is_symlink() and not each.exists():
            raise InputError(f"{name} {path}: {each} is a link to {os.readlink(each)}, which does not exist")


def write_atomic(path: Path, contents: bytes | str) -> None:
    """Writes a file whole or not at all: under another name, which is then renamed. Text becomes UTF-8.

    Raises:
        OSError: the folder does not exist or cannot be written to, or the disk is full; `path` is then unchanged.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # other processes may write the same file
    try:
        # File names in the text, such as a run's folder, may not be valid Unicode.
        partial.write_bytes(contents.encode("utf-8", "replace") if isinstance(contents, str) else contents)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Reads the arrays of a safetensors file that comes with the package, by name, as float32.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        arrays = safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise RunError(f"{path} is missing or damaged, install the package anew: {error}") from error
    return {name: array.astype(np.float32) for name, array in arrays.items()}
