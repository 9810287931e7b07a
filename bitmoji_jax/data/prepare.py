"""Makes a dataset of folders of photos and one of avatars: decodes, drops unusable images, splits, writes, reports."""

import collections
import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from bitmoji_jax.console import make_console
from bitmoji_jax.data.builder import SPLITS, Example, check_free, scratch_folder, write_dataset
from bitmoji_jax.data.framing import Frame, Job, MeasureIta, central_frame, encode
from bitmoji_jax.data.images import UnusableImageError
from bitmoji_jax.data.labels import Label, attribute_types, read_labels
from bitmoji_jax.data.workers import map_in_workers
from bitmoji_jax.errors import InputError
from bitmoji_jax.files import list_folders
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


@dataclasses.dataclass(frozen=True, eq=False)
class _Decoded:
    """An image that can be used: its name, what is stored of it, and the bytes of its square in the spool."""

    file: str
    landmarks: np.ndarray | None
    ita: float
    start: int
    length: int


@dataclasses.dataclass(frozen=True)
class Report:
    """What `prepare` did; `prepare_report.json` in the dataset holds the same."""

    splits: Mapping[str, int]
    """Number of images in each split."""
    dropped: Sequence[LeftOut]
    """Images that cannot be used: unreadable, truncated, too small, too large, duplicate or without a usable face."""
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
    photos: Sequence[Path],
    avatars: Path,
    out: Path,
    *,
    size: int = 128,
    labels_photos: Sequence[Path] = (),
    labels_avatars: Sequence[Path] = (),
    frame: Frame | None = None,
    measure_ita: MeasureIta | None = None,
    workers: int | None = None,
) -> Report:
    """Makes a dataset of photos and avatars, whole or not at all; the same files give the same bytes.

    Images are turned upright, cropped to their central square and resized, in sRGB with alpha on white. One in ten goes
    to a test split, by a hash of its path below its folder. Of images that become the same, in any folder, the first is
    kept, photos before avatars.

    Args:
        photos: Folders of the X domain, read with everything below them. Where several have a file of the same path,
            its name in the dataset and in label CSVs begins with its folder's name.
        avatars: Folder of the Y domain.
        out: Folder of the dataset; it must not exist, or be empty.
        size: Side of the images in the dataset, in pixels. Images of less than half of it are dropped.
        labels_photos: Label CSVs of the photos, see `labels`.
        labels_avatars: Label CSVs of the avatars.
        frame: How photos are framed; None takes their central squares, as of avatars.
        measure_ita: How the skin of photos is measured, for an attribute `ita` of those whose labels have neither `ita`
            nor `skin_r`, `skin_g` and `skin_b`.
        workers: Processes that decode, by default one per available core; 1 is this process itself.

    Raises:
        InputError: a folder, a label CSV, `out` or `size` cannot be used.
    """
    if size < _MIN_SIZE:
        raise InputError(f"--size {size} is too small: want {_MIN_SIZE} or more")
    check_free(out)
    roots = {"photos": photos, "avatars": [avatars]}
    where = {domain: " ".join(map(str, folders)) for domain, folders in roots.items()}
    listings, below = {}, {}
    for domain, folders in roots.items():
        listings[domain], below[domain] = list_folders(folders)
        if not listings[domain].files:
            raise InputError(f"--{domain} {where[domain]} has no files in it")
    if listings["photos"].folders & listings["avatars"].folders:
        raise InputError(f"--photos {where['photos']} and --avatars {avatars} share a folder: they must be apart")

    labels: dict[str, Mapping[str, Label]] = {}
    warnings: list[str] = []
    for domain, csvs in (("photos", labels_photos), ("avatars", labels_avatars)):
        labels[domain], lines = read_labels(csvs, listings[domain].files.keys(), where[domain])
        warnings += lines
    types, lines = attribute_types([*labels["photos"].items(), *labels["avatars"].items()])
    warnings += lines

    with scratch_folder(out) as scratch, (scratch / "spool").open("w+b") as spool:
        jobs = {
            "photos": _photo_jobs(listings["photos"].files, labels["photos"], frame, measure_ita),
            "avatars": {
                name: Job(path, central_frame, _landmarks(labels["avatars"], name))
                for name, path in listings["avatars"].files.items()
            },
        }
        decoded, left_out = _decode_files(jobs, size, workers or available_cores(), spool)
        if any(np.isfinite(image.ita) for image in decoded["photos"]):
            types.setdefault("ita", float)
        dropped = [each for each in left_out if each.reason != "not an image"]
        skipped = [each for each in left_out if each.reason == "not an image"]
        for domain, listing in listings.items():
            skipped += [LeftOut(domain, name, reason) for name, reason in listing.skipped.items()]

        counts: dict[str, int] = {}
        examples: dict[str, Iterable[Example]] = {}
        for domain, letter in (("photos", "A"), ("avatars", "B")):
            if (usable := len(decoded[domain])) < 2:
                lost = _by_reason([each for each in left_out if each.folder == domain])
                found = f"--{domain} {where[domain]} has {usable} usable images"
                raise InputError(f"{found}, want 2 or more; left out {lost}")
            for name, images in zip(
                (f"train{letter}", f"test{letter}"), _split(decoded[domain], below[domain]), strict=True
            ):
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


