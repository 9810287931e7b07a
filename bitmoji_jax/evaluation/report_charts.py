"""The report's curves, drawn as inline SVG: a chart a metric, a line a run."""

import dataclasses
import html
import math
from collections.abc import Mapping, Sequence
from numbers import Real

import numpy as np

from bitmoji_jax.evaluation.report_numbers import format_count, format_number
from bitmoji_jax.evaluation.results import Evaluation

_CURVES = {
    "loss_generators": "Loss of the generators",
    "cycle_x": "Cycle loss, photo → avatar → photo",
    "cycle_y": "Cycle loss, avatar → photo → avatar",
    "loss_d_x": "Loss of D_X, which judges photos",
    "loss_d_y": "Loss of D_Y, which judges avatars",
    "kid": "KID × 1000 while training",
    "kid_low_pass": "KID × 1000 while training, low-pass",
}
_KID = {"kid", "kid_low_pass"}
_MAX_POINTS = 300
_WIDTH, _HEIGHT = 500, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 476, 10, 228
_COLOURS = 6
_DASHES = ("", "7 5", "1 5", "9 5 1 5", "14 5")  # with six colours, thirty lines differ
_HUGE = 1e30  # past it as good as infinite, and sums could overflow


@dataclasses.dataclass(frozen=True)
class _Line:
    run: int
    points: list[tuple[float, float]]
    """(images, value); value NaN where the line breaks."""
    left_out: int
    """Values that are not finite."""


def curves_section(evaluation: Evaluation) -> str:
    """The losses and the KID over the images a run has seen."""
    names = [run.name for run in evaluation.runs]
    charts = []
    for key, title in _CURVES.items():
        lines = [_line(i, run.rows, key) for i, run in enumerate(evaluation.runs)]
        lines = [line for line in lines if line.points]
        if lines:
            charts.append(_chart(key, title, lines, names))
    without = [run.name for run in evaluation.runs if not run.rows]
    text = f"<p>No rows of metrics: {html.escape(', '.join(without))}.</p>" if without else ""
    if not charts:
        return text or "<p>The runs' rows of metrics hold no losses.</p>"
    averaged = any(len(run.rows) > _MAX_POINTS for run in evaluation.runs)
    text += '<p class="quiet">Over images seen: one image is one photo and one avatar. '
    text += "Losses are training losses"
    text += f", averaged to {_MAX_POINTS} points a line or fewer.</p>" if averaged else ".</p>"
    return f'{text}\n<div class="charts">{"".join(charts)}</div>'


def _line(run: int, rows: Sequence[Mapping[str, float]], key: str) -> _Line:
    scale = 1000 if key in _KID else 1
    found = [
        (float(row["images"]), scale * float(row[key]) if isinstance(row[key], Real) else math.nan)
        for row in rows
        if key in row and isinstance(row.get("images"), Real) and math.isfinite(row["images"])
    ]
    points = np.array(sorted(found, key=lambda point: point[0])).reshape(-1, 2)
    points[~(np.abs(points[:, 1]) < _HUGE), 1] = np.nan
    left_out = int(np.isnan(points[:, 1]).sum())
    if left_out == len(points):
        return _Line(run, [], left_out)
    if len(points) > _MAX_POINTS:
        points = np.array([_mean(part) for part in np.array_split(points, _MAX_POINTS)])
    return _Line(run, [(x, y) for x, y in points.tolist()], left_out)


def _mean(points: np.ndarray) -> tuple[float, float]:
    known = points[~np.isnan(points[:, 1]), 1]
    return points[:, 0].mean(), known.mean() if len(known) else math.nan


