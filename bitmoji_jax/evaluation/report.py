"""Draws an evaluation as one HTML page that needs nothing else: no network, no script, no other file."""

import html
from collections.abc import Sequence
from pathlib import Path

from bitmoji_jax.evaluation.report_charts import curves_section
from bitmoji_jax.evaluation.report_numbers import format_count
from bitmoji_jax.evaluation.report_pictures import cases_section, summary_section
from bitmoji_jax.evaluation.report_style import STYLE
from bitmoji_jax.evaluation.report_tables import groups_section, judges_section, scores_section
from bitmoji_jax.evaluation.results import Evaluation, RunResult, scores_json
from bitmoji_jax.files import write_atomic
from bitmoji_jax.progress import format_duration

_SECTIONS = (
    ("random", "Photos and avatars at random", summary_section),
    ("scores", "Scores", scores_section),
    ("groups", "By group", groups_section),
    ("judges", "How far the judges can be trusted", judges_section),
    ("curves", "Training curves", curves_section),
    ("cases", "Cases", cases_section),
)


def write_report(evaluation: Evaluation, out: Path) -> None:
    """Writes index.html and scores.json into the folder `out`, which is made; each is there whole or not at all.

    Raises:
      ValueError: no runs, or two of one name.
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
    dataset = html.escape(evaluation.dataset)
    links = "".join(f'<li><a href="#{key}">{title}</a></li>' for key, title, _ in _SECTIONS)
    sections = "\n".join(
        f'<section aria-labelledby="{key}">\n<h2 id="{key}">{title}</h2>\n{draw(evaluation)}\n</section>'
        for key, title, draw in _SECTIONS
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>Photos to avatars: {dataset}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>From photos to avatars: an evaluation on {dataset}</h1>
{_unfinished(evaluation.runs)}<p class="notice">This page shows the dataset's photos: share it only where they may be
shared.</p>
<nav aria-label="Contents"><ul>{links}</ul></nav>
</header>
<main>
<section aria-labelledby="judged">
<h2 id="judged">What was judged</h2>
{_facts(evaluation)}
{_runs_table(evaluation.runs)}
</section>
{sections}
</main>
</body>
</html>
"""


def _facts(evaluation: Evaluation) -> str:
    sizes = " · ".join(f"{html.escape(split)} {images:,}" for split, images in evaluation.sizes.items())
    versions = " · ".join(f"{html.escape(name)} {html.escape(v)}" for name, v in evaluation.versions.items())
    facts = {
        "Dataset": html.escape(evaluation.dataset) + (f": images in {sizes}" if sizes else ""),
        "Date": f"{html.escape(evaluation.date)}, {html.escape(format_duration(evaluation.seconds))} of evaluation",
        "Machine": html.escape(evaluation.machine),
        "Versions": versions,
        "Command": f"<code>{html.escape(evaluation.command)}</code>",
    }
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{fact}</dd>" for name, fact in facts.items() if fact) + "</dl>"


def _unfinished(runs: Sequence[RunResult]) -> str:
    names = [f"{html.escape(run.name)} at {share} %" for run in runs if (share := _share(run)) < 100]
    if not names:
        return ""
    return f'<p class="notice"><strong>Not trained to the end: {", ".join(names)} of the schedule.</strong></p>\n'


def _share(run: RunResult) -> int:
    """Of the schedule, in per cent rounded down, so that 100 is its end; what is not known counts as done."""
    return int(100 * run.images_seen / run.total_images) if run.total_images else 100


def _runs_table(runs: Sequence[RunResult]) -> str:
    columns = (
        "Run",
        "Checkpoint",
        "Images seen",
        "Pixels",
        "Width",
        "Residual blocks",
        "Skips",
        "Upsampling",
        "Parameters",
        "Batch",
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in columns)
    body = ""
    for run in runs:
        seen = f"{run.images_seen:,}"
        seen += f" of {run.total_images:,}" if run.total_images else "<small>schedule not known</small>"
        if (share := _share(run)) < 100:
            seen += f"<small>unfinished, {share} %</small>"
        size, generator = run.config.data.image_size, run.config.generator
        cells = (
            html.escape(run.checkpoint),
            seen,
            f"{size} × {size}",
            str(generator.features),
            str(generator.res_blocks),
            "yes" if generator.skips else "no",
            html.escape(generator.upsample),
            f"{run.parameters:,}",
            str(run.config.train.batch_size),
        )
        body += f'<tr><th scope="row" class="name">{html.escape(run.name)}</th>' + "".join(
            f"<td>{cell}</td>" for cell in cells
        )
        body += "</tr>\n"
    return f"""<div class="scroll" tabindex="0" role="region" aria-label="Runs"><table>
<caption><span>{format_count(len(runs), "run")} <small>parameters are those of one generator</small></span></caption>
<thead><tr>{head}</tr></thead>
<tbody>
{body}</tbody></table></div>"""