def _photo_jobs(
    files: Mapping[str, Path], labels: Mapping[str, Label], frame: Frame | None, measure_ita: MeasureIta | None
) -> dict[str, Job]:
    """Returns jobs by name; the skin is measured only where its tone is not labelled and there may be landmarks."""
    jobs = {}
    for name, path in files.items():
        known = labels[name].attributes.keys() if name in labels else set[str]()
        landmarks = _landmarks(labels, name)
        measurable = frame is not None or (landmarks is not None and np.isfinite(landmarks).any())
        wanted = measurable and "ita" not in known and not {"skin_r", "skin_g", "skin_b"} <= known
        jobs[name] = Job(path, frame or central_frame, landmarks, measure_ita if wanted else None)
    return jobs


def _landmarks(labels: Mapping[str, Label], name: str) -> np.ndarray | None:
    return labels[name].landmarks if name in labels else None


def _decode_files(
    jobs: Mapping[str, Mapping[str, Job]], size: int, workers: int, spool: BinaryIO
) -> tuple[dict[str, list[_Decoded]], list[LeftOut]]:
    """Decodes all files and drops those whose encoded squares are the same as earlier ones.

    `jobs` are by name, by folder; `spool` receives the encoded squares. Returns the images of each folder, and the
    files that give none; they depend on the order of the files, not on the number of workers.
    """
    each = [(folder, name, job) for folder, named in jobs.items() for name, job in named.items()]
    decoded: dict[str, list[_Decoded]] = {folder: [] for folder in jobs}
    left_out: list[LeftOut] = []
    first: dict[bytes, str] = {}
    results = map_in_workers(functools.partial(encode, size=size), [job for *_, job in each], workers)
    with contextlib.closing(results), progress_bar("decoding", len(each), make_console(stderr=True)) as advance:
        for (folder, name, _), result in zip(each, results, strict=True):
            advance()
            if isinstance(result, UnusableImageError):
                left_out.append(LeftOut(folder, name, result.reason, result.detail))
                continue
            digest = hashlib.sha256(result.image).digest()
            if digest in first:
                left_out.append(LeftOut(folder, name, "duplicate", f"of {first[digest]}"))
                continue
            first[digest] = f"{folder}/{name}"
            decoded[folder].append(_Decoded(name, result.landmarks, result.ita, spool.tell(), len(result.image)))
            spool.write(result.image)
    return decoded, left_out


def _split(images: Sequence[_Decoded], below: Mapping[str, str]) -> tuple[list[_Decoded], list[_Decoded]]:
    """Returns train and test images, neither of them empty; an image keeps its split when others are added.

    `below` are the paths below the images' own folders, by name: a name may change when a folder is added.
    """
    in_order = sorted(images, key=lambda image: _fraction(below[image.file]))
    tests = sum(_fraction(below[image.file]) < _TEST_SHARE for image in in_order)
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
        label = labels.get(image.file)
        attributes = dict(label.attributes) if label else {}
        if np.isfinite(image.ita):
            attributes["ita"] = f"{image.ita:.1f}"
        yield Example(
            image.file,
            spool.read(image.length),
            gender=label.gender if label else "unknown",
            landmarks=image.landmarks,
            attributes={name: types[name](value) for name, value in attributes.items()},
        )


def _by_reason(left_out: Iterable[LeftOut]) -> str:
    """Counts reasons, as in "12 (duplicate 8, truncated 3, too small 1)"."""
    counts = collections.Counter(each.reason for each in left_out)
    reasons = ", ".join(f"{reason} {count}" for reason, count in counts.most_common())
    return f"{counts.total()} ({reasons})" if reasons else "0"
