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
from typing import Any, Literal

import numpy as np
import rich.console
from PIL import Image

from bitmoji_jax.data.images import UnusableImageError, load_photo, load_square
from bitmoji_jax.errors import InputError
from bitmoji_jax.faces.align import AlignedFace, FaceError
from bitmoji_jax.files import list_files
from bitmoji_jax.host import available_cores
from bitmoji_jax.inference.picture import before_after, transparent
from bitmoji_jax.inference.translator import Portrait, Translator
from bitmoji_jax.progress import progress_bar

_BATCH = 8  # faces translated together: one of the lengths the translator is compiled for
_UNUSUAL = 0.5  # quality under which a line says so
_GRID_ROWS = 30  # portraits a sheet: more would not be looked at, and bounds memory
_ENCODERS: dict[str, dict[str, Any]] = {"png": {"optimize": True}, "webp": {"lossless": True}}


@dataclasses.dataclass(frozen=True)
class Options:
    """How photos are translated and what is written."""

    direction: Literal["x2y", "y2x"] = "x2y"
    """y2x makes photos of avatars, which are to be framed as in training."""
    aligned: bool = False
    """The images are framed as in training already: their central squares are translated as they are."""
    all_faces: bool = False
    """Every face of a photo, not only the largest."""
    force: bool = False
    """Also faces that can hardly be used, and the middle of a photo without any."""
    format: Literal["png", "webp"] = "png"
    """Of the avatars; both lossless."""
    transparent: bool = False
    """Avatars without their white background."""
    grid: bool = False
    """Also sheets of each face beside its avatar: grid.png, grid-2.png, ..."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """What was done."""

    written: list[Path]
    """Avatars, in the order of their photos."""
    photos: int
    """Photos that gave at least one."""
    skipped: dict[str, str]
    """Why the others gave none, in a word, by name."""
    unusual: int
    """Avatars of a quality under 0.5, those of forced photos not counted."""
    seconds: float

    def __str__(self) -> str:
        rate = self.photos / max(self.seconds, 1e-9)
        text = f"{len(self.written)} avatars of {self.photos} photos in {self.seconds:.1f} s, {rate:.1f} photos/s"
        if self.skipped:
            counts = collections.Counter(self.skipped.values()).most_common()
            reasons = ", ".join(f"{reason} {count}" for reason, count in counts)
            text += f" · skipped {len(self.skipped)} ({reasons})"
        if self.unusual:
            text += f" · unusual {self.unusual}: look at them"
        return text


def translate_files(
    inputs: Sequence[Path], out: Path, translator: Translator, options: Options, console: rich.console.Console
) -> Summary:
    """Translates files, and folders with all that is below them, into `out`; nothing that is there is overwritten.

    `me.jpg` becomes `me.png` (or `me-2.png`, where there is one already); a file below a folder keeps its way below it.
    An image that can't be used is skipped with a line on `console`, and stops nothing. Files are decoded in threads
    while the device works; memory does not depend on their number.

    Args:
      inputs: files and folders. What is in `out` is left out.
      out: made if need be.
      translator: with the weights.
      options: see there.
      console: for lines about single files, and a progress bar where it is a terminal.

    Raises:
      InputError: `out` can't be written to, or no photo gave an avatar.
    """
    started = time.perf_counter()
    out = Path(os.path.abspath(out))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}") from None
    jobs, skipped = _jobs(inputs, out)
    for name, reason in skipped.items():
        console.print(f"skipped {_shown(name)}: {reason}")
    writer = _Writer(out, options)
    used: set[str] = set()
    unusual = 0

    with progress_bar("translating", len(jobs), console) as advance:

        def skip(job: _Job, error: UnusableImageError | FaceError) -> None:
            skipped[job.name] = error.reason
            console.print(f"skipped {_shown(job.name)}: {error}")

        for batch in _batches(_faces(jobs, translator, options, skip, advance)):
            for job, portrait in zip(
                (job for job, _ in batch), _translate([face for _, face in batch], translator, options), strict=True
            ):
                path = writer.write(job.relative, portrait)
                used.add(job.name)
                for warning in portrait.warnings:
                    console.print(f"forced {_shown(job.name)}: {warning}")
                if not portrait.warnings and portrait.quality < _UNUSUAL:
                    unusual += 1
                    console.print(f"unusual {_shown(str(path))}: quality {portrait.quality:.2f} of 1")
        writer.finish()
    summary = Summary(writer.written, len(used), skipped, unusual, time.perf_counter() - started)
    if not writer.written:
        raise InputError(f"no avatar was made: {summary}")
    return summary


@dataclasses.dataclass(frozen=True)
class _Job:
    """A file to translate."""

    name: str
    """As it is spoken of."""
    path: Path
    relative: Path
    """Of its avatar in the output folder, but for the suffix."""


def _jobs(inputs: Sequence[Path], out: Path) -> tuple[list[_Job], dict[str, str]]:
    """The files named, or below folders named; and why others are none, by name."""
    jobs: list[_Job] = []
    skipped: dict[str, str] = {}
    for path in inputs:
        if not path.is_dir():
            # A FIFO would be waited for, and a device never end.
            if path.exists() and not path.is_file():
                skipped[str(path)] = "not a file"
            else:
                jobs.append(_Job(str(path), path, Path(path.stem)))
            continue
        listing = list_files(path)
        skipped |= {str(path / name): reason for name, reason in listing.skipped.items()}
        for name, file in listing.files.items():
            if not Path(os.path.abspath(file)).is_relative_to(out):
                jobs.append(_Job(str(path / name), file, Path(name).with_suffix("")))
    return jobs, skipped


_Face = AlignedFace | np.ndarray  # the latter: a crop that is framed already, uint8 [size, size, 3]


def _faces(
    jobs: Sequence[_Job],
    translator: Translator,
    options: Options,
    skip: Callable[[_Job, UnusableImageError | FaceError], None],
    advance: Callable[[], None],
) -> Iterator[tuple[_Job, _Face]]:
    """The faces of all files in order, decoded ahead in threads."""
    framed = options.aligned or options.direction == "y2x"

    def decode(path: Path) -> np.ndarray:
        return load_square(path, translator.size)[0] if framed else load_photo(path)

    for job, decoded in _ahead(decode, jobs):
        try:
            image = decoded.result()
            if framed:
                yield job, image
            else:
                for face in translator.align(image, force=options.force, all_faces=options.all_faces):
                    yield job, face
        except (UnusableImageError, FaceError) as error:
            skip(job, error)
        advance()


def _ahead(decode: Callable[[Path], np.ndarray], jobs: Sequence[_Job]) -> Iterator[tuple[_Job, Future[np.ndarray]]]:
    """Decodes in as many threads as there are cores, and so many photos ahead: a photo takes up to 12 MB."""
    threads = available_cores()
    with ThreadPoolExecutor(threads) as pool:
        waiting: collections.deque[tuple[_Job, Future[np.ndarray]]] = collections.deque()
        try:
            for job in jobs:
                waiting.append((job, pool.submit(decode, job.path)))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            pool.shutdown(cancel_futures=True)


def _batches(faces: Iterator[tuple[_Job, _Face]]) -> Iterator[list[tuple[_Job, _Face]]]:
    while batch := list(itertools.islice(faces, _BATCH)):
        yield batch


def _translate(faces: Sequence[_Face], translator: Translator, options: Options) -> list[Portrait]:
    if options.direction == "y2x":
        crops = np.stack([face for face in faces if isinstance(face, np.ndarray)])
        photos = translator.y2x(crops)
        return [Portrait(crop, photo, 1.0, 1.0, ()) for crop, photo in zip(crops, photos, strict=True)]
    if isinstance(faces[0], np.ndarray):
        return translator.translate_crops(np.stack([face for face in faces if isinstance(face, np.ndarray)]))
    return translator.translate_faces([face for face in faces if isinstance(face, AlignedFace)])


class _Writer:
    """Writes avatars under free names, and sheets."""

    def __init__(self, out: Path, options: Options) -> None:
        self.written: list[Path] = []
        self._out = out
        self._options = options
        self._sheet: list[Portrait] = []

    def write(self, relative: Path, portrait: Portrait) -> Path:
        avatar = Image.fromarray(portrait.avatar)
        path = self._save(transparent(avatar) if self._options.transparent else avatar, relative)
        self.written.append(path)
        if self._options.grid:
            self._sheet.append(portrait)
            if len(self._sheet) == _GRID_ROWS:
                self.finish()
        return path

    def finish(self) -> None:
        """Writes the sheet begun."""
        if self._sheet:
            self._save(before_after([(each.crop, each.avatar) for each in self._sheet]), Path("grid"))
            self._sheet = []

    def _save(self, image: Image.Image, relative: Path) -> Path:
        encoded = io.BytesIO()
        image.save(encoded, self._options.format, **_ENCODERS[self._options.format])
        folder = self._out / relative.parent
        for number in itertools.count(1):
            path = folder / f"{relative.name}{f'-{number}' if number > 1 else ''}.{self._options.format}"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as file:  # never what is there
                    file.write(encoded.getbuffer())
            except FileExistsError:
                continue
            except OSError as error:
                raise InputError(
                    f"can't write {path}: {error.strerror}; {len(self.written)} avatars are in {self._out}"
                ) from error
            return path
        raise AssertionError


def _shown(name: str) -> str:
    """A name on one line: whatever a terminal would act on is spelt out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
