"""The rows and cells of the report's tables."""

import dataclasses
from collections.abc import Iterable, Sequence

from bitmoji_jax.evaluation.report.numbers import (
    DIRECTIONS,
    MISSING,
    badness,
    format_count,
    format_number,
    is_value,
    with_unit,
)
from bitmoji_jax.evaluation.results import Better, JudgeAccuracy, RunResult, Score

FEW = 20
"""A group with fewer images says little."""
_LIMITS = {"accuracy": "accuracy below 95 %", "NME": "NME above 0.1"}


@dataclasses.dataclass(frozen=True)
class Cell:
    """A text, a quiet remark and a tag beside it, and notes below."""

    text: str
    remark: str = ""
    tag: str = ""
    notes: tuple[str, ...] = ()
    span: int = 1
    """Columns."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A score: cells for the runs, and what the references score."""

    title: str
    notes: list[str]
    cells: list[Cell]
    references: list[str]


@dataclasses.dataclass(frozen=True)
class GroupTable:
    """One score by group: a row for each group, a cell for each run."""

    title: str
    direction: str
    rows: list[tuple[str, list[Cell]]]


def score_rows(runs: Sequence[RunResult]) -> list[Row]:
    """One row for each score that a run has, in order of first appearance."""
    names = [run.name for run in runs]
    return [_score_row(scores, names) for scores in _scores_by_name(runs)]


def group_tables(runs: Sequence[RunResult]) -> list[GroupTable]:
    """One table for each score that has groups."""
    tables = []
    for scores in _scores_by_name(runs):
        if groups := _union(score.groups for score in scores if score):
            first = next(score for score in scores if score)
            rows = zip(*(_group_column(score, groups) for score in scores), strict=True)
            table_rows = list(zip(["All", *groups], map(list, rows), strict=True))
            tables.append(GroupTable(with_unit(first.title, first.unit), DIRECTIONS[first.better], table_rows))
    return tables


def judge_table(judges: Sequence[JudgeAccuracy]) -> tuple[list[str], list[tuple[str, list[Cell]]]]:
    """The column headers, and by judge its measure, its values clean and under each corruption, and the verdict."""
    corruptions = _union(judge.under for judge in judges)
    rows = []
    for judge in judges:
        values = [judge.value, *(judge.under.get(name) for name in corruptions)]
        verdict = Cell("reliable") if judge.reliable else Cell("† not reliable", notes=(_LIMITS[judge.measure],))
        cells = [Cell(judge.measure), *(Cell(_judge_value(judge, value)) for value in values)]
        rows.append((judge.title, [*cells, Cell(f"{judge.images:,}"), verdict]))
    return ["Judge", "Measure", "Clean", *corruptions, "Images", "Verdict"], rows


def _scores_by_name(runs: Sequence[RunResult]) -> list[list[Score | None]]:
    by_name = [{score.name: score for score in run.scores} for run in runs]
    return [[scores.get(name) for scores in by_name] for name in _union(by_name)]


def _union(names: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(name for some in names for name in some))


def _extremes(values: Sequence[float | None], better: Better, worst: bool = False) -> set[int]:
    """The positions of the best (or worst) of the known values; none if all are equal."""
    known = {i: badness(float(value), better) for i, value in enumerate(values) if is_value(value)}
    if len(set(known.values())) < 2:
        return set()
    target = (max if worst else min)(known.values())
    return {i for i, value in known.items() if value == target}


def _score_row(scores: Sequence[Score | None], names: Sequence[str]) -> Row:
    first = next(score for score in scores if score)
    known = {name: score for name, score in zip(names, scores, strict=True) if score and is_value(score.value)}
    counts = {score.images for score in known.values() if score.images}
    about = DIRECTIONS[first.better] + (f" · {format_count(max(counts), 'image')}" if len(counts) == 1 else "")
    runs_of = {note: [name for name, score in known.items() if score.note == note] for note in _notes(known.values())}
    notes = [f"{', '.join(runs)}: {note}" if len(runs_of) > 1 else note for note, runs in runs_of.items() if note]
    reasons = {score.note if score and not is_value(score.value) else "" for score in scores}
    if len(scores) > 1 and len(reasons) == 1 and (reason := reasons.pop()):
        cells = [Cell(MISSING, notes=(reason,), span=len(scores))]
    else:
        best = _extremes([score.value if score and score.reliable else None for score in scores], first.better)
        cells = [_score_cell(score, i in best, len(counts) > 1) for i, score in enumerate(scores)]
    return Row(with_unit(first.title, first.unit), [about, *notes], cells, _references(scores, names))


def _notes(scores: Iterable[Score]) -> list[str]:
    return list(dict.fromkeys(score.note for score in scores))


def _score_cell(score: Score | None, best: bool, with_count: bool) -> Cell:
    if score is None:
        return Cell(MISSING, notes=("not computed for this run",))
    if not is_value(score.value):
        return Cell(MISSING, notes=(score.note or ("no reason given" if score.value is None else "not a number"),))
    deviation = f" ± {format_number(score.sd, 2)}" if is_value(score.sd) else ""
    notes = [] if score.reliable else ["not reliable"]
    if with_count and score.images:
        notes.append(format_count(score.images, "image"))
    return Cell(_number(score.value, score.reliable) + deviation, tag="best" if best else "", notes=tuple(notes))


def _references(scores: Sequence[Score | None], names: Sequence[str]) -> list[str]:
    """Each reference once if the runs agree, else once for each run."""
    lines = []
    for reference in _union(score.references for score in scores if score):
        values = {
            name: format_number(score.references[reference])
            for name, score in zip(names, scores, strict=True)
            if score and reference in score.references
        }
        if len(set(values.values())) == 1:
            lines.append(f"{reference} {next(iter(values.values()))}")
        else:
            lines.extend(f"{reference} {value} ({name})" for name, value in values.items())
    return lines


def _group_column(score: Score | None, groups: Sequence[str]) -> list[Cell]:
    if score is None:
        return [Cell(MISSING)] * (1 + len(groups))
    cells = [Cell(_number(score.value, score.reliable), f"n = {score.images:,}")]
    found = [score.groups.get(name) for name in groups]
    large = [group.value if group and group.images >= FEW else None for group in found]
    worst = _extremes(large, score.better, worst=True)
    for i, group in enumerate(found):
        if group is None:
            cells.append(Cell(MISSING))
        else:
            tag = "worst" if i in worst else "few" if group.images < FEW else ""
            cells.append(Cell(_number(group.value, score.reliable), f"n = {group.images:,}", tag))
    return cells


def _number(value: float | None, reliable: bool) -> str:
    return format_number(value) + ("" if reliable or not is_value(value) else " †")


def _judge_value(judge: JudgeAccuracy, value: float | None) -> str:
    if not is_value(value):
        return MISSING
    if judge.measure == "accuracy":
        return f"{100 * value:.1f} %" + (" †" if value < 0.95 else "")
    return format_number(value) + (" †" if value > 0.1 else "")
