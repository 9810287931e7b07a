"""Photos in files and folders to avatars in a folder; the command `translate`."""

import collections
import dataclasses
import io
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import rich.console
from PIL import Image

from bitmoji_jax.data.images import UnusableImageError, load_photo, load_square
from bitmoji_jax.errors import InputError
from bitmoji_jax.faces.align import FaceError
from bitmoji_jax.files import list_files
from bitmoji_jax.host import available_cores
from bitmoji_jax.inference.picture import before_after, transparent
from bitmoji_jax.inference.translator import Portrait, Translator
from bitmoji_jax.progress import progress_bar

_BATCH = 8  # faces translated together: one of the sizes that the translator is compiled for
_MIN_QUALITY = 0.5  # of an avatar that is not reported as unusual
_SHEET = 30  # portraits on a sheet; more would be hard to look at, and take memory
_ENCODERS: dict[str, dict[str, Any]] = {"png": {"optimize": True}, "webp": {"lossless": True}}


@dataclasses.dataclass(frozen=True)
class Options:
    """How photos are translated and what is written; `bitmoji translate --help` explains each."""

    direction: Literal["x2y", "y2x"] = "x2y"
    aligned: bool = False
    all_faces: bool = False
    force: bool = False
    format: Literal["png", "webp"] = "png"
    transparent: bool = False
    grid: bool = False


@dataclasses.dataclass(frozen=True)
class Summary:
    """What was done."""

    written: list[Path]
    """Avatars, in the order of their photos."""
    photos: int
    """Number of photos with at least one avatar."""
    skipped: dict[str, str]
    """Why the other files have none, by name."""
    unusual: int
    """Number of avatars with a quality under 0.5, those of forced photos not counted."""
    seconds: float

    def __str__(self) -> str:
        rate = self.photos / max(self.seconds, 1e-9)
        text = f"{len(self.written)} avatars of {self.photos} photos in {self.seconds:.1f} s, {rate:.1f} photos/s"
        if self.skipped:
            counts = collections.Counter(self.skipped.values()).most_common()
            text += f" · skipped {len(self.skipped)} ({', '.join(f'{reason} {count}' for reason, count in counts)})"
        if self.unusual:
            text += f" · unusual {self.unusual}: check them"
        return text


def translate_files(
    inputs: Sequence[Path], out: Path, translator: Translator, options: Options, console: rich.console.Console
) -> Summary:
    """Translates files, and all files below folders, to avatars in `out`; existing files are never overwritten.

    `me.jpg` becomes `me.png` (or `me-2.png`, where that exists); a file below a folder keeps its path below it. An
    image that cannot be used is skipped with a line on `console`. Files are decoded in threads while the device works;
    memory does not depend on their number.

    Args:
      inputs: files and folders; files in `out` are left out.
      out: a folder, created if necessary.
      console: for lines about single files, and a progress bar where it is a terminal.

    Raises:
      InputError: `out` cannot be written to, or no avatar was made.
    """
    started = time.perf_counter()
    out = Path(os.path.abspath(out))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}") from None
    files, skipped = _list_inputs(inputs, out)
    for name, reason in skipped.items():
        console.print(f"skipped {_printable(name)}: {reason}")
    framed = options.aligned or options.direction == "y2x"
    if options.direction == "y2x":
        translator = Translator({"x2y": translator.y2x}, size=translator.input_size, cut_out=False)
    translate: Callable[[Any], list[Portrait]] = translator.translate_crops if framed else translator.translate_faces
    writer = _Writer(out, options)
    photos: set[str] = set()
    unusual = 0

    def decode(path: Path) -> np.ndarray:
        return load_square(path, translator.input_size)[0] if framed else load_photo(path)

    def find_faces(advance: Callable[[], None]) -> Iterator[tuple[_File, Any]]:
        for file, decoded in _decoded_ahead(decode, files):
            try:
                image = decoded.result()
                how = {"force": options.force, "all_faces": options.all_faces}
                faces: Sequence[Any] = [image] if framed else translator.align(image, **how)
            except (UnusableImageError, FaceError) as error:
                skipped[file.name] = error.reason
                console.print(f"skipped {_printable(file.name)}: {error}")
            else:
                yield from ((file, face) for face in faces)
            advance()

    with progress_bar("translating", len(files), console) as advance:
        found = find_faces(advance)
        while batch := list(itertools.islice(found, _BATCH)):
            for (file, _), portrait in zip(batch, translate([face for _, face in batch]), strict=True):
                path = writer.write(file.target, portrait)
                photos.add(file.name)
                for warning in portrait.warnings:
                    console.print(f"forced {_printable(file.name)}: {warning}")
                if not portrait.warnings and portrait.quality < _MIN_QUALITY:
                    unusual += 1
                    console.print(f"unusual {_printable(str(path))}: quality {portrait.quality:.2f} of 1")
        writer.finish()
    summary = Summary(writer.written, len(photos), skipped, unusual, time.perf_counter() - started)
    if not writer.written:
        raise InputError(f"no avatar was made: {summary}")
    return summary


