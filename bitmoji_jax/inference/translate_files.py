"""Photos in files and folders to avatars in a folder; the command `translate`."""

import collections
import dataclasses
import functools
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
from bitmoji_jax.errors import InputError, RunError
from bitmoji_jax.faces.align import FaceError
from bitmoji_jax.files import list_files, make_folder, write_atomic
from bitmoji_jax.host import available_cores
from bitmoji_jax.inference.look import Look
from bitmoji_jax.inference.picture import before_after, transparent
from bitmoji_jax.inference.sticker import make_sticker
from bitmoji_jax.inference.translator import Portrait, Translator
from bitmoji_jax.inference.variants import VARIANTS
from bitmoji_jax.progress import progress_bar

_BATCH = 8  # faces translated together: one of the sizes that the translator is compiled for
_MIN_QUALITY = 0.5  # of an avatar that is not reported as unusual
_SHEET = 30  # portraits on a sheet; more would be hard to look at, and take memory
_MADE_BY = "bitmoji-jax"  # in the metadata of what is written here, so that it is not taken for a photo later
_SOFTWARE = 305  # the EXIF tag for it
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
    skip_existing: bool = False
    shard: tuple[int, int] | None = None
    """(i, n): the i-th of n parts."""
    look: Look = dataclasses.field(default_factory=Look)
    variants: bool = False
    sticker: bool = False


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
    existing: int
    """Number of photos that were left out because their avatar was there."""
    renamed: int
    """Number of avatars with another name because a file of theirs was there."""
    seconds: float

    def __str__(self) -> str:
        rate = self.photos / max(self.seconds, 1e-9)
        text = f"{len(self.written)} avatars of {self.photos} photos in {self.seconds:.1f} s, {rate:.1f} photos/s"
        if self.skipped:
            counts = collections.Counter(self.skipped.values()).most_common()
            text += f" · skipped {len(self.skipped)} ({', '.join(f'{reason} {count}' for reason, count in counts)})"
        if self.unusual:
            text += f" · unusual {self.unusual}: check them"
        if self.existing:
            text += f" · left out {self.existing} whose avatar exists"
        if self.renamed:
            text += f" · {self.renamed} under another name, as theirs exists: --skip-existing leaves those photos out"
        return text


def translate_files(
    inputs: Sequence[Path], out: Path, translator: Translator, options: Options, console: rich.console.Console
) -> Summary:
    """Translates files, and all files below folders, to avatars in `out`; existing files are never overwritten.

    `me.jpg` becomes `me.png` (or `me-2.png`, where that exists), with variants `me_1.png` to `me_3.png`; the sticker of
    `me.png` is `me-sticker.webp`. A file below a folder keeps its path below it. An image that cannot be used is
    skipped with a line on `console`. Files are decoded in threads while the device works; memory does not depend on
    their number.

    Args:
      inputs: files and folders; of folders, what this function has written is left out.
      out: a folder, created if necessary.
      console: for lines about single files, and a progress bar where it is a terminal.

    Raises:
      InputError: `out` cannot be written to, or no avatar was made.
      RunError: an avatar cannot be written; those before it are kept.
    """
    started = time.perf_counter()
    if options.look != Look():
        if options.direction == "y2x":
            raise InputError("looks can be chosen for avatars of photos only, not for --direction y2x")
        translator.check_look(options.look)
    if options.variants and options.direction == "y2x":
        raise InputError("there are variants of avatars only: leave out --variants or --direction y2x")
    if options.sticker and options.direction == "y2x":
        raise InputError("there are stickers of avatars only: leave out --sticker or --direction y2x")
    variants = VARIANTS if options.variants else VARIANTS[:1]
    out = Path(os.path.abspath(out))
    if options.shard is not None and (folder := next((each for each in inputs if _is_below(out, each)), None)):
        raise InputError(f"--out is below {folder}, where other shards would find its files: choose another folder")
    make_folder(out, "--out")
    files, skipped = _list_inputs(inputs, with_avatars=options.direction == "y2x")
    for name, reason in skipped.items():
        console.print(f"skipped {_printable(name)}: {reason}")
    if options.shard is not None:
        files = _part(files, *options.shard)
    framed = options.aligned or options.direction == "y2x"
    if options.direction == "y2x":
        translator = Translator({"x2y": translator.y2x}, size=translator.input_size, cut_out=False)
    way: Callable[..., list[Portrait]] = translator.translate_crops if framed else translator.translate_faces
    translate: Callable[[Any], list[Portrait]] = functools.partial(way, look=options.look, variants=variants)
    writer = _Writer(out, options)
    listed = len(files)
    if options.skip_existing:
        files = writer.without_avatar(files)
    existing = listed - len(files)
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
            file_of_each = [file for file, _ in batch for _ in variants]
            for file, portrait in zip(file_of_each, translate([face for _, face in batch]), strict=True):
                path = writer.write(file.target, portrait)
                photos.add(file.name)
                for warning in portrait.warnings if portrait.variant == variants[0] else ():
                    console.print(f"forced {_printable(file.name)}: {warning}")
                if not portrait.warnings and portrait.quality < _MIN_QUALITY:
                    unusual += 1
                    console.print(f"unusual {_printable(str(path))}: quality {portrait.quality:.2f} of 1")
        writer.finish()
    seconds = time.perf_counter() - started
    summary = Summary(writer.written, len(photos), skipped, unusual, existing, writer.renamed, seconds)
    if not writer.written and not existing and (listed or options.shard is None):
        raise InputError(f"no avatar was made: {summary}")
    return summary


