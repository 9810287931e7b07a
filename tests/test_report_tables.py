import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from bitmoji_jax.evaluation.report.tables import Cell, Row, group_tables, judge_table, score_rows
from bitmoji_jax.evaluation.results import Better, Score
from tests.evaluations import make_evaluation, make_run


def score(better: Better, value: float | None, **changes: Any) -> Score:
    return dataclasses.replace(Score("s", "The score", "", better, value, 30), **changes)


def row_of(*scores: Score | None) -> Row:
    """The row of one score, a run each; None is a run without it."""
    (row,) = score_rows([make_run(f"run {i}", scores=(s,) if s else ()) for i, s in enumerate(scores)])
    return row


def text_of(cells: Sequence[Cell]) -> list[str]:
    return [" ".join(filter(None, [cell.text, cell.remark, cell.tag, *cell.notes])) for cell in cells]


def test_every_score_note_reference_group_and_judge_is_in_a_table() -> None:
    evaluation = make_evaluation(make_run(), make_run("second", 1))
    rows = score_rows(evaluation.runs)
    assert [(row.title, row.notes) for row in rows] == [
        ("KID of avatars (× 10⁻³)", ["lower is better · 30 images", "sees noise first"]),
        ("Gender kept (%)", ["higher is better · 28 images", "judge at 91 %"]),
        ("Skin colour (ΔE)", ["lower is better"]),
    ]
    assert text_of(rows[0].cells) == ["18.4 ± 1.2 best", "20.4 ± 1.2"]
    assert rows[0].references == ["real against real −0.500", "untranslated photos 395"]
    (groups,) = group_tables(evaluation.runs)
    assert {name: text_of(cells) for name, cells in groups.rows} == {
        "All": ["18.4 n = 30", "20.4 n = 30"],
        "men": ["17.5 n = 20", "17.5 n = 20"],
        "women": ["19.9 n = 25 worst", "19.9 n = 25 worst"],
        "beard": ["44.4 n = 3 few", "44.4 n = 3 few"],
    }
    columns, judges = judge_table(evaluation.judges)
    assert columns[2:] == ["Clean", "noise", "blur", "JPEG", "Images", "Verdict"]
    assert {name: text_of(cells) for name, cells in judges} == {
        "Gender of an avatar": ["accuracy", "97.8 %", "91.1 % †", "96.0 %", "—", "412", "reliable"],
        "Landmarks of an avatar": ["NME", "0.120 †", "0.310 †", "—", "0.130 †", "413", "† not reliable NME above 0.1"],
    }


def test_the_best_run_of_a_row_is_marked() -> None:
    cases: list[tuple[Better, list[float | None], list[int]]] = [
        ("lower", [3.0, -1.0, 2.0], [1]),
        ("higher", [3.0, -1.0, math.inf], [2]),
        ("near 1", [0.5, 1.4, 3.0], [1]),
        ("lower", [2.0, 1.0, 1.0], [1, 2]),
        ("lower", [1.0, 1.0, 1.0], []),
        ("lower", [5.0, None, math.nan], []),
        ("lower", [5.0, 4.0, math.nan], [1]),
    ]
    for better, values, best in cases:
        cells = row_of(*(score(better, value) for value in values)).cells
        assert [i for i, cell in enumerate(cells) if cell.tag == "best"] == best


def test_an_unreliable_value_is_marked_and_never_the_best() -> None:
    row = row_of(score("lower", 1.0, reliable=False, note="the judge errs"), score("lower", 2.0), score("lower", 3.0))
    assert text_of(row.cells) == ["1.00 † not reliable", "2.00 best", "3.00"]
    assert "run 0: the judge errs" in row.notes


def test_a_missing_value_has_the_reason() -> None:
    missing = [score("lower", None, note="no masks"), score("lower", None), score("lower", math.nan), None]
    scores = [*missing, score("lower", 1.0, note="only with masks")]
    reasons = ["— no masks", "— no reason given", "— not a number", "— not computed for this run", "1.00"]
    assert text_of(row_of(*scores).cells) == reasons
    (shared,) = row_of(*[score("lower", None, note="no masks")] * 3).cells
    assert (shared.text, shared.notes, shared.span) == ("—", ("no masks",), 3)


def test_scores_that_only_some_runs_have_are_in_order_of_first_appearance() -> None:
    def named(*names: str) -> tuple[Score, ...]:
        return tuple(Score(name, name, "", "lower", 1.0) for name in names)

    runs = [make_run("first", scores=named("b", "a")), make_run("second", 1, scores=named("c", "a", "d"))]
    assert [row.title for row in score_rows(runs)] == ["b", "a", "c", "d"]


def test_references_and_image_counts_that_differ_are_given_for_each_run() -> None:
    row = row_of(
        score("lower", 1.0, references={"chance": 0.5, "real": 0.1}),
        score("lower", 2.0, images=20, references={"chance": 0.5, "real": 0.2}),
    )
    assert text_of(row.cells) == ["1.00 best 30 images", "2.00 20 images"]
    assert row.references == ["chance 0.500", "real 0.100 (run 0)", "real 0.200 (run 1)"]
