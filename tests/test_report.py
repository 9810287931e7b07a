import base64
import dataclasses
import io
import itertools
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitmoji_jax.evaluation.report import charts
from bitmoji_jax.evaluation.report.page import write_report
from bitmoji_jax.evaluation.report.pictures import Picture, cases_of, random_strips, reverse_strip
from bitmoji_jax.evaluation.report.tables import format_number
from bitmoji_jax.evaluation.results import Evaluation, Score, scores_json
from tests.evaluations import PHOTOS, make_evaluation, make_run, nasty_evaluation, page, what
from tests.html_tree import Tree


def images_of(source: str) -> list[tuple[str, int, int]]:
    """(kind, index, run) of each half of a data URI, or of the whole of a square one."""
    header, data = source.split(",")
    assert header == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as image:
        pixels = np.asarray(image.convert("RGB"))
    return [what(half) for half in np.split(pixels, len(pixels) // pixels.shape[1])]


def test_numbers_have_three_significant_digits() -> None:
    texts = ["—", "—", "∞", "−∞", "0", "−0.500", "0.0123", "10.0", "100", "395", "1,000", "12,346", "0.250", "7.00"]
    values = [None, math.nan, math.inf, -math.inf, 0.0, -0.5, 0.012345, 9.996, 99.96, 394.7, 999.7, 12345.6]
    assert [format_number(value) for value in (*values, np.float32(0.25), 7)] == texts
    assert [format_number(value) for value in (0.0000234, -3.2e12)] == ["2.34 × 10⁻⁵", "−3.20 × 10¹²"]


def test_the_head_has_the_facts_of_the_evaluation_and_its_runs(tmp_path: Path) -> None:
    runs = [make_run(), make_run("second", images_seen=19_999), make_run("third", total_images=None)]
    root = page(make_evaluation(*runs), tmp_path)
    for text in ("made & faces", "trainA 4,639 · testA 30", "2025-03-02T14:21:09+00:00", "75 s", "two CPU cores"):
        assert text in root.text
    for text in ("evaluate --run 'a' && b", "jax 0.10.0", "share it only where they may be"):
        assert text in root.text
    assert root.all("header")[0].all("strong")[0].text == "Not trained to the end: second at 99 % of the schedule."
    rows = [[cell.text for cell in row.all("th", "td")] for row in root.all("table")[0].all("tr")[1:]]
    assert "Not trained" not in page(make_evaluation(), tmp_path).text
    seen = ("20,000 of 20,000", "19,999 of 20,000unfinished, 99 %", "20,000schedule not known")
    facts = ["32 × 32", "48", "5", "no", "transpose", "7,838,083", "3"]
    assert rows == [[run.name, "best", text, *facts] for run, text in zip(runs, seen, strict=True)]


def test_the_same_random_photos_are_above_the_avatars_of_every_run() -> None:
    strips = random_strips([make_run(), make_run("second", 1)])
    assert [strip.caption for strip in strips] == ["Photos", "first", "second"]
    rows = [[image for picture in strip.pictures for image in images_of(picture.source)] for strip in strips]
    chosen = [index for _, index, _ in rows[0]]
    assert len(set(chosen)) == 8
    assert chosen != list(range(8))
    kinds = (("photo", 0), ("avatar", 0), ("avatar", 1))
    assert rows == [[(kind, i, run) for i in chosen] for kind, run in kinds]


def test_cases_are_the_best_the_median_and_the_worst() -> None:
    run = make_run()
    values = run.sorted_by[0].per_image
    order = [int(i) for i in np.argsort(values) if not np.isnan(values[i])]  # all differ
    assert len(order) == 28
    glasses = [i for i in order if i % 3 == 0]
    likeness = list(range(PHOTOS))[::-1]
    middle = (len(glasses) - 4) // 2
    found = cases_of(run)
    assert [(case.title, case.detail, case.subset) for case in found] == [
        ("Landmarks (NME)", "lower is better", False),
        ("Likeness", "higher is better", False),
        ("glasses", f"10 photos, {len(glasses)} with a value", True),
    ]
    assert found[0].remark == "2 photos without a value left out."
    assert [[[picture.index for picture in strip.pictures] for strip in case.strips] for case in found] == [
        [order[:8], order[10:18], order[:-9:-1]],
        [likeness[:4], likeness[13:17], likeness[:-5:-1]],
        [glasses[:4], glasses[middle : middle + 4], glasses[:-5:-1]],
    ]
    for case, measure in zip(found, (0, 1, 0), strict=True):
        for picture in (picture for strip in case.strips for picture in strip.pictures):
            assert images_of(picture.source) == [("photo", picture.index, 0), ("avatar", picture.index, 0)]
            assert picture.value == format_number(run.sorted_by[measure].per_image[picture.index])
            assert f"Photo {picture.index} " in picture.alt
            assert picture.value in picture.alt


def test_near_1_sorts_by_the_distance_from_1() -> None:
    values = np.full(PHOTOS, np.nan)
    values[:3] = [0.2, 1.1, 5.0]
    (case,) = cases_of(make_run(sorted_by=(Score("ratio", "Ratio", "", "near 1", per_image=values),), subsets={}))
    (strip,) = case.strips
    assert strip.caption == "All 3, best first"
    assert [(picture.index, picture.value) for picture in strip.pictures] == [(1, "1.10"), (0, "0.200"), (2, "5.00")]


def test_real_avatars_are_above_their_photos() -> None:
    pairs = [images_of(picture.source) for picture in reverse_strip(make_run())]
    assert len(pairs) == 8
    assert all(pair == [("real avatar", i, 0), ("made photo", i, 0)] for pair in pairs for i in [pair[0][1]])


@pytest.mark.parametrize(
    ("size", "shown", "pixelated"), [(32, 128, True), (64, 128, True), (96, 96, False), (256, 128, False)]
)
def test_small_pictures_are_shown_larger_and_large_ones_smaller(size: int, shown: int, pixelated: bool) -> None:
    grey = np.full((3, size, size, 3), 100, np.uint8)
    run = make_run(photos=grey, avatars=grey, real_avatars=grey, fake_photos=grey)
    pictures: list[Picture] = random_strips([run])[0].pictures + reverse_strip(run)
    assert [(picture.width, picture.height) for picture in pictures] == [(shown, shown)] * 3 + [(shown, 2 * shown)] * 3
    assert {picture.pixelated for picture in pictures} == {pixelated}


def curves(svg: str) -> list[np.ndarray]:
    """The points of each line of a chart, in SVG coordinates; a line in parts comes in parts."""
    paths = {path.attributes["d"]: path.attributes["style"] for path in Tree(svg).stack[0].all("path")}
    lines = [d for d, style in paths.items() if re.match(r"fill: none.*stroke: var\(--c\d", style)]
    parts = [part for line in lines for part in line.split("M")[1:]]
    return [np.array(re.findall(r"([\d.]+) ([\d.]+)", part), float) for part in parts]


def test_curves_have_a_line_for_each_run_and_gaps_where_values_are_not_finite(tmp_path: Path) -> None:
    values = [4.0, math.nan, 2.0, 1.0, None, math.inf, 0.0]
    rows = [{"images": 100 * i, "cycle_x": value} for i, value in enumerate(values)]
    rows += [{"images": 50, "other": 1.0}, {"cycle_x": 7.0}]
    runs = [make_run("first", rows=tuple(rows)), make_run("second", 1), make_run("third", 2, rows=())]
    chart = next(chart for chart in charts.draw_charts(runs) if chart.title.startswith("Cycle loss, photo"))
    assert [len(part) for part in curves(chart.svg) if len(part) > 1] == [2, 20]
    assert chart.remark == "3 values of first left out, not finite"
    assert [line.name for line in chart.lines] == ["first", "second"]
    assert len({(line.variable, line.dashes) for line in chart.lines}) == 2
    assert all(f"stroke: {line.variable}" in chart.svg for line in chart.lines)
    assert "first: 4.00 at 0 images, 0 at 600, 0 at its lowest." in chart.description
    root = page(make_evaluation(*runs), tmp_path)
    assert "No metrics were recorded for third." in root.text
    (figure,) = [node for node in root.all("figure") if node.text.strip().startswith("Cycle loss, photo")]
    legend = [path.attributes["style"] for item in figure.all("li") for path in item.all("path")]
    assert legend == [
        f"stroke: {line.variable}; stroke-dasharray: {' '.join(map(str, line.dashes)) or 'none'}"
        for line in chart.lines
    ]
    assert chart.description in [node.attributes.get("aria-label") for node in root.all("div")]


def test_long_curves_are_averaged_to_300_points() -> None:
    rows = tuple({"images": i + 1, "loss_d_x": float(i % 2)} for i in range(3000))
    line = charts._line("run", 0, rows, "loss_d_x")
    np.testing.assert_array_equal(line.y, np.full(300, 0.5))
    np.testing.assert_allclose(line.x, 5.5 + 10 * np.arange(300))


def test_kid_is_drawn_in_thousandths_on_a_log_scale_if_it_falls_far() -> None:
    rows = tuple({"images": 100 * (i + 1), "kid": 0.4 / 10**i} for i in range(3))
    (chart,) = charts.draw_charts([make_run(rows=rows)])
    assert chart.remark == "log scale"
    assert "400 at 100 images" in chart.description
    ticks = [node.text for node in Tree(chart.svg).stack[0].all("text")]
    assert {"5", "10", "100", "200"} <= set(ticks)
    (line,) = curves(chart.svg)
    steps = np.diff(line[:, 1])
    np.testing.assert_allclose(steps, steps[0], rtol=1e-3)
    (chart,) = charts.draw_charts([make_run(rows=(*rows, {"images": 400, "kid": -0.001}))])
    assert chart.remark == ""


def test_a_chart_has_no_colour_that_a_dark_page_cannot_change() -> None:
    (chart, *_) = charts.draw_charts([make_run(str(i), i % 4) for i in range(7)])
    assert set(re.findall(r"(?:fill|stroke): ([^;\"]+)", chart.svg)) <= {
        "none",
        *(f"var({name})" for name in ("--quiet", "--hair", *(f"--c{i}" for i in range(6)))),
    }


@pytest.mark.parametrize("evaluation", [make_evaluation(make_run(), make_run("b", 1)), nasty_evaluation()])
def test_the_page_is_well_formed_accessible_and_needs_nothing_else(tmp_path: Path, evaluation: Evaluation) -> None:
    root = page(evaluation, tmp_path)
    nodes = root.all()
    assert not root.all("script", "link", "iframe", "object", "embed", "base", "form")
    policy = next(n.attributes["content"] for n in root.all("meta") if "http-equiv" in n.attributes)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    ids = [node.attributes["id"] for node in nodes if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    for name, value in (item for node in nodes for item in node.attributes.items()):
        assert not name.startswith("on")
        if name in ("src", "href", "srcset", "xlink:href", "action", "data", "background", "poster"):
            assert value.startswith("data:image/webp;base64,") or value[1:] in ids, value[:80]
        assert set(re.findall(r"url\(#(.*?)\)", value)) <= set(ids)
        assert name != "aria-labelledby" or value in ids
        assert name != "d" or not ("nan" in value or "inf" in value)
    assert not [style for style in root.all("style") if "@import" in style.text or "url(" in style.text]
    assert root.all("html")[0].attributes["lang"] == "en"
    levels = [int(node.tag[1]) for node in root.all("h1", "h2", "h3", "h4", "h5", "h6")]
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))
    assert all(img.attributes["alt"] for img in root.all("img"))
    assert all(th.attributes["scope"] in ("row", "col", "rowgroup") for th in root.all("th"))
    for table in root.all("table"):
        assert len(table.all("caption")) == 1
        rows = [row.all("th", "td") for row in table.all("tr")]
        assert len({sum(int(cell.attributes.get("colspan", 1)) for cell in row) for row in rows}) == 1


def test_markup_in_a_run_name_is_text(tmp_path: Path) -> None:
    evaluation = nasty_evaluation()
    root = page(evaluation, tmp_path)
    assert "<script" not in (tmp_path / "index.html").read_text(encoding="utf-8")
    assert [node.text for node in root.all("h3")] == [evaluation.runs[0].name, "empty", "surrogate ?"]


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
    assert (kid["value"], kid["sd"], kid["groups"]["male"]) == (18.43, 1.25, {"value": 17.5, "images": 20})
    worst = {"name": "female", "value": 19.9, "images": 25, "worse_but_few": ["skin: dark"]}
    assert kid["worst_group"] == worst
    assert numbers["runs"][evaluation.runs[2].name]["scores"]["gender_kept"]["worst_group"] is None
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
def test_a_browser_shows_every_picture_fits_a_phone_and_requests_nothing(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    root = page(make_evaluation(make_run(), make_run("a" * 80, 1)), tmp_path)
    requests, colours = [], []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND"]
        )
        for scheme in ("light", "dark"):
            visit = browser.new_page(viewport={"width": 360, "height": 800}, color_scheme=scheme)
            visit.on("request", lambda request: requests.append(request.url))
            visit.goto((tmp_path / "index.html").as_uri())
            for tag in ("table", "tr", "img", "svg", "h3"):  # the parser of the browser has moved none
                assert visit.locator(tag).count() == len(root.all(tag)) > 0
            assert visit.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
            assert visit.evaluate("document.documentElement.scrollWidth") == 360
            strokes = "[...document.querySelectorAll('.chart path')].map(path => getComputedStyle(path).stroke)"
            colours.append(set(visit.evaluate(strokes)) - {"none"})
        browser.close()
    assert {url for url in requests if not url.startswith("data:")} == {(tmp_path / "index.html").as_uri()}
    assert not colours[0] & colours[1]  # every line of a chart has a colour for each page


def test_a_kid_has_its_share_of_the_way_to_untouched_photos_beside_it(tmp_path: Path) -> None:
    kid = Score("kid_y", "KID", "", "lower", 35.2, 30, share=8.91)
    without = Score("skin", "Skin colour", "", "lower", 3.0, 30)
    evaluation = make_evaluation(make_run(scores=(kid, without)))
    cells = [row.all("td")[0].text for row in page(evaluation, tmp_path).all("table")[1].all("tr")[1:]]
    assert cells == ["35.28.9 % of the way back to untouched images", "3.00"]
    scores = json.loads(scores_json(evaluation))["runs"]["first"]["scores"]
    assert (scores["kid_y"]["share"], scores["skin"]["share"]) == (8.91, None)


def test_a_run_without_an_f_has_no_photos_of_avatars(tmp_path: Path) -> None:
    run = make_run(fake_photos=np.zeros((0, 32, 32, 3), np.uint8))
    assert reverse_strip(run) == []
    assert "Avatars to photos" not in page(make_evaluation(run), tmp_path).text
