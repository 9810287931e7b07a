"""Label CSVs: what is known about the images of a folder, by file name.

Under a header, a row for each file. `file` is the path below the folder, with the folder's name in front where several
folders have that path; another form of Unicode, backslashes, other case and folders in front are understood where they
can mean one file only. `gender` is male, female, unknown or blank; the ten landmark columns (`eyeL_x`, `eyeL_y`,
`eyeR_x` to `mouthR_y`) are fractions of the stored image, where L is the left of the image. Every other column is an
attribute. A blank means unknown.
"""

import collections
import csv
import dataclasses
import difflib
import math
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path

import numpy as np

from bitmoji_jax.console import one_line
from bitmoji_jax.data.builder import GENDERS
from bitmoji_jax.errors import InputError

_POINTS = ("eyeL", "eyeR", "nose", "mouthL", "mouthR")
_LANDMARKS = tuple(f"{point}_{axis}" for point in _POINTS for axis in "xy")
_SHOWN = 80  # characters of a name or cell in a message


@dataclasses.dataclass(frozen=True, eq=False)
class Label:
    """What the CSVs say about one file."""

    gender: str
    landmarks: np.ndarray
    """float32 [5, 2], fractions of the stored image, NaN where unknown."""
    attributes: Mapping[str, str]
    """Text of the other columns, without blanks."""


def read_labels(paths: Sequence[Path], files: Set[str], folder: str) -> tuple[dict[str, Label], list[str]]:
    """Reads and merges the CSVs of one domain; `files` are the names of its files, `folder` says where they are.

    Returns:
        The labels by file as in `files`, and warnings, a line each.

    Raises:
        InputError: a CSV cannot be read, has no `file` column, names none of `files`, has an invalid gender or
            landmark, or contradicts an earlier one.
    """
    merged: dict[str, dict[str, str]] = {}
    warnings = []
    for path in paths:
        known, unknown, outside = [], [], []
        rows = [(where, cells, cells.pop("file")) for where, cells in _rows(path)]
        meant, guessed = match_names({name for *_, name in rows}, files)
        for where, cells, name in rows:
            if "gender" in cells:
                cells["gender"] = cells["gender"].lower()
            _check(where, cells)
            if name not in meant:
                unknown.append(name)
                continue
            file = meant[name]
            known.append(file)
            if any(value < 0 or value > 1 for value in _landmarks(cells)):
                outside.append(file)
            row = merged.setdefault(file, {})
            for column, value in cells.items():
                if row.setdefault(column, value) != value:
                    of_file, here, there = (one_line(text, _SHOWN) for text in (file, value, row[column]))
                    what = f"{one_line(column, _SHOWN)} of {of_file} is {here}"
                    raise InputError(f"{where}: {what}, but elsewhere it is {there}")
        if not known:
            example = f", such as {_nearest(unknown[0], files)}" if unknown else ""
            raise InputError(f"{path}: none of its {len(unknown)} rows names a file in {folder}{example}")
        if guessed:
            first = f"the first is {one_line(guessed[0], _SHOWN)}, taken for {one_line(meant[guessed[0]])}"
            warnings.append(f"{path}: {len(guessed)} names are written otherwise than the files: {first}")
        if outside:
            where = f"{len(outside)} files have landmarks outside of the image, the first is {one_line(outside[0])}"
            warnings.append(f"{path}: {where}: are they fractions of its width and height?")
        if unknown:
            nearest = _nearest(unknown[0], files)
            warnings.append(f"{path}: {len(unknown)} rows name no file in {folder}, the first is {nearest}")
    labels = {}
    for file, cells in merged.items():
        landmarks = np.array(_landmarks(cells), np.float32).reshape(5, 2)
        attributes = {name: value for name, value in cells.items() if name not in {*_LANDMARKS, "gender"}}
        labels[file] = Label(cells.get("gender", "unknown"), landmarks, attributes)
    return labels, warnings


