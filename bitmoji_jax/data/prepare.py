"""From a folder of photos and one of avatars to a dataset: decode, drop the unfit, split, write, report."""

import collections
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from bitmoji_jax.data.builder import SPLITS, Example, check_free, scratch_folder, write_dataset
from bitmoji_jax.data.decoding import Decoded, LeftOut, decode_files
from bitmoji_jax.data.labels import Label, attribute_types, read_labels
from bitmoji_jax.errors import InputError
from bitmoji_jax.files import list_files
from bitmoji_jax.host import available_cores

REPORT = "prepare_report.json"
_TEST_SHARE = 0.1
_MIN_SIZE = 16


@dataclasses.dataclass(frozen=True)
class Report:
    """What `prepare` did; `prepare_report.json` in the dataset holds the same.

    Attributes:
        splits: Number of images in each split.
        dropped: Images that are unfit: unreadable, truncated, too small, too large or duplicate.
        skipped: What is no image at all: other files, hidden ones, broken links.
        warnings: A line each.
    """

    splits: Mapping[str, int]
    dropped: Sequence[LeftOut]
    skipped: Sequence[LeftOut]
    warnings: Sequence[str]

    def summary(self, out: Path) -> str:
        """The report in a line, for a dataset that is in `out`."""
        text = f"prepared {out}: " + " ".join(f"{name} {count}" for name, count in self.splits.items())
        if self.dropped:
            text += f" · dropped {_by_reason(self.dropped)}"
        if self.skipped:
            text += f" · skipped {_by_reason(self.skipped)}"
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

    Images are turned upright, cut to their central square and resized once, in sRGB with alpha on white. One
    in ten goes to a test split, by a hash of its path below its folder. Of images that are the same in the
    dataset, on whichever sides, the first is kept, photos before avatars.

    Args:
        photos: Folder of the X domain, read with everything below it.
        avatars: Folder of the Y domain.
        out: Folder of the dataset, not there yet or empty.
        size: Height and width of the images in the dataset, in pixels. Those of less than half are dropped.
        labels_photos: Label CSVs of the photos, see `labels`.
        labels_avatars: Label CSVs of the avatars.
        workers: Processes to decode in, by default as many as there are cores. 1 is this process itself.

    Raises:
        InputError: of the arguments or what they name, something cannot be used.
    """
    if size < _MIN_SIZE:
        raise InputError(f"--size {size} is too small: want {_MIN_SIZE} or more")
    check_free(out)
    roots = {"photos": photos, "avatars": avatars}
    listings = {side: list_files(root) for side, root in roots.items()}
    for side, listing in listings.items():
        if not listing.files:
            raise InputError(f"--{side} {roots[side]} has no files in it")
    if listings["photos"].folders & listings["avatars"].folders:
        raise InputError(f"--photos {photos} and --avatars {avatars} share a folder: they must be apart")

    labels: dict[str, Mapping[str, Label]] = {}
    warnings: list[str] = []
    for side, csvs in (("photos", labels_photos), ("avatars", labels_avatars)):
        labels[side], lines = read_labels(csvs, listings[side].files.keys(), roots[side])
        warnings += lines
    types, lines = attribute_types([*labels["photos"].items(), *labels["avatars"].items()])
    warnings += lines

    with scratch_folder(out) as scratch, (scratch / "spool").open("w+b") as spool:
        files = {side: listing.files for side, listing in listings.items()}
        decoded, left_out = decode_files(files, size, workers or available_cores(), spool)
        dropped = [each for each in left_out if each.reason != "not an image"]
        skipped = [each for each in left_out if each.reason == "not an image"]
        for side, listing in listings.items():
            skipped += [LeftOut(side, name, why) for name, why in listing.skipped.items()]

        splits: dict[str, list[Decoded]] = {}
        examples: dict[str, Iterable[Example]] = {}
        for side, letter in (("photos", "A"), ("avatars", "B")):
            if len(decoded[side]) < 2:
                lost = _by_reason([each for each in left_out if each.folder == side])
                usable = f"{len(decoded[side])} usable images"
                raise InputError(f"--{side} {roots[side]} has {usable}, want 2 or more; left out {lost}")
            train, test = _split(decoded[side])
            for name, images in ((f"train{letter}", train), (f"test{letter}", test)):
                splits[name] = images
                examples[name] = _examples(images, labels[side], types, spool)
        report = Report({name: len(splits[name]) for name in SPLITS}, dropped, skipped, warnings)
        write_dataset(
            out,
            examples,
            size=size,
            attributes=types,
            description="Unpaired photos (A) and avatars (B).",
            extra_files={REPORT: json.dumps(dataclasses.asdict(report), indent=1, ensure_ascii=False).encode()},
        )
    return report


def _split(images: Sequence[Decoded]) -> tuple[list[Decoded], list[Decoded]]:
    """Train and test, neither of them empty; an image stays where it is when others are added."""
    in_order = sorted(images, key=lambda image: _fraction(image.file))
    tests = sum(_fraction(image.file) < _TEST_SHARE for image in in_order)
    tests = min(max(tests, 1), len(in_order) - 1)
    return in_order[tests:], in_order[:tests]


def _fraction(name: str) -> float:
    """A hash of a name, uniform in [0, 1)."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6]) / 2**48


def _examples(
    images: Iterable[Decoded], labels: Mapping[str, Label], types: Mapping[str, type], spool: BinaryIO
) -> Iterator[Example]:
    for image in images:
        label = labels.get(image.file)
        if label is None:
            yield Example(image.file, image.read(spool))
            continue
        yield Example(
            id=image.file,
            image=image.read(spool),
            gender=label.gender,
            landmarks=image.framing.apply(label.landmarks),
            attributes={name: types[name](value) for name, value in label.attributes.items()},
        )


def _by_reason(left_out: Iterable[LeftOut]) -> str:
    """As in "12 (duplicate 8, truncated 3, too small 1)"."""
    counts = collections.Counter(each.reason for each in left_out)
    reasons = ", ".join(f"{reason} {count}" for reason, count in counts.most_common())
    return f"{counts.total()} ({reasons})" if reasons else "0"
