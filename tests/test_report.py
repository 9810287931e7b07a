import base64
import dataclasses
import functools
import html
import http.server
import io
import itertools
import json
import math
import re
import shutil
import subprocess
import threading
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bitmoji_jax.config import DataConfig, ExperimentConfig, GeneratorConfig, TrainConfig
from bitmoji_jax.evaluation import report_charts
from bitmoji_jax.evaluation.report import write_report
from bitmoji_jax.evaluation.report_numbers import format_number
from bitmoji_jax.evaluation.results import (
    Better,
    Evaluation,
    Group,
    JudgeAccuracy,
    PerImage,
    RunResult,
    Score,
    scores_json,
)

PHOTOS, AVATARS, SIZE = 30, 12, 32
VOID = {"meta", "img", "br", "link", "input"}
KINDS = ("photo", "avatar", "real avatar", "made photo")


def pictures(count: int, kind: str, run: int = 0) -> np.ndarray:
    """uint8 [count, SIZE, SIZE, 3] of one colour each: red is 8 × index, green the kind, blue the run."""
    images = np.empty((count, SIZE, SIZE, 3), np.uint8)
    images[..., 0] = 8 * np.arange(count)[:, None, None]
    images[..., 1] = 200 - 40 * KINDS.index(kind)
    images[..., 2] = 60 * run
    return images