def match_names(names: Set[str], files: Set[str]) -> tuple[dict[str, str], list[str]]:
    """Finds the files that names mean.

    Unicode in another form (macOS decomposes the names of files) and backslashes (Windows) mean the same. Other case
    and folders in front are a guess: it stands where one file only can be meant, and by one name only.

    Returns:
        The file by name, where there is one, and the names for which it is a guess, sorted.
    """
    same, folded = _unique(files, _plain), _unique(files, lambda file: _plain(file).casefold())
    deepest = max((form.count("/") for form in (*same, *folded)), default=0) + 1
    certain: dict[str, str] = {}
    guesses: dict[str, str] = {}
    for name in names:
        plain = _plain(name)
        if name in files or plain in same:
            certain[name] = name if name in files else same[plain]
            continue
        parts = plain.split("/")
        ends = ["/".join(parts[i:]) for i in range(max(0, len(parts) - deepest), len(parts))]
        found = [same[end] for end in ends if end in same]
        found += [folded[end.casefold()] for end in ends if end.casefold() in folded]
        if found:
            guesses[name] = found[0]
    claims = collections.Counter([*set(certain.values()), *guesses.values()])
    guesses = {name: file for name, file in guesses.items() if claims[file] == 1}
    return certain | guesses, sorted(guesses)


def _plain(name: str) -> str:
    parts = unicodedata.normalize("NFC", name).replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in {"", "."})


def _unique(files: Set[str], form: Callable[[str], str]) -> dict[str, str]:
    """The files by their form, without those that share it."""
    counts = collections.Counter(map(form, files))
    return {form(file): file for file in files if counts[form(file)] == 1}


def _nearest(name: str, files: Set[str]) -> str:
    (nearest,) = difflib.get_close_matches(name[:_SHOWN], sorted(files), n=1, cutoff=0)  # slow for a huge cell
    return f"{one_line(name, _SHOWN)}; the nearest name of a file is {one_line(nearest)}"


def attribute_types(labels: Iterable[tuple[str, Label]]) -> tuple[dict[str, type], list[str]]:
    """Returns the type of each attribute, float where every value is a number, else str; and warnings."""
    numbers: dict[str, str] = {}
    texts: dict[str, str] = {}
    for file, label in labels:
        for name, value in label.attributes.items():
            (texts if _number(value) is None else numbers).setdefault(name, f"{value} ({file})")
    types: dict[str, type] = {**dict.fromkeys(numbers, float), **dict.fromkeys(texts, str)}
    mixed = sorted(numbers.keys() & texts.keys())
    shown = [(one_line(name, _SHOWN), one_line(texts[name], _SHOWN)) for name in mixed]
    return types, [f"column {name} becomes text: {text} is no number" for name, text in shown]


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields where a row is, and its cells that are not blank, by column."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            if "file" not in header:
                raise InputError(
                    f"{path} has no column `file`, its first line is: {one_line(','.join(header), _SHOWN)}"
                )
            named = [name for name in header if name]
            if len(set(named)) < len(named):
                raise InputError(f"{path} has two columns of one name: {one_line(','.join(header), _SHOWN)}")
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                if not any(cell.strip() for cell in row):
                    continue
                if len(row) != len(header):
                    raise InputError(f"{where}: {len(row)} cells under {len(header)} column names")
                cells = {name: cell.strip() for name, cell in zip(header, row, strict=True) if name and cell.strip()}
                if "file" not in cells:
                    raise InputError(f"{where}: no file is named")
                yield where, cells
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no CSV in UTF-8: {error}") from None


def _check(where: str, cells: Mapping[str, str]) -> None:
    if (gender := cells.get("gender", "unknown")) not in GENDERS:
        shown = one_line(gender, _SHOWN)
        raise InputError(f"{where}: gender is {shown}, want {', '.join(GENDERS)} or nothing")
    for column in _LANDMARKS:
        # A point may lie a little outside of the image; further out, pixels were given for fractions.
        value = _number(cells.get(column, "nan"))
        if value is None or value < -1 or value > 2:
            shown = one_line(cells[column], _SHOWN)
            raise InputError(f"{where}: {column} is {shown}, want a fraction of the image, such as 0.5")


def _landmarks(cells: Mapping[str, str]) -> list[float]:
    return [float(cells.get(column, "nan")) for column in _LANDMARKS]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return None if math.isinf(value) else value