class _File(NamedTuple):
    """A file to translate: its name in messages, and its avatar's path below the output folder, without suffix."""

    name: str
    path: Path
    target: Path


def _list_inputs(inputs: Sequence[Path], out: Path) -> tuple[list[_File], dict[str, str]]:
    """Lists the files to translate; and why others are skipped, by name."""
    files: list[_File] = []
    skipped: dict[str, str] = {}
    for path in inputs:
        if path.is_dir():
            listing = list_files(path)
            skipped |= {str(path / name): reason for name, reason in listing.skipped.items()}
            files += [
                _File(str(path / name), file, Path(name).with_suffix(""))
                for name, file in listing.files.items()
                if not Path(os.path.abspath(file)).is_relative_to(out)
            ]
        elif path.exists() and not path.is_file():  # reading a FIFO would block, and some devices have no end
            skipped[str(path)] = "not a file"
        else:
            files.append(_File(str(path), path, Path(path.stem)))
    return files, skipped


def _decoded_ahead(
    decode: Callable[[Path], np.ndarray], files: Sequence[_File]
) -> Iterator[tuple[_File, Future[np.ndarray]]]:
    """Decodes in as many threads as there are cores, twice as many photos ahead: a photo takes up to 12 MB."""
    threads = available_cores()
    with ThreadPoolExecutor(threads) as pool:
        submitted = ((file, pool.submit(decode, file.path)) for file in files)
        waiting = collections.deque(itertools.islice(submitted, 2 * threads))
        try:
            while waiting:
                waiting.extend(itertools.islice(submitted, 1))
                yield waiting.popleft()
        finally:
            pool.shutdown(cancel_futures=True)


class _Writer:
    """Writes avatars under unused names, and sheets of them."""

    def __init__(self, out: Path, options: Options) -> None:
        self._out, self._options = out, options
        self.written: list[Path] = []
        self._sheet: list[Portrait] = []

    def write(self, target: Path, portrait: Portrait) -> Path:
        avatar = Image.fromarray(portrait.avatar)
        path = self._save(transparent(avatar) if self._options.transparent else avatar, target)
        self.written.append(path)
        if self._options.grid:
            self._sheet.append(portrait)
            if len(self._sheet) == _SHEET:
                self.finish()
        return path

    def finish(self) -> None:
        """Writes the portraits that are not on a sheet yet."""
        if self._sheet:
            self._save(before_after([(portrait.crop, portrait.avatar) for portrait in self._sheet]), Path("grid"))
            self._sheet = []

    def _save(self, image: Image.Image, target: Path) -> Path:
        encoded = io.BytesIO()
        image.save(encoded, self._options.format, **_ENCODERS[self._options.format])
        folder = self._out / target.parent
        path, number = folder / f"{target.name}.{self._options.format}", 1
        try:
            folder.mkdir(parents=True, exist_ok=True)
            while True:
                try:
                    with path.open("xb") as file:  # fails where the file exists
                        file.write(encoded.getbuffer())
                    return path
                except FileExistsError:
                    number += 1
                    path = folder / f"{target.name}-{number}.{self._options.format}"
        except OSError as error:
            done = f"{len(self.written)} avatars are in {self._out}"
            raise InputError(f"cannot write {path}: {error.strerror}; {done}") from error


def _printable(name: str) -> str:
    """Returns a name on one line, with control characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