class _File(NamedTuple):
    """A file to translate: its name in messages, and its avatar's path below the output folder, without suffix."""

    name: str
    path: Path
    target: Path


def _list_inputs(inputs: Sequence[Path], *, with_avatars: bool) -> tuple[list[_File], dict[str, str]]:
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
                if with_avatars or not _made_here(file)
            ]
        elif path.exists() and not path.is_file():  # reading a FIFO would block, and some devices have no end
            skipped[str(path)] = "not a file"
        else:
            files.append(_File(str(path), path, Path(path.stem)))
    return files, skipped


def _part(files: Sequence[_File], number: int, count: int) -> list[_File]:
    """The `number`-th of `count` parts by the sorted names of avatars; photos of the same name stay together."""
    names = sorted({file.target for file in files})
    part = set(names[number - 1 :: count])
    return [file for file in files if file.target in part]


def _is_below(path: Path, folder: Path) -> bool:
    return folder.is_dir() and path.resolve().is_relative_to(folder.resolve())


def _made_here(path: Path) -> bool:
    """Whether an image says that this module wrote it; a file that cannot be read does not."""
    if path.suffix.lower().removeprefix(".") not in _ENCODERS:
        return False
    try:
        with Image.open(path, formats=[name.upper() for name in _ENCODERS]) as image:
            exif = Image.Exif()
            exif.load(image.info.get("exif", b""))  # not getexif(), which decodes a PNG without one
            return exif.get(_SOFTWARE) == _MADE_BY
    except Exception:  # Pillow raises many kinds for a damaged file, which is reported when it is decoded
        return False


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
    """Writes avatars under unused names, their stickers, and sheets of them."""

    def __init__(self, out: Path, options: Options) -> None:
        self._out, self._options = out, options
        self.written: list[Path] = []
        self.renamed = 0
        self._sheet: list[Portrait] = []
        self._names: set[Path] = set()

    def without_avatar(self, files: Sequence[_File]) -> list[_File]:
        """Returns the files whose avatar, under the name that `write` gives, is not there yet."""
        counts: collections.Counter[Path] = collections.Counter()
        left = []
        for file in files:
            counts[file.target] += 1
            named = self._named(file.target, VARIANTS[-1])  # written last
            path = self._path(named, counts[file.target], self._options.format)
            if not (path.is_file() and path.stat().st_size):
                left.append(file)
        return left

    def write(self, target: Path, portrait: Portrait) -> Path:
        avatar = transparent(portrait.avatar) if self._options.transparent else portrait.avatar

        def content(path: Path) -> bytes:
            if self._options.sticker:  # before the avatar, so that a photo whose avatar is there has its sticker too
                beside = target.with_name(f"{path.stem}-sticker")
                self._save(beside, "webp", lambda _: make_sticker(portrait.avatar, exif=_exif()))
            return self._encoded(Image.fromarray(avatar))

        path = self._save(self._named(target, portrait.variant), self._options.format, content)
        self.written.append(path)
        if self._options.grid:
            self._sheet.append(portrait)
            if len(self._sheet) == _SHEET:
                self.finish()
        return path

    def finish(self) -> None:
        """Writes the portraits that are not on a sheet yet."""
        if self._sheet:
            sheet = before_after([(portrait.crop, portrait.avatar) for portrait in self._sheet])
            self._save(Path("grid"), self._options.format, lambda _: self._encoded(sheet))
            self._sheet = []

    def _encoded(self, image: Image.Image) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, self._options.format, exif=_exif(), **_ENCODERS[self._options.format])
        return buffer.getvalue()

    def _save(self, target: Path, suffix: str, content: Callable[[Path], bytes]) -> Path:
        """Writes `content` of the path that the file gets."""
        path, number, before = self._path(target, 1, suffix), 1, False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            while not _taken(path):
                before |= path not in self._names
                number += 1
                path = self._path(target, number, suffix)
            self._names.add(path)
            self.renamed += before
            try:
                write_atomic(path, content(path))
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            return path
        except OSError as error:
            done = f"{len(self.written)} avatars are in {self._out}"
            raise RunError(f"cannot write {path}: {error.strerror}; {done}") from error

    def _named(self, target: Path, variant: int) -> Path:
        return target.with_name(f"{target.name}_{variant}") if self._options.variants else target

    def _path(self, target: Path, number: int, suffix: str) -> Path:
        """The path of the first, second, ... file of a name."""
        name = target.name if number == 1 else f"{target.name}-{number}"
        return self._out / target.parent / f"{name}.{suffix}"


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[_SOFTWARE] = _MADE_BY
    return exif


def _taken(path: Path) -> bool:
    """Takes a name, with an empty file; returns False where there is a file already."""
    try:
        path.open("xb").close()
    except FileExistsError:
        return False
    return True


def _printable(name: str) -> str:
    """Returns a name on one line, with control characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
