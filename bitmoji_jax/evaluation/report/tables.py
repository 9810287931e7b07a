"""Numbers as the report writes them, and what its tables have in a row: one score of every run."""

import math
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import TypeGuard

from bitmoji_jax.evaluation.groups import is_of_persons
from bitmoji_jax.evaluation.results import Better, RunResult, Score, badness

DIRECTIONS: dict[Better, str] = {
    "lower": "lower is better",
    "higher": "higher is better",
    "near 1": "near 1 is better",
}
MISSING = "—"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

Row = Sequence[Score | None]
"""One score of every run; None for a run that lacks it."""


def is_value(value: object) -> TypeGuard[float]:
    """Tells numbers, infinity included, from NaN and everything else."""
    return isinstance(value, Real) and not math.isnan(value)


def format_number(value: float | None, digits: int = 3) -> str:
    """Rounds to significant digits, but not below 1: 0.0123, 395, 12,345, 1.2 × 10⁻⁶, −0.500, ∞, —."""
    if not is_value(value):
        return MISSING
    size = abs(float(value))
    sign = "−" if value < 0 else ""
    if math.isinf(size):
        return f"{sign}∞"
    if size == 0:
        return "0"
    if 10**digits - 0.5 <= size < 1e9:
        return f"{sign}{size:,.0f}"
    text = f"{size:#.{digits}g}"
    if "e" not in text:
        return sign + text.rstrip(".")
    mantissa, exponent = text.split("e")
    return f"{sign}{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def format_count(count: int, noun: str) -> str:
    """Writes a count with its noun: 1 image, 550 images."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def titled(score: Score) -> str:
    """Gives a score's title with its unit, if there is one, in brackets."""
    return f"{score.title} ({score.unit})" if score.unit else score.title


def score_rows(runs: Sequence[RunResult]) -> list[Row]:
    """Collects a row for each score that a run has, in order of first appearance."""
    by_name = [{score.name: score for score in run.scores} for run in runs]
    return [[scores.get(name) for scores in by_name] for name in union(by_name)]


def group_rows(runs: Sequence[RunResult]) -> list[Row]:
    """Collects the rows of scores that were computed by group."""
    return [row for row in score_rows(runs) if any(score and score.groups for score in row)]


def group_names(rows: Sequence[Row], *, of_persons: bool) -> list[str]:
    """Lists the groups of persons in some rows, or the other ones."""
    names = union(score.groups for row in rows for score in row if score)
    return [name for name in names if is_of_persons(name) == of_persons]


def union(names: Iterable[Iterable[str]]) -> list[str]:
    """Lists every name once, in order of first appearance."""
    return list(dict.fromkeys(name for some in names for name in some))


def best_runs(row: Row) -> set[int]:
    """Finds the positions of the best reliable values of a row; none if all are equal."""
    known = {
        i: badness(float(score.value), score.better)
        for i, score in enumerate(row)
        if score and score.reliable and is_value(score.value)
    }
    if len(set(known.values())) < 2:
        return set()
    return {i for i, value in known.items() if value == min(known.values())}


def image_counts(row: Row) -> set[int]:
    """Collects the numbers of images that the values of a row were computed over."""
    return {score.images for score in row if score and score.images and is_value(score.value)}


def shared_reason(row: Row) -> str:
    """Gives the reason why all of several runs lack a score; empty if reasons differ or a run has it."""
    reasons = {score.note if score and not is_value(score.value) else "" for score in row}
    return reasons.pop() if len(row) > 1 and len(reasons) == 1 else ""


def notes(row: Row, runs: Sequence[RunResult]) -> list[str]:
    """Collects the notes of the values of a row, each with the names of its runs if the runs differ."""
    runs_of: dict[str, list[str]] = {}
    for run, score in zip(runs, row, strict=True):
        if score and is_value(score.value):
            runs_of.setdefault(score.note, []).append(run.name)
    return [f"{', '.join(names)}: {note}" if len(runs_of) > 1 else note for note, names in runs_of.items() if note]


def references(row: Row, runs: Sequence[RunResult]) -> list[str]:
    """Writes each reference of a row once if the runs agree, else once for each run."""
    lines = []
    for reference in union(score.references for score in row if score):
        values = {
            run.name: format_number(score.references[reference])
            for run, score in zip(runs, row, strict=True)
            if score and reference in score.references
        }
        if len(set(values.values())) == 1:
            lines.append(f"{reference} {next(iter(values.values()))}")
        else:
            lines.extend(f"{reference} {value} ({name})" for name, value in values.items())
    return lines
