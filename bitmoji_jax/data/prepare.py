"""Makes a dataset of a folder of photos and one of avatars: decodes, drops unusable images, splits, writes, reports."""

import collections
import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from rich.console import Console

from bitmoji_jax.data.builder import SPLITS, Example, check_free, scratch_folder, write_dataset
from bitmoji_jax.data.images import Framing, UnusableImageError, encode_square
from bitmoji_jax.data.labels import Label, attribute_types, read_labels
from bitmoji_jax.data.workers import map_in_workers
from bitmoji_jax.errors import InputError
from bitmoji_jax.files import list_files
from bitmoji_jax.host import available_cores
from bitmoji_jax.progress import progress_bar

REPORT = "prepare_report.json"
_TEST_SHARE = 0.1
_MIN_SIZE = 16


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A file that is not in the dataset; `folder` is photos or avatars, `file` the name in it."""

    folder: str
    file: str
    reason: str
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class _Decoded:
    """An image that can be used: its name in its folder, its framing, and the bytes of its square in the spool."""

    file: str
    framing: Framing
    start: int
    length: int


@dataclasses.dataclass(frozen=True)
class Report:
    """What `prepare` did; `prepare_report.json` in the dataset holds the same."""

    splits: Mapping[str, int]
    """Number of images in each split."""
    dropped: Sequence[LeftOut]
    """Images that cannot be used: unreadable, truncated, too small, too large or duplicate."""
    skipped: Sequence[LeftOut]
    """Entries that are no images: other files, hidden ones, broken links."""
    warnings: Sequence[str]
    """Doubts about the label CSVs, a line each."""

    def summary(self, out: Path) -> str:
        """Returns the report of the dataset in `out` as one line."""
        text = f"prepared {out}: " + " ".join(f"{name} {count}" for name, count in self.splits.items())
        for what, left_out in (("dropped", self.dropped), ("skipped", self.skipped)):
            if left_out:
                text += f" · {what} {_by_reason(left_out)}"
        return text + (f", see {out / REPORT}" if self.dropped or self.skipped else "")


def prepare(
    photos: Path,
    avatars: Path,
    out: Path,
    *,
    size: int = 128,
    labels_photos: Sequence[Path] = (),
    labels_avatars: Sequence[Path] = (),
    workers: int | None = None,
) -> Report:
    """Makes a dataset of two folders, whole or not at all; the same files give the same bytes.

    Images are turned upright, cropped to their central square and resized, in sRGB with alpha on white. One in ten goes
    to a test split, by a hash of its path below its folder. Of images that become the same, in either folder, the first
    is kept, photos before avatars.

    Args:
        photos: Folder of the X domain, read with everything below it.
        avatars: Folder of the Y domain.
        out: Folder of the dataset; it must not exist, or be empty.
        size: Side of the images in the dataset, in pixels. Images of less than half of it are dropped.
        labels_photos: Label CSVs of the photos, see `labels`.
        labels_avatars: Label CSVs of the avatars.
        workers: Processes that decode, by default one per available core; 1 is this process itself.

    Raises:
        InputError: a folder, a label CSV, `out` or `size` cannot be used.
    """
    if size < _MIN_SIZE:
        raise InputError(f"--size {size} is too small: want {_MIN_SIZE} or more")
    check_free(out)
    roots = {"photos": photos, "avatars": avatars}
    listings = {domain: list_files(root) for domain, root in roots.items()}
    for domain, listing in listings.items():
        if not listing.files:
            raise InputError(f"--{domain} {roots[domain]} has no files in it")
    if listings["photos"].folders & listings["avatars"].folders:
        raise InputError(f"--photos {photos} and --avatars {avatars} share a folder: they must be apart")

    labels: dict[str, Mapping[str, Label]] = {}
    warnings: list[str] = []
    for domain, csvs in (("photos", labels_photos), ("avatars", labels_avatars)):
        labels[domain], lines = read_labels(csvs, listings[domain].files.keys(), roots[domain])
        warnings += lines
    types, lines = attribute_types([*labels["photos"].items(), *labels["avatars"].items()])
    warnings += lines

    with scratch_folder(out) as scratch, (scratch / "spool").open("w+b") as spool:
        files = {domain: listing.files for domain, listing in listings.items()}
        decoded, left_out = _decode_files(files, size, workers or available_cores(), spool)
        dropped = [each for each in left_out if each.reason != "not an image"]
        skipped = [each for each in left_out if each.reason == "not an image"]
        for domain, listing in listings.items():
            skipped += [LeftOut(domain, name, reason) for name, reason in listing.skipped.items()]

        counts: dict[str, int] = {}
        examples: dict[str, Iterable[Example]] = {}
        for domain, letter in (("photos", "A"), ("avatars", "B")):
            if (usable := len(decoded[domain])) < 2:
                lost = _by_reason([each for each in left_out if each.folder == domain])
                found = f"--{domain} {roots[domain]} has {usable} usable images"
                raise InputError(f"{found}, want 2 or more; left out {lost}")
            for name, images in zip((f"train{letter}", f"test{letter}"), _split(decoded[domain]), strict=True):
                counts[name] = len(images)
                examples[name] = _examples(images, labels[domain], types, spool)
        report = Report({name: counts[name] for name in SPLITS}, dropped, skipped, warnings)
        write_dataset(
            out,
            examples,
            size=size,
            attributes=types,
            description="Unpaired photos (A) and avatars (B).",
            extra_files={REPORT: json.dumps(dataclasses.asdict(report), indent=1, ensure_ascii=False).encode()},
        )
    return report


def _decode_files(
    files: Mapping[str, Mapping[str, Path]], size: int, workers: int, spool: BinaryIO
) -> tuple[dict[str, list[_Decoded]], list[LeftOut]]:
    """Decodes all files and drops those whose encoded squares are the same as earlier ones.

    `files` are paths by name, by folder; `spool` receives the encoded squares. Returns the images of each folder, and
    the files that give none; they depend on the order of the files, not on the number of workers.
    """
    jobs = [(folder, name, path) for folder, named in files.items() for name, path in named.items()]
    decoded: dict[str, list[_Decoded]] = {folder: [] for folder in files}
    left_out: list[LeftOut] = []
    first: dict[bytes, str] = {}
    results = map_in_workers(functools.partial(encode_square, size=size), [path for *_, path in jobs], workers)
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
            decoded[folder].append(_Decoded(name, framing, spool.tell(), len(encoded)))
            spool.write(encoded)
    return decoded, left_out


def _split(images: Sequence[_Decoded]) -> tuple[list[_Decoded], list[_Decoded]]:
    """Returns train and test images, neither of them empty; an image keeps its split when others are added."""
    in_order = sorted(images, key=lambda image: _fraction(image.file))
    tests = sum(_fraction(image.file) < _TEST_SHARE for image in in_order)
    tests = min(max(tests, 1), len(in_order) - 1)
    return in_order[tests:], in_order[:tests]


def _fraction(name: str) -> float:
    """Hashes a name to a number that is uniform in [0, 1)."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6]) / 2**48


def _examples(
    images: Iterable[_Decoded], labels: Mapping[str, Label], types: Mapping[str, type], spool: BinaryIO
) -> Iterator[Example]:
    for image in images:
        spool.seek(image.start)
        example = Example(image.file, spool.read(image.length))
        if label := labels.get(image.file):
            example = dataclasses.replace(
                example,
                gender=label.gender,
                landmarks=image.framing.apply(label.landmarks),
                attributes={name: types[name](value) for name, value in label.attributes.items()},
            )
        yield example


def _by_reason(left_out: Iterable[LeftOut]) -> str:
    """Counts reasons, as in "12 (duplicate 8, truncated 3, too small 1)"."""
    counts = collections.Counter(each.reason for each in left_out)
    reasons = ", ".join(f"{reason} {count}" for reason, count in counts.most_common())
    return f"{counts.total()} ({reasons})" if reasons else "0"
