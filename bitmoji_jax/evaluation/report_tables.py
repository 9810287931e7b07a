"""The report's tables: scores, scores by group, and the judges."""

import html
from collections.abc import Iterable, Sequence

from bitmoji_jax.evaluation.report_numbers import (
    DIRECTIONS,
    MISSING,
    badness,
    format_count,
    format_number,
    is_value,
    with_unit,
)
from bitmoji_jax.evaluation.results import Better, Evaluation, JudgeAccuracy, RunResult, Score

_FEW = 20  # a group's score over fewer images says little
_LIMITS = {"accuracy": "accuracy under 95 %", "NME": "NME over 0.1"}

_Row = list[Score | None]


def scores_section(evaluation: Evaluation) -> str:
    """One table: a row a score, a column a run."""
    runs = evaluation.runs
    rows = _rows(runs)
    if not rows:
        return "<p>The runs have no scores.</p>"
    referenced = any(score.references for row in rows for score in row if score)
    head = _head("Score") + "".join(_head(run.name, True) for run in runs) + _head("For comparison") * referenced
    body = ""
    for row in rows:
        best = _extreme([_comparable(score) for score in row], _first(row).better)
        cells = _shared_reason(row) or "".join(_score_cell(row, i, i in best) for i in range(len(runs)))
        comparison = f"<td>{_references(row, runs)}</td>" if referenced else ""
        body += f'<tr><th scope="row">{_score_title(row, runs)}</th>{cells}{comparison}</tr>\n'
    best_sign = f"{_tag('best')} the best run of a row; " if len(runs) > 1 else ""
    return f"""<p class="quiet">{best_sign}± standard deviation over random subsets of the test images, within which two
values are alike; † past the limits of what judged it, so not to be relied on; {MISSING} could not be had.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Scores"><table class="scores">
<caption><span>Scores of each run</span></caption>
<thead><tr>{head}</tr></thead>
<tbody>
{body}</tbody></table></div>"""


def groups_section(evaluation: Evaluation) -> str:
    """A table for each score that has groups: a row a group, a column a run."""
    runs = evaluation.runs
    tables = [_group_table(row, runs) for row in _rows(runs) if any(score and score.groups for score in row)]
    if not tables:
        return "<p>No score was taken by group.</p>"
    return f"""<p class="quiet">{_tag("worst")} the group a run does worst on, of those with {_FEW} images or more;
{_tag("few", plain=True)} fewer than {_FEW} images, where a value says little; † past the limits of what judged it.</p>
<div class="tables">{"".join(tables)}</div>"""


def judges_section(evaluation: Evaluation) -> str:
    """How well each network that judges does on real images it has not seen, clean and spoilt."""
    judges = evaluation.judges
    if not judges:
        return "<p>No network with an error of its own judged these runs.</p>"
    corruptions = _union(judge.under for judge in judges)
    columns = ["Judge", "Measure", "Clean", *corruptions, "Images", "Verdict"]
    body = ""
    for judge in judges:
        values = [judge.value, *(judge.under.get(name) for name in corruptions)]
        cells = "".join(f"<td>{_judge_value(judge, value)}</td>" for value in values)
        verdict = "reliable" if judge.reliable else f"† not reliable<small>{_LIMITS[judge.measure]}</small>"
        body += (
            f'<tr><th scope="row">{html.escape(judge.title)}</th><td>{judge.measure}</td>{cells}'
            f"<td>{judge.images:,}</td><td>{verdict}</td></tr>\n"
        )
    return f"""<p>Some scores come from networks that can be wrong themselves. This is how they do on held-out real
images, and on the same images spoilt: where a judge fails under noise or blur, trust it less on outputs with such
faults.</p>
<p class="quiet">Accuracy: higher is better, 95 % is the limit. NME, the mean landmark error as a fraction of the
distance between the eyes: lower is better, 0.1 is the limit. † past the limit.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Judges"><table>
<caption><span>Judges on held-out real images</span></caption>
<thead><tr>{"".join(_head(name) for name in columns)}</tr></thead>
<tbody>
{body}</tbody></table></div>"""


def _rows(runs: Sequence[RunResult]) -> list[_Row]:
    """Every run's score of each name, in order of first appearance."""
    by_name = [{score.name: score for score in run.scores} for run in runs]
    return [[scores.get(name) for scores in by_name] for name in _union(by_name)]