def _chart(key: str, title: str, lines: Sequence[_Line], names: Sequence[str]) -> str:
    values = [y for line in lines for _, y in line.points if not math.isnan(y)]
    # KID falls by orders of magnitude, and what matters comes last.
    log = key in _KID and min(values) > 0 and max(values) > 10 * min(values)
    ticks = _log_ticks(min(values), max(values)) if log else _ticks(min(0.0, *values), max(values))
    low, high = (math.log10(ticks[0]), math.log10(ticks[-1])) if log else (ticks[0], ticks[-1])
    x_ticks = _ticks(0.0, max(x for line in lines for x, _ in line.points))

    def across(x: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * x / x_ticks[-1]

    def down(y: float) -> float:
        share = ((math.log10(y) if log else y) - low) / (high - low)
        return _BOTTOM - (_BOTTOM - _TOP) * share

    parts = [
        f'<path class="grid" d="M{_LEFT} {down(y):.1f}H{_RIGHT}"/>'
        f'<text x="{_LEFT - 8}" y="{down(y) + 4:.1f}" text-anchor="end">{_tick(y)}</text>'
        for y in ticks
    ]
    parts += [
        f'<path class="axis" d="M{across(x):.1f} {_BOTTOM}v5"/>'
        f'<text x="{across(x):.1f}" y="{_BOTTOM + 19}" text-anchor="middle">{_tick(x)}</text>'
        for x in x_ticks
    ]
    parts.append(f'<path class="axis" d="M{_LEFT} {_BOTTOM}H{_RIGHT}"/>')
    parts.append(f'<text x="{(_LEFT + _RIGHT) / 2}" y="{_HEIGHT - 4}" text-anchor="middle">images seen</text>')
    for line in lines:
        places = [(across(x), math.nan if math.isnan(y) else down(y)) for x, y in line.points]
        parts.append(f'<path class="line c{line.run % _COLOURS}"{_dash(line.run)} d="{_path(places)}"/>')
    remarks = ["log scale"] if log else []
    remarks += [
        f"{format_count(line.left_out, 'value')} of {names[line.run]} left out, not finite"
        for line in lines
        if line.left_out
    ]
    remark = f" <small>{html.escape('; '.join(remarks))}</small>" if remarks else ""
    legend = "".join(
        f'<li><svg viewBox="0 0 32 10" aria-hidden="true"><path class="line c{line.run % _COLOURS}"{_dash(line.run)}'
        f' d="M2 5H30"/></svg>{html.escape(names[line.run])}</li>'
        for line in lines
    )
    description = " ".join(_describe(line, names[line.run]) for line in lines)
    return f"""<figure><figcaption>{html.escape(title)}{remark}</figcaption>
<ul class="legend">{legend}</ul>
<svg role="img" viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-labelledby="{key}-title {key}-desc">
<title id="{key}-title">{html.escape(title)} over images seen</title>
<desc id="{key}-desc">{html.escape(description)}</desc>
{"".join(parts)}</svg></figure>"""


def _describe(line: _Line, name: str) -> str:
    known = [point for point in line.points if not math.isnan(point[1])]
    (first_x, first), (last_x, last) = known[0], known[-1]
    lowest = min(value for _, value in known)
    return (
        f"{name}: {format_number(first)} at {first_x:,.0f} images, {format_number(last)} at {last_x:,.0f},"
        f" {format_number(lowest)} at its lowest."
    )


def _path(places: Sequence[tuple[float, float]]) -> str:
    """An SVG path with a gap wherever y is NaN; a point alone becomes a dot."""
    steps, pen_down = [], False
    for i, (x, y) in enumerate(places):
        if math.isnan(y):
            pen_down = False
            continue
        steps.append(f"{'L' if pen_down else 'M'}{x:.1f} {y:.1f}")
        if not pen_down and (i + 1 == len(places) or math.isnan(places[i + 1][1])):
            steps.append("h0")
        pen_down = True
    return "".join(steps)


def _dash(run: int) -> str:
    dash = _DASHES[run % len(_DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers from at most `low` to at least `high`."""
    if high <= low:
        high = low + 1
    rough = (high - low) / 4
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * scale for factor in (1, 2, 2.5, 5, 10) if factor * scale >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Of 1, 2 and 5 times powers of ten, from the last at most `low` to the first at least `high`."""
    exponents = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    candidates = [factor * 10.0**exponent for exponent in exponents for factor in (1, 2, 5)]
    below = max(i for i, tick in enumerate(candidates) if tick <= low)
    above = min(i for i, tick in enumerate(candidates) if tick >= high)
    ticks = candidates[below : above + 1]
    # Over many decades only the powers, else labels would touch; the ends stay, since they bound the axis.
    return ticks if len(ticks) <= 9 else [tick for i, tick in enumerate(ticks) if i % 3 == 0 or i == len(ticks) - 1]


def _tick(value: float) -> str:
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if size <= abs(value) < 1e9:
            return f"{value / size:.4g}{suffix}".replace("-", "−")
    return f"{value:.3g}".replace("-", "−")
