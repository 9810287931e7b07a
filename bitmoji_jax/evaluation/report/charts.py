"""The report's training curves: a matplotlib chart for each metric, as inline SVG in the colours of report.css."""

import dataclasses
import io
import math
import re
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from bitmoji_jax.evaluation.report.tables import format_count, format_number
from bitmoji_jax.evaluation.results import RunResult

_METRICS = {
    "loss_generators": "Loss of the generators",
    "cycle_x": "Cycle loss, photo → avatar → photo",
    "cycle_y": "Cycle loss, avatar → photo → avatar",
    "loss_d_x": "Loss of D_X, the discriminator of photos",
    "loss_d_y": "Loss of D_Y, the discriminator of avatars",
    "kid": "KID × 1000 during training",
    "kid_low_pass": "KID × 1000 during training, low-pass",
}
_KID = {"kid", "kid_low_pass"}
MAX_POINTS = 300
"""Of a line; longer ones are averaged."""
_HUGE = 1e30  # larger values are as good as infinite, and sums could overflow

# Colours of the light palette, which are replaced by the variables of report.css that name those of both palettes.
_VARIABLES = {
    "#0072b2": "--c0",
    "#c65300": "--c1",
    "#007a58": "--c2",
    "#a3497f": "--c3",
    "#7d6100": "--c4",
    "#4a4a4a": "--c5",
    "#595959": "--quiet",
    "#d4d4d4": "--hair",
}
_COLOURS = [colour for colour, variable in _VARIABLES.items() if variable.startswith("--c")]
_DASHES = ((), (7, 5), (1, 5), (9, 5, 1, 5), (14, 5))  # with six colours, thirty lines differ
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_ROUND = (1, 2, 2.5, 5, 10)  # steps between ticks, times a power of ten


@dataclasses.dataclass(frozen=True)
class Line:
    """A run's values of a metric over the images seen."""

    name: str
    number: int
    x: np.ndarray
    y: np.ndarray
    """NaN where the line has a gap."""
    left_out: int
    """Values that are not finite."""

    @property
    def colour(self) -> str:
        """One of the light palette."""
        return _COLOURS[self.number % len(_COLOURS)]

    @property
    def variable(self) -> str:
        """The same as a value in CSS."""
        return f"var({_VARIABLES[self.colour]})"

    @property
    def dashes(self) -> tuple[int, ...]:
        """Lengths of dashes and gaps; empty for a solid line."""
        return _DASHES[self.number % len(_DASHES)]


@dataclasses.dataclass(frozen=True)
class Chart:
    """The curves of a metric, a line for each run that has it."""

    title: str
    remark: str
    lines: list[Line]
    svg: str
    description: str


def draw_charts(runs: Sequence[RunResult]) -> list[Chart]:
    """Draws a chart for each metric that has values, with a line for each run."""
    charts = []
    for key, title in _METRICS.items():
        lines = [_line(run.name, i, run.rows, key) for i, run in enumerate(runs)]
        lines = [line for line in lines if np.isfinite(line.y).any()]
        if lines:
            charts.append(_chart(key, title, lines))
    return charts


def _line(name: str, number: int, rows: Sequence[Mapping[str, float]], key: str) -> Line:
    scale = 1000 if key in _KID else 1
    found = [
        (float(row["images"]), scale * float(row[key]) if isinstance(row[key], Real) else math.nan)
        for row in rows
        if key in row and isinstance(row.get("images"), Real) and math.isfinite(row["images"])
    ]
    points = np.array(sorted(found, key=lambda point: point[0])).reshape(-1, 2)
    points[~(np.abs(points[:, 1]) < _HUGE), 1] = np.nan
    left_out = int(np.isnan(points[:, 1]).sum())
    if len(points) > MAX_POINTS and left_out < len(points):
        points = np.array([_mean(part) for part in np.array_split(points, MAX_POINTS)])
    return Line(name, number, points[:, 0], points[:, 1], left_out)


def _mean(points: np.ndarray) -> tuple[float, float]:
    known = points[~np.isnan(points[:, 1]), 1]
    return points[:, 0].mean(), known.mean() if len(known) else math.nan


def _chart(key: str, title: str, lines: list[Line]) -> Chart:
    values = np.concatenate([line.y[np.isfinite(line.y)] for line in lines])
    # KID falls by orders of magnitude, and its last values matter most.
    log = bool(key in _KID and values.min() > 0 and values.max() > 10 * values.min())
    remarks = ["log scale"] if log else []
    remarks += [
        f"{format_count(line.left_out, 'value')} of {line.name} left out, not finite" for line in lines if line.left_out
    ]
    description = f"{title} over images seen. " + " ".join(map(_describe, lines))
    return Chart(title, "; ".join(remarks), lines, _svg(key, lines, values, log), description)


def _svg(key: str, lines: Sequence[Line], values: np.ndarray, log: bool) -> str:
    with matplotlib.style.context(Path(__file__).with_name("report.mplstyle")):
        figure = Figure(figsize=(5.6, 3), layout="constrained")
        axes = figure.subplots()
        for line in lines:
            gaps = np.isnan(np.pad(line.y, 1, constant_values=np.nan))
            alone = np.flatnonzero(gaps[:-2] & ~gaps[1:-1] & gaps[2:])  # points without a neighbour become dots
            dashes = line.dashes or (None, None)
            axes.plot(line.x, line.y, color=line.colour, dashes=dashes, marker="o", markevery=alone.tolist())
        if log:
            axes.set_yscale("log")
            decades = math.log10(values.max() / values.min())
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 3 else (1,)))
            axes.yaxis.set_minor_locator(NullLocator())
        else:
            axes.yaxis.set_major_locator(MaxNLocator(5, steps=_ROUND))
            axes.set_ylim(bottom=min(0, values.min()))
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=_ROUND))
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(_tick)
        axes.yaxis.set_major_formatter(_tick)
        axes.set_xlabel("images seen")
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata=_NO_METADATA)
    text = file.getvalue()
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{key}-", text[text.index("<svg") :])  # ids differ between charts
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg


def _describe(line: Line) -> str:
    known = np.isfinite(line.y)
    x, y = line.x[known], line.y[known]
    return (
        f"{line.name}: {format_number(y[0])} at {x[0]:,.0f} images, {format_number(y[-1])} at {x[-1]:,.0f},"
        f" {format_number(y.min())} at its lowest."
    )


def _tick(value: float, _: float) -> str:
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if size <= abs(value) < 1e9:
            return f"{value / size:.4g}{suffix}".replace("-", "−")
    return f"{value:.3g}".replace("-", "−")