def what(image: np.ndarray) -> tuple[str, int, int]:
    """(kind, index, run) of a picture from `pictures`."""
    assert (image == image[0, 0]).all()
    red, green, blue = image[0, 0].tolist()
    return KINDS[(200 - green) // 40], red // 8, blue // 60


def make_run(name: str = "first", number: int = 0, **changes: Any) -> RunResult:
    values = np.random.default_rng(number).permutation(PHOTOS).astype(float)
    values[[4, 9]] = np.nan
    run = RunResult(
        name=name,
        checkpoint="best",
        images_seen=20_000,
        total_images=20_000,
        parameters=7_838_083,
        config=ExperimentConfig(
            data=DataConfig(image_size=SIZE), generator=GeneratorConfig(features=48), train=TrainConfig(batch_size=3)
        ),
        scores=(
            Score(
                name="kid_y",
                title="KID of avatars",
                unit="× 10⁻³",
                better="lower",
                value=18.43 + 2 * number,
                images=30,
                sd=1.25,
                references={"real against real": -0.5, "untranslated photos": 395.2},
                groups={"men": Group(17.5, 20), "women": Group(19.9, 25), "beard": Group(44.4, 3)},
                note="sees noise first",
            ),
            Score("gender_kept", "Gender kept", "%", "higher", 81.2 + number, 28, reliable=False, note="judge at 91 %"),
            Score("skin", "Skin colour", "ΔE", "lower", None, note="photos lack landmarks"),
        ),
        rows=tuple({"images": 100.0 * (i + 1), "loss_generators": 9 / (i + 1), "cycle_x": 0.3} for i in range(20)),
        photos=pictures(PHOTOS, "photo"),
        avatars=pictures(PHOTOS, "avatar", number),
        real_avatars=pictures(AVATARS, "real avatar"),
        fake_photos=pictures(AVATARS, "made photo", number),
        per_image=(
            PerImage("landmarks", "Landmarks", "NME", "lower", values),
            PerImage("likeness", "Likeness", "", "higher", np.arange(PHOTOS) / 10),
        ),
        subsets={"glasses": np.arange(PHOTOS) % 3 == 0, "nobody": np.zeros(PHOTOS, bool)},
    )
    return dataclasses.replace(run, **changes)


def make_evaluation(*runs: RunResult, **changes: Any) -> Evaluation:
    evaluation = Evaluation(
        date="2025-03-02T14:21:09+00:00",
        machine="two CPU cores",
        command="evaluate --run 'a' && b",
        versions={"jax": "0.10.0"},
        seconds=75.0,
        dataset="made & faces",
        sizes={"trainA": 4639, "testA": 30},
        judges=(
            JudgeAccuracy(
                "gender_y", "Gender of an avatar", "accuracy", 0.978, 412, {"noise": 0.911, "blur": 0.96}, True
            ),
            JudgeAccuracy(
                "landmarks_y", "Landmarks of an avatar", "NME", 0.12, 413, {"noise": 0.31, "JPEG": 0.13}, False
            ),
        ),
        runs=runs or (make_run(),),
    )
    return dataclasses.replace(evaluation, **changes)


def score(better: Better, value: float | None, **changes: Any) -> Score:
    return dataclasses.replace(Score("s", "The score", "", better, value, 30), **changes)


@dataclasses.dataclass
class Node:
    tag: str
    attributes: dict[str, str]
    children: list["Node | str"] = dataclasses.field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def all(self, *tags: str) -> list["Node"]:
        """Nodes below this one with one of the tags (any without), in document order."""
        found = []
        for child in self.children:
            if isinstance(child, Node):
                found += [child] * (not tags or child.tag in tags) + child.all(*tags)
        return found


class Tree(HTMLParser):
    """Builds nodes, and takes no end tag for granted."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack = [Node("document", {})]
        self.feed(text)
        self.close()
        assert len(self.stack) == 1, f"not closed: {self.stack[-1].tag}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"twice the same attribute: {attrs}"
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.stack[-1].children.append(node)
        if tag not in VOID:
            self.stack.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.stack[-1].children.append(data)


def page(evaluation: Evaluation, out: Path) -> Node:
    write_report(evaluation, out)
    return Tree((out / "index.html").read_text(encoding="utf-8")).stack[0]


def table(root: Node, caption: str) -> dict[str, list[Node]]:
    """The cells of each row by the text of its header, and the column headers under ""."""
    (found,) = [t for t in root.all("table") if t.all("caption")[0].text.startswith(caption)]
    head, *rows = found.all("tr")
    cells = {row.all("th")[0].text: row.all("td") for row in rows}
    return {"": head.all("th")} | cells


def row(cells: dict[str, list[Node]], title: str) -> list[Node]:
    (found,) = [value for name, value in cells.items() if name.startswith(title)]
    return found


def cells_of_score(tmp_path: Path, *scores: Score | None) -> list[Node]:
    """The cells of one score, a run each; None is a run without it."""
    runs = [make_run(f"run {i}", i % 4, scores=(s,) if s else ()) for i, s in enumerate(scores)]
    return row(table(page(make_evaluation(*runs), tmp_path), "Scores"), "The score")[: len(runs)]


def is_best(cell: Node) -> bool:
    return bool([node for node in cell.all("span") if node.text == "best"])


def decode(img: Node) -> np.ndarray:
    header, data = img.attributes["src"].split(",")
    assert header == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as image:
        return np.asarray(image.convert("RGB"))


def grids(root: Node) -> list[tuple[tuple[str, ...], str, list[tuple[int, str]]]]:
    """(headings h3 to h5, caption, [(index, value)]) of each grid of cases; checks that photo and avatar match."""
    headings: dict[str, str] = {}
    found = []
    for node in root.all("h2", "h3", "h4", "h5", "figure"):
        if node.tag != "figure":
            headings = {tag: text for tag, text in headings.items() if tag < node.tag} | {node.tag: node.text}
        elif headings["h2"] == "Cases" and "way back" not in headings.get("h4", ""):
            cases = []
            for case in node.all("li"):
                (img,) = case.all("img")
                upper, lower = np.split(decode(img), 2)
                kind, index, _ = what(upper)
                assert kind == "photo"
                assert what(lower)[:2] == ("avatar", index)
                value = next(child for child in case.children if isinstance(child, str))
                assert case.all("small")[0].text == f"#{index}"
                assert f"Photo {index} " in img.attributes["alt"]
                assert value in img.attributes["alt"]
                cases.append((index, value))
            levels = tuple(text for tag, text in headings.items() if tag != "h2")
            found.append((levels, node.all("figcaption")[0].text, cases))
    return found


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (math.nan, "—"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (0.0, "0"),
        (-0.5, "−0.500"),
        (0.012345, "0.0123"),
        (9.996, "10.0"),
        (99.96, "100"),
        (394.7, "395"),
        (999.7, "1,000"),
        (12345.6, "12,346"),
        (0.0000234, "2.34 × 10⁻⁵"),
        (-3.2e12, "−3.20 × 10¹²"),
        (np.float32(0.25), "0.250"),
        (7, "7.00"),
    ],
)
def test_numbers_have_three_significant_digits(value: float | None, text: str) -> None:
    assert format_number(value) == text


def test_the_head_says_what_was_judged(tmp_path: Path) -> None:
    root = page(make_evaluation(make_run(), make_run("second", 1, checkpoint="latest")), tmp_path)
    head = root.text[: root.text.index("Photos and avatars at random", root.text.index("What was judged"))]
    for text in ("made & faces", "trainA 4,639 · testA 30", "2025-03-02T14:21:09+00:00", "75 s", "two CPU cores"):
        assert text in head
    for text in ("evaluate --run 'a' && b", "jax 0.10.0", "share it only where they may be"):
        assert text in head
    runs = table(root, "2 runs")
    assert [cell.text for cell in runs["second"]] == [
        "latest",
        "20,000 of 20,000",
        "32 × 32",
        "48",
        "5",
        "no",
        "transpose",
        "7,838,083",
        "3",
    ]
    assert len(runs[""]) == 10
    assert "unfinished" not in head
    assert "Not trained" not in head


def test_an_unfinished_run_is_called_so_twice(tmp_path: Path) -> None:
    runs = [make_run(), make_run("second", images_seen=19_999), make_run("third", total_images=None)]
    root = page(make_evaluation(*runs), tmp_path)
    assert root.all("header")[0].all("strong")[0].text == "Not trained to the end: second at 99 % of the schedule."
    seen = {name: cells[1].text for name, cells in table(root, "3 runs").items() if name}
    assert seen == {
        "first": "20,000 of 20,000",
        "second": "19,999 of 20,000unfinished, 99 %",
        "third": "20,000schedule not known",
    }


def test_every_score_note_reference_group_and_judge_appears(tmp_path: Path) -> None:
    root = page(make_evaluation(make_run(), make_run("second", 1)), tmp_path)
    scores = table(root, "Scores")
    assert [cell.text for cell in scores[""]] == ["Score", "first", "second", "For comparison"]
    assert list(scores)[1:] == [
        "KID of avatars (× 10⁻³)lower is better · 30 imagessees noise first",
        "Gender kept (%)higher is better · 28 imagesjudge at 91 %",
        "Skin colour (ΔE)lower is better",
    ]
    assert [cell.text for cell in row(scores, "KID")] == [
        "18.4 ± 1.2best",
        "20.4 ± 1.2",
        "real against real −0.500untranslated photos 395",
    ]
    groups = table(root, "KID of avatars (× 10⁻³) lower is better")
    assert {name: [cell.text for cell in cells] for name, cells in groups.items() if name} == {
        "All": ["18.4 n = 30", "20.4 n = 30"],
        "men": ["17.5 n = 20", "17.5 n = 20"],
        "women": ["19.9 n = 25worst", "19.9 n = 25worst"],
        "beard": ["44.4 n = 3few", "44.4 n = 3few"],
    }
    judges = table(root, "Judges")
    assert [cell.text for cell in judges[""]][2:] == ["Clean", "noise", "blur", "JPEG", "Images", "Verdict"]
    assert [cell.text for cell in judges["Gender of an avatar"]] == [
        "accuracy",
        "97.8 %",
        "91.1 % †",
        "96.0 %",
        "—",
        "412",
        "reliable",
    ]
    assert [cell.text for cell in judges["Landmarks of an avatar"]] == [
        "NME",
        "0.120 †",
        "0.310 †",
        "—",
        "0.130 †",
        "413",
        "† not reliableNME over 0.1",
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
    cells = cells_of_score(tmp_path, *(score(better, value) for value in values))
    assert [i for i, cell in enumerate(cells) if is_best(cell)] == best


def test_what_is_not_reliable_is_marked_and_never_the_best(tmp_path: Path) -> None:
    bad = score("lower", 1.0, reliable=False, note="the judge errs")
    cells = cells_of_score(tmp_path, bad, score("lower", 2.0), score("lower", 3.0))
    assert cells[0].text == "1.00 †not reliable"
    assert [is_best(cell) for cell in cells] == [False, True, False]
    header = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "run 0: the judge errs" in header


def test_what_is_missing_shows_why(tmp_path: Path) -> None:
    missing = (
        score("lower", None, note="no masks"),
        score("lower", None),
        score("lower", math.nan),
        None,
        score("lower", 1.0, note="only with masks"),
    )
    texts = [cell.text for cell in cells_of_score(tmp_path, *missing)]
    assert texts == ["—no masks", "—no reason given", "—not a number", "—not taken for this run", "1.00"]


def test_what_is_missing_everywhere_for_one_reason_says_it_once(tmp_path: Path) -> None:
    cells = cells_of_score(tmp_path, *[score("lower", None, note="no masks")] * 3)
    assert [cell.text for cell in cells] == ["—no masks"]
    assert cells[0].attributes["colspan"] == "3"


def test_scores_that_only_some_runs_have_keep_the_order_of_their_first_appearance(tmp_path: Path) -> None:
    def named(*names: str) -> tuple[Score, ...]:
        return tuple(Score(name, f"Score {name}", "", "lower", 1.0) for name in names)

    runs = [make_run("first", scores=named("b", "a")), make_run("second", 1, scores=named("c", "a", "d"))]
    titles = list(table(page(make_evaluation(*runs), tmp_path), "Scores"))[1:]
    assert [title[:7] for title in titles] == ["Score b", "Score a", "Score c", "Score d"]


def test_references_and_image_counts_that_differ_say_whose_they_are(tmp_path: Path) -> None:
    runs = [
        make_run("first", scores=(score("lower", 1.0, references={"chance": 0.5, "real": 0.1}),)),
        make_run("second", 1, scores=(score("lower", 2.0, images=20, references={"chance": 0.5, "real": 0.2}),)),
    ]
    cells = row(table(page(make_evaluation(*runs), tmp_path), "Scores"), "The score")
    assert [cell.text for cell in cells] == [
        "1.00best30 images",
        "2.0020 images",
        "chance 0.500real 0.100 (first)real 0.200 (second)",
    ]


def test_the_same_random_photos_stand_over_the_avatars_of_every_run(tmp_path: Path) -> None:
    root = page(make_evaluation(make_run(), make_run("second", 1)), tmp_path)
    (figure,) = [node for node in root.all("figure") if node.attributes.get("class") == "rows"]
    rows = [[what(decode(img)) for img in strip.all("img")] for strip in figure.all("ul")]
    assert [node.text for node in figure.all("p")] == ["Photos", "first", "second"]
    chosen = [index for _, index, _ in rows[0]]
    assert len(set(chosen)) == 8
    assert chosen != list(range(8))
    assert rows == [
        [("photo", i, 0) for i in chosen],
        [("avatar", i, 0) for i in chosen],
        [("avatar", i, 1) for i in chosen],
    ]


def test_grids_hold_the_best_the_median_and_the_worst(tmp_path: Path) -> None:
    run = make_run()
    found = grids(page(make_evaluation(run), tmp_path))
    values = run.per_image[0].values
    order = [int(i) for i in np.argsort(values) if not np.isnan(values[i])]  # all differ
    assert len(order) == 28
    with_glasses = [i for i in order if i % 3 == 0]
    likeness = list(range(PHOTOS))[::-1]
    landmarks, by_likeness = "Landmarks (NME) lower is better", "Likeness higher is better"
    glasses = ("first", "Landmarks (NME), by subset", f"glasses (10 photos, {len(with_glasses)} with a value)")
    middle = (len(with_glasses) - 4) // 2
    assert [(levels, caption, [i for i, _ in cases]) for levels, caption, cases in found] == [
        (("first", landmarks), "Best 8, best first", order[:8]),
        (("first", landmarks), "The 8 around the median", order[10:18]),
        (("first", landmarks), "Worst 8, worst first", order[:-9:-1]),
        (("first", by_likeness), "Best 4, best first", likeness[:4]),
        (("first", by_likeness), "The 4 around the median", likeness[13:17]),
        (("first", by_likeness), "Worst 4, worst first", likeness[:-5:-1]),
        (glasses, "Best 4, best first", with_glasses[:4]),
        (glasses, "The 4 around the median", with_glasses[middle : middle + 4]),
        (glasses, "Worst 4, worst first", with_glasses[:-5:-1]),
    ]
    for (_, title, *_), _, cases in found:
        source = run.per_image[1 if title == by_likeness else 0].values
        assert all(value == format_number(source[i]) for i, value in cases)


def test_near_1_sorts_by_the_distance_from_1(tmp_path: Path) -> None:
    values = np.full(PHOTOS, np.nan)
    values[:3] = [0.2, 1.1, 5.0]
    run = make_run(per_image=(PerImage("ratio", "Ratio", "", "near 1", values),), subsets={})
    root = page(make_evaluation(run), tmp_path)
    assert grids(root) == [
        (("first", "Ratio near 1 is better"), "All 3, best first", [(1, "1.10"), (0, "0.200"), (2, "5.00")])
    ]
    assert "27 photos without a value left out." in root.text


def test_real_avatars_stand_over_their_photos(tmp_path: Path) -> None:
    root = page(make_evaluation(), tmp_path)
    (figure,) = [f for f in root.all("figure") if f.all("figcaption") and "F makes" in f.text]
    pairs = [[what(half) for half in np.split(decode(img), 2)] for img in figure.all("img")]
    assert len(pairs) == 8
    assert all(pair == [("real avatar", i, 0), ("made photo", i, 0)] for pair in pairs for i in [pair[0][1]])


@pytest.mark.parametrize(
    ("size", "shown", "pixels"), [(32, 128, True), (64, 128, True), (96, 96, False), (256, 128, False)]
)
def test_small_pictures_are_shown_larger_and_large_ones_smaller(
    tmp_path: Path, size: int, shown: int, pixels: bool
) -> None:
    def grown(images: np.ndarray) -> np.ndarray:
        return np.full((3, size, size, 3), images[:3, :1, :1])

    run = make_run()
    names = ("photos", "avatars", "real_avatars", "fake_photos")
    run = dataclasses.replace(run, **{name: grown(getattr(run, name)) for name in names})
    run = dataclasses.replace(run, per_image=(PerImage("a", "A", "", "lower", np.arange(3.0)),), subsets={})
    imgs = page(make_evaluation(run), tmp_path).all("img")
    assert len(imgs) == 3 + 3 + 3 + 3
    for img in imgs:
        height, width = decode(img).shape[:2]
        assert width == size
        assert int(img.attributes["width"]) == shown
        assert int(img.attributes["height"]) == shown * height / width
        assert (img.attributes.get("class") == "pixels") == pixels


def lines(root: Node, key: str) -> list[list[tuple[float, float]]]:
    """The points of each line of a chart, in SVG coordinates; a line in parts comes in parts."""
    (svg,) = [node for node in root.all("svg") if key in node.attributes.get("aria-labelledby", "")]
    paths = [p.attributes["d"] for p in svg.all("path") if p.attributes["class"].startswith("line")]
    parts = [part for d in paths for part in d.split("M")[1:]]
    return [[(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", part)] for part in parts]


def test_curves_have_a_line_a_run_and_gaps_where_values_are_not_finite(tmp_path: Path) -> None:
    values = [4.0, math.nan, 2.0, 1.0, None, math.inf, 0.0]
    rows = [{"images": 100 * i, "cycle_x": value} for i, value in enumerate(values)]
    rows += [{"images": 50, "other": 1.0}, {"cycle_x": 7.0}]
    runs = [make_run("first", rows=tuple(rows)), make_run("second", 1), make_run("third", 2, rows=())]
    root = page(make_evaluation(*runs), tmp_path)
    first, second, third, other_run = lines(root, "cycle_x-title")
    bottom, per_unit = third[0][1], (third[0][1] - second[1][1]) / 1.0
    assert [(x, (bottom - y) / per_unit) for x, y in first + second + third] == [
        (56, pytest.approx(4)),
        (pytest.approx(second[0][0]), pytest.approx(2)),
        (pytest.approx(second[1][0]), pytest.approx(1)),
        (pytest.approx(third[0][0]), 0),
    ]
    assert [len(part) for part in (first, second, third, other_run)] == [1, 2, 1, 20]
    assert "3 values of first left out, not finite" in root.text
    assert "No rows of metrics: third." in root.text
    (chart,) = [f for f in root.all("figure") if f.text.startswith("Cycle loss, photo")]
    assert [item.text for item in chart.all("li")] == ["first", "second"]
    styles = {
        (p.attributes["class"], p.attributes.get("stroke-dasharray"))
        for p in chart.all("path")
        if p.attributes["class"].startswith("line")
    }
    assert len(styles) == 2  # the legend's lines are those of the chart
    assert "first: 4.00 at 0 images, 0 at 600, 0 at its lowest." in chart.all("desc")[0].text


def test_long_curves_are_averaged_to_300_points(tmp_path: Path) -> None:
    rows = tuple({"images": i + 1, "loss_d_x": float(i % 2)} for i in range(3000))
    (line,) = lines(page(make_evaluation(make_run(rows=rows)), tmp_path), "loss_d_x-title")
    assert len(line) == 300
    assert len({y for _, y in line}) == 1


def test_kid_in_the_loop_is_drawn_in_thousandths_on_a_log_scale_where_it_falls_far(tmp_path: Path) -> None:
    rows = tuple({"images": 100 * (i + 1), "kid": 0.4 / 10**i} for i in range(3))
    root = page(make_evaluation(make_run(rows=rows)), tmp_path)
    (chart,) = [f for f in root.all("figure") if f.text.startswith("KID")]
    assert "log scale" in chart.all("figcaption")[0].text
    labels = [node.text for node in chart.all("text")]
    assert labels[:9] == ["2", "5", "10", "20", "50", "100", "200", "500", "0"]
    ys = [y for _, y in lines(root, "kid-title")[0]]
    assert ys[1] - ys[0] == pytest.approx(ys[2] - ys[1], abs=0.2)
    negative = (*rows, {"images": 400, "kid": -0.001})
    (chart,) = [
        f for f in page(make_evaluation(make_run(rows=negative)), tmp_path).all("figure") if f.text.startswith("KID")
    ]
    assert "log scale" not in chart.text


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.7, 3.1), (0.0, 0.0), (0.0, 123456.0), (5e-7, 6e-7)])
def test_ticks_are_round_and_span_the_values(low: float, high: float) -> None:
    ticks = report_charts._ticks(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 3 <= len(ticks) <= 7
    steps = np.diff(ticks)
    np.testing.assert_allclose(steps, steps[0])


@pytest.mark.parametrize(("low", "high"), [(1.0, 12.0), (0.003, 4e5), (20.0, 500.0)])
def test_log_ticks_span_the_values(low: float, high: float) -> None:
    ticks = report_charts._log_ticks(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 3 <= len(ticks) <= 12
    assert ticks == sorted(set(ticks))


def nasty_evaluation() -> Evaluation:
    """Markup wherever a person may put text, values that are none, and next to no data."""
    evil = "<script>alert('\"&amp;')</script>"
    nothing = np.zeros((0, SIZE, SIZE, 3), np.uint8)
    few = np.array([math.nan, math.inf, 1.0])
    return make_evaluation(
        make_run(
            evil,
            checkpoint=evil,
            photos=pictures(3, "photo"),
            avatars=pictures(3, "avatar"),
            real_avatars=nothing,
            fake_photos=nothing,
            scores=(
                Score(
                    evil, evil, evil, "lower", math.inf, 3, math.nan, {evil: math.nan}, {evil: Group(1, 0)}, note=evil
                ),
                Score("missing", "Missing", "", "lower", None, note=evil),
            ),
            per_image=(PerImage(evil, evil, evil, "lower", few), PerImage("b", "B", "", "higher", np.full(3, np.nan))),
            subsets={evil: np.array([True, True, False]), "without values": np.array([True, False, False])},
            rows=({"images": 1.0, "cycle_x": math.nan}, {"images": 2.0, "cycle_y": 1e300}),
        ),
        make_run(
            "empty",
            photos=pictures(3, "photo"),
            avatars=pictures(3, "avatar"),
            scores=(),
            per_image=(),
            subsets={},
            rows=(),
        ),
        make_run("surrogate \udcff", photos=pictures(3, "photo"), avatars=pictures(3, "avatar"), per_image=(), rows=()),
        judges=(JudgeAccuracy(evil, evil, "accuracy", math.nan, 0, {evil: math.nan}, False),),
        dataset=evil,
        machine=evil,
        command=evil,
        versions={evil: evil},
        sizes={evil: 0},
        date=evil,
    )


@pytest.mark.parametrize(
    "evaluation", [make_evaluation(make_run(), make_run("second", 1)), nasty_evaluation()], ids=["usual", "nasty"]
)
def test_the_page_is_well_formed_accessible_and_needs_nothing_else(tmp_path: Path, evaluation: Evaluation) -> None:
    root = page(evaluation, tmp_path)
    nodes = root.all()
    assert not root.all("script", "link", "iframe", "object", "embed", "base", "form")
    policy = next(n.attributes["content"] for n in root.all("meta") if "http-equiv" in n.attributes)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    ids = [node.attributes["id"] for node in nodes if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    for node in nodes:
        for name, value in node.attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "srcset", "xlink:href", "action", "data", "background", "poster"):
                assert value.startswith("data:image/webp;base64,") or value[1:] in ids, value[:80]
            if name in ("aria-labelledby", "aria-describedby"):
                assert set(value.split()) <= set(ids)
    style = root.all("style")[0].text + " ".join(node.attributes.get("style", "") for node in nodes)
    assert "@import" not in style
    assert "url(" not in style
    (document,) = root.all("html")
    assert document.attributes["lang"] == "en"
    levels = [int(node.tag[1]) for node in root.all("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))
    assert all(img.attributes["alt"] for img in root.all("img"))
    assert all(th.attributes["scope"] in ("row", "col") for th in root.all("th"))
    assert all(len(t.all("caption")) == 1 for t in root.all("table"))
    for t in root.all("table"):
        widths = {sum(int(c.attributes.get("colspan") or 1) for c in tr.all("th", "td")) for tr in t.all("tr")}
        assert len(widths) == 1
    for svg in root.all("svg"):
        if "aria-hidden" not in svg.attributes:
            assert svg.attributes["role"] == "img"
            assert [child.tag for child in svg.children if isinstance(child, Node)][:2] == ["title", "desc"]
    assert not [d for node in nodes if "nan" in (d := node.attributes.get("d", "")) or "inf" in d]


def test_markup_in_names_is_shown_as_text(tmp_path: Path) -> None:
    evaluation = nasty_evaluation()
    root = page(evaluation, tmp_path)
    name = evaluation.runs[0].name
    source = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<script" not in source
    assert "&lt;script&gt;" in source
    assert html.escape(name) in source
    assert [node.text for node in root.all("h3")] == [name, "empty", "surrogate ?"]
    assert [levels[2] for levels, *_ in grids(root) if len(levels) == 3] == [f"{name} (2 photos, 1 with a value)"]


def test_scores_json_holds_every_number_and_no_nan(tmp_path: Path) -> None:
    evaluation = nasty_evaluation()
    write_report(evaluation, tmp_path)
    text = (tmp_path / "scores.json").read_text(encoding="utf-8")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    numbers = json.loads(text, parse_constant=refuse)
    assert text == scores_json(evaluation)
    assert list(numbers["runs"]) == [run.name for run in evaluation.runs]
    kid = numbers["runs"][evaluation.runs[2].name]["scores"]["kid_y"]
    assert (kid["value"], kid["sd"], kid["groups"]["men"]) == (18.43, 1.25, {"value": 17.5, "images": 20})
    assert json.dumps(numbers, indent=2) + "\n" == text


def test_files_are_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "deep" / "report"
    write_report(make_evaluation(), out)
    assert sorted(path.name for path in out.iterdir()) == ["index.html", "scores.json"]
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    write_bytes = Path.write_bytes

    def disk_full(path: Path, data: bytes) -> int:
        write_bytes(path, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", disk_full)
    with pytest.raises(OSError, match="No space"):
        write_report(make_evaluation(make_run("other")), out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize("names", [[], ["same", "same"]])
def test_no_runs_and_runs_of_one_name_are_refused(tmp_path: Path, names: list[str]) -> None:
    evaluation = dataclasses.replace(make_evaluation(), runs=tuple(make_run(name) for name in names))
    with pytest.raises(ValueError, match="nothing to report" if not names else "names that differ: same, same"):
        write_report(evaluation, tmp_path / "out")
    assert not (tmp_path / "out").exists()


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on PATH")
def test_a_browser_shows_every_picture_and_fetches_nothing(tmp_path: Path) -> None:
    evaluation = make_evaluation(make_run(), make_run("second", 1))
    root = page(evaluation, tmp_path / "report")
    screenshot, log = tmp_path / "page.png", tmp_path / "net.json"
    options = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
        " --disable-component-update --disable-sync --hide-scrollbars --force-color-profile=srgb"
        " --window-size=1280,12000 --dump-dom"
    )
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "report"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/index.html"
        process = subprocess.run(
            [
                str(CHROMIUM),
                *options.split(),
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # the browser itself would ask its makers
                f"--user-data-dir={tmp_path / 'profile'}",
                f"--log-net-log={log}",
                f"--screenshot={screenshot}",
                address,
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        server.shutdown()
    dom = Tree(process.stdout[process.stdout.index("<html") :]).stack[0]
    for tag in ("table", "tr", "img", "svg", "h3"):  # the browser moved nothing: it read the page as it was meant
        assert len(dom.all(tag)) == len(root.all(tag)) > 0
    with Image.open(screenshot) as image:
        pixels = np.asarray(image.convert("RGB")).astype(np.uint32) @ [1, 256, 65536]
    shown = set(np.unique(pixels).tolist())
    for img in root.all("img"):
        for half in np.split(decode(img), 2):
            assert int(half[0, 0].astype(np.uint32) @ [1, 256, 65536]) in shown
    events = [event.get("params", {}) for event in json.loads(log.read_text(encoding="utf-8"))["events"]]
    requests = {event["url"]: event["initiator"] for event in events if {"url", "initiator"} <= event.keys()}
    assert requests.pop(address) == "not an origin"  # as it is of all requests but those of a page
    by_page = [url for url, who in requests.items() if who != "not an origin" and not url.startswith("data:")]
    assert not by_page
    assert not [url for url in requests if url.startswith(address.removesuffix("index.html"))]