def _union(mappings: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def _first(row: _Row) -> Score:
    return next(score for score in row if score)


def _comparable(score: Score | None) -> float | None:
    return score.value if score and score.reliable else None


def _extreme(values: Sequence[float | None], better: Better, worst: bool = False) -> set[int]:
    """Where the best (or worst) of the known values stand; nowhere if they are all alike."""
    known = {i: badness(float(value), better) for i, value in enumerate(values) if is_value(value)}
    if len(set(known.values())) < 2:
        return set()
    target = (max if worst else min)(known.values())
    return {i for i, value in known.items() if value == target}


def _score_title(row: _Row, runs: Sequence[RunResult]) -> str:
    score = _first(row)
    counts = _counts(row)
    about = DIRECTIONS[score.better] + (f" · {format_count(counts.pop(), 'image')}" if len(counts) == 1 else "")
    runs_of: dict[str, list[str]] = {}
    for run, other in zip(runs, row, strict=True):
        if other and is_value(other.value):  # what is missing has its note in its cell
            runs_of.setdefault(other.note, []).append(run.name)
    notes = [f"{', '.join(names)}: {note}" if len(runs_of) > 1 else note for note, names in runs_of.items() if note]
    lines = [about, *notes]
    return with_unit(score.title, score.unit) + "".join(f"<small>{html.escape(line)}</small>" for line in lines)


def _counts(row: _Row) -> set[int]:
    return {score.images for score in row if score and score.images and is_value(score.value)}


def _shared_reason(row: _Row) -> str:
    """One cell over all runs that lack a score for the same reason; empty where they don't."""
    notes = {score.note if score and not is_value(score.value) else None for score in row}
    if len(row) < 2 or len(notes) > 1 or not (note := notes.pop()):
        return ""
    return f'<td colspan="{len(row)}">{MISSING}<small>{html.escape(note)}</small></td>'


def _score_cell(row: _Row, column: int, best: bool) -> str:
    score = row[column]
    if score is None:
        return f"<td>{MISSING}<small>not taken for this run</small></td>"
    if not is_value(score.value):
        reason = score.note or ("no reason given" if score.value is None else "not a number")
        return f"<td>{MISSING}<small>{html.escape(reason)}</small></td>"
    text = _number(score.value, score.reliable)
    if is_value(score.sd):
        text += f" ± {format_number(score.sd, 2)}"
    if best:
        text = f'<span class="best">{text}</span>{_tag("best")}'
    if not score.reliable:
        text += "<small>not reliable</small>"
    if len(_counts(row)) > 1 and score.images:
        text += f"<small>{format_count(score.images, 'image')}</small>"
    return f"<td>{text}</td>"


def _references(row: _Row, runs: Sequence[RunResult]) -> str:
    lines = []
    for name in _union(score.references for score in row if score):
        found = {
            run.name: score.references[name]
            for run, score in zip(runs, row, strict=True)
            if score and name in score.references
        }
        values = {run: format_number(value) for run, value in found.items()}
        if len(set(values.values())) == 1:
            lines.append(f"{name} {next(iter(values.values()))}")
        else:
            lines.extend(f"{name} {value} ({run})" for run, value in values.items())
    return "<br>".join(html.escape(line) for line in lines)


def _group_table(row: _Row, runs: Sequence[RunResult]) -> str:
    first = _first(row)
    groups = _union(score.groups for score in row if score)
    columns = []
    for score in row:
        cells = [_group_cell(score.value, score.images, score.reliable) if score else MISSING]
        found = [score.groups.get(name) if score else None for name in groups]
        many = [group.value if group and group.images >= _FEW else None for group in found]
        worst = _extreme(many, first.better, worst=True)
        for i, group in enumerate(found):
            reliable = score is None or score.reliable
            cell = _group_cell(group.value, group.images, reliable, few=True) if group else MISSING
            cells.append(cell + _tag("worst") if i in worst else cell)
        columns.append(cells)
    body = ""
    for i, name in enumerate(["All", *groups]):
        line = "".join(f"<td>{column[i]}</td>" for column in columns)
        body += f'<tr><th scope="row">{html.escape(name)}</th>{line}</tr>\n'
    title = with_unit(first.title, first.unit)
    return f"""<div class="scroll" tabindex="0" role="region" aria-label="{title} by group"><table>
<caption><span>{title} <small>{DIRECTIONS[first.better]}</small></span></caption>
<thead><tr>{_head("Group")}{"".join(_head(run.name, True) for run in runs)}</tr></thead>
<tbody>
{body}</tbody></table></div>"""


def _group_cell(value: float | None, images: int, reliable: bool, few: bool = False) -> str:
    size = f' <span class="quiet">n = {images:,}</span>'
    return _number(value, reliable) + size + (_tag("few", plain=True) if few and images < _FEW else "")


def _number(value: float | None, reliable: bool) -> str:
    return format_number(value) + ("" if reliable or not is_value(value) else " †")


def _judge_value(judge: JudgeAccuracy, value: float | None) -> str:
    if not is_value(value):
        return MISSING
    if judge.measure == "accuracy":
        return f"{100 * value:.1f} %" + (" †" if value < 0.95 else "")
    return format_number(value) + (" †" if value > 0.1 else "")


def _head(name: str, run: bool = False) -> str:
    kind = ' class="name"' if run else ""
    return f'<th scope="col"{kind}>{html.escape(name)}</th>'


def _tag(text: str, plain: bool = False) -> str:
    return f'<span class="tag{" plain" if plain else ""}">{text}</span>'
