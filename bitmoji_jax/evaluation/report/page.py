"""Writes an evaluation as one HTML page without a script, another file or any request to a network."""

import importlib.resources
from pathlib import Path

import jinja2
import markupsafe

from bitmoji_jax.evaluation.report import tables
from bitmoji_jax.evaluation.report.charts import MAX_POINTS, draw_charts
from bitmoji_jax.evaluation.report.pictures import cases_of, random_strips, reverse_strip
from bitmoji_jax.evaluation.report.tables import DIRECTIONS, format_count, format_number, is_value, titled
from bitmoji_jax.evaluation.results import FEW, Evaluation, RunResult, scores_json
from bitmoji_jax.files import write_atomic
from bitmoji_jax.progress import format_duration


def write_report(evaluation: Evaluation, out: Path) -> None:
    """Writes index.html and scores.json into the folder `out`, which is created; each is written whole or not at all.

    Raises:
      ValueError: there are no runs, or two have the same name.
    """
    names = [run.name for run in evaluation.runs]
    if not names:
        raise ValueError("an evaluation without runs has nothing to report")
    if len(set(names)) < len(names):
        raise ValueError(f"runs need names that differ: {', '.join(names)}")
    files = {"index.html": _page(evaluation), "scores.json": scores_json(evaluation)}
    out.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_atomic(out / name, text)


def _page(evaluation: Evaluation) -> str:
    folder = importlib.resources.files(__package__)
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.tests["value"] = is_value
    environment.filters |= {
        "count": format_count,
        "duration": format_duration,
        "markup": markupsafe.Markup,  # of charts.py and report.css
        "number": format_number,
        "titled": titled,
    }
    template = environment.from_string((folder / "report.html.jinja").read_text(encoding="utf-8"))
    runs = evaluation.runs
    return template.render(
        evaluation=evaluation,
        runs=runs,
        style=(folder / "report.css").read_text(encoding="utf-8"),
        directions=DIRECTIONS,
        shares={run.name: _share(run) for run in runs},
        strips=random_strips(runs),
        tables=tables,
        few=FEW,
        charts=draw_charts(runs),
        max_points=MAX_POINTS,
        cases={run.name: cases_of(run) for run in runs},
        reverse={run.name: reverse_strip(run) for run in runs},
    )


def _share(run: RunResult) -> int:
    """Of the schedule, in per cent rounded down, so that 100 is its end; an unknown schedule counts as complete."""
    return int(100 * run.images_seen / run.total_images) if run.total_images else 100
