import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from bitmoji_jax.evaluation.report.terminal import worst_group_lines
from bitmoji_jax.evaluation.results import Better, Group, Score
from tests.evaluations import make_evaluation, make_run, page
from tests.html_tree import Node


def score(better: Better, value: float | None, **changes: Any) -> Score:
    return dataclasses.replace(Score("s", "The score", "", better, value, 30), **changes)


def rows_of(root: Node, caption: str) -> list[list[str]]:
    """The texts of the cells of each row, the headers first."""
    (found,) = [table for table in root.all("table") if table.all("caption")[0].text.startswith(caption)]
    return [[cell.text.strip() for cell in row.all("th", "td")] for row in found.all("tr")]


def row_of(out: Path, *scores: Score | None) -> list[str]:
    """The row of one score, a run each; None is a run without it."""
    runs = [make_run(f"run {i}", i % 4, scores=(s,) if s else (), rows=()) for i, s in enumerate(scores)]
    return rows_of(page(make_evaluation(*runs), out), "Scores")[1]


def test_every_score_note_reference_group_and_judge_is_in_a_table(tmp_path: Path) -> None:
    root = page(make_evaluation(make_run(), make_run("second", 1)), tmp_path)
    assert rows_of(root, "Scores of each run") == [
        ["Score", "first", "second", "For comparison"],
        [
            "KID of avatars (× 10⁻³)lower is better · 30 imagessees noise first",
            "18.4 ± 1.2best",
            "20.4 ± 1.2",
            "real against real −0.500untranslated photos 395",
        ],
        ["Gender kept (%)higher is better · 28 imagesjudge at 91 %", "81.2 †not reliable", "82.2 †not reliable", ""],
        ["Skin colour (ΔE)lower is better", "—photos lack landmarks", ""],
    ]
    of_persons = ["19.9n = 25worst", "17.5n = 20", "30.3n = 3few"]
    worst = "19.9 female, n = 25; worse, but few: skin: dark"
    assert rows_of(root, "Scores of single photos, by group") == [
        ["Score and run", "All", "female", "male", "skin: dark"],
        ["KID of avatars (× 10⁻³) lower is better"],
        ["first", "18.4n = 30", *of_persons],
        ["second", "20.4n = 30", *of_persons],
        ["Worst\N{NO-BREAK SPACE}group", f"first: {worst}second: {worst}"],
        ["Other\N{NO-BREAK SPACE}groups", "first: 44.4 beard, n = 5 fewsecond: 44.4 beard, n = 5 few"],
    ]
    landmarks = ["NME", "0.120 †", "0.310 †", "—", "0.130 †", "413", "† not reliableNME above 0.1"]
    assert rows_of(root, "Judges on real test images") == [
        ["Judge", "Measure", "Clean", "noise", "blur", "JPEG", "Images", "Verdict"],
        ["Gender of an avatar", "accuracy", "97.8 %", "91.1 % †", "96.0 %", "—", "412", "reliable"],
        ["Landmarks of an avatar", *landmarks],
    ]


@pytest.mark.parametrize(
    ("better", "values", "best"),
    [
        ("lower", [3.0, -1.0, 2.0], [1]),
        ("higher", [3.0, -1.0, math.inf], [2]),
        ("near 1", [0.5, 1.4, 3.0], [1]),
        ("lower", [2.0, 1.0, 1.0], [1, 2]),
        ("lower", [1.0, 1.0, 1.0], []),
        ("lower", [5.0, None, math.nan], []),
        ("lower", [5.0, 4.0, math.nan], [1]),
    ],
)
def test_the_best_run_of_a_row_is_marked(
    tmp_path: Path, better: Better, values: list[float | None], best: list[int]
) -> None:
    cells = row_of(tmp_path, *(score(better, value) for value in values))[1:4]
    assert [i for i, cell in enumerate(cells) if "best" in cell] == best


def test_an_unreliable_value_is_marked_and_never_the_best(tmp_path: Path) -> None:
    unreliable = score("lower", 1.0, reliable=False, note="the judge errs")
    title, *cells, _ = row_of(tmp_path, unreliable, score("lower", 2.0), score("lower", 3.0))
    assert cells == ["1.00 †not reliable", "2.00best", "3.00"]
    assert "run 0: the judge errs" in title


def test_a_missing_value_has_the_reason(tmp_path: Path) -> None:
    missing = [score("lower", None, note="no masks"), score("lower", None), score("lower", math.nan), None]
    cells = row_of(tmp_path, *missing, score("lower", 1.0, note="only with masks"))[1:6]
    assert cells == ["—no masks", "—no reason given", "—not a number", "—not computed for this run", "1.00"]
    assert row_of(tmp_path, *missing[:1] * 3)[1:] == ["—no masks", ""]  # once for all runs


def test_scores_that_only_some_runs_have_are_in_order_of_first_appearance(tmp_path: Path) -> None:
    def named(*names: str) -> tuple[Score, ...]:
        return tuple(Score(name, name, "", "lower", 1.0) for name in names)

    runs = [make_run("first", scores=named("b", "a")), make_run("second", 1, scores=named("c", "a", "d"))]
    rows = rows_of(page(make_evaluation(*runs), tmp_path), "Scores")
    assert [row[0][0] for row in rows[1:]] == ["b", "a", "c", "d"]


def test_references_and_image_counts_that_differ_are_given_for_each_run(tmp_path: Path) -> None:
    first = score("lower", 1.0, references={"chance": 0.5, "real": 0.1})
    second = score("lower", 2.0, images=20, references={"chance": 0.5, "real": 0.2})
    assert row_of(tmp_path, first, second)[1:] == [
        "1.00best30 images",
        "2.0020 images",
        "chance 0.500real 0.100 (run 0)real 0.200 (run 1)",
    ]


def test_a_run_without_a_score_by_group_has_dashes_in_its_place(tmp_path: Path) -> None:
    alike = score("lower", 2.0, groups={"female": Group(2.0, 25), "male": Group(2.0, 25)})
    without = score("lower", 2.0)
    runs = [make_run(f"run {i}", i, scores=scores, rows=()) for i, scores in enumerate([(alike,), (without,), ()])]
    rows = rows_of(page(make_evaluation(*runs), tmp_path), "Scores of single photos, by group")
    assert rows[2:] == [
        ["run 0", "2.00n = 30", "2.00n = 25", "2.00n = 25"],
        ["run 1", "2.00n = 30", "—", "—"],
        ["run 2", "—", "—", "—"],
        ["Worst\N{NO-BREAK SPACE}group", "run 0: —run 1: —run 2: —"],
    ]


def test_a_terminal_has_a_row_of_the_worst_group_under_each_score() -> None:
    groups = {"female": Group(1.0, 20), "male": Group(2.0, 1200), "age: under 20": Group(3.0, 19)}
    scores = [
        score("lower", 1.9, groups=groups),
        score("higher", 1.9, groups=groups, unit="%", reliable=False),
        score("lower", 2.0, groups={"male": Group(2.0, 20)}),
        score("lower", 3.0, groups={"glasses": Group(2.0, 20)}),
    ]
    assert worst_group_lines(make_run(scores=tuple(scores))) == [
        "   value  photos  score",
        "    1.90      30  The score, lower is better",
        "    2.00   1,200    worst group, male; worse, with too few photos to tell: age: under 20",
        "    1.90      30  The score (%), higher is better † not reliable",
        "    1.00      20    worst group, female",
        "    2.00      30  The score, lower is better",
        "       —       —    worst group: none, of those with 20 photos or more",
    ]
    assert worst_group_lines(make_run(scores=tuple(scores[3:]))) == []
