import io
import itertools
import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rich.console
from PIL import Image
from tensorboardX.proto.event_pb2 import Event, SessionLog

from bitmoji_jax.training import metrics_log as metrics_module
from bitmoji_jax.training.metrics_log import MetricsLog, ProgressLine, format_duration

SPEED = {"images_per_second", "data_wait"}


def open_log(workdir: Path | None, **changes: Any) -> MetricsLog:
    return MetricsLog(workdir, **({"every": 4, "images": 0, "sums": None, "epoch_images": 16} | changes))


def rows_of(workdir: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def without_speed(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name not in SPEED} for row in rows]


def events(workdir: Path) -> Iterator[Event]:
    """All TensorBoard events: each a length, its checksum, the message, its checksum."""
    for path in sorted((workdir / "tensorboard").glob("events.*")):
        data, start = path.read_bytes(), 0
        while start < len(data):
            (length,) = struct.unpack_from("<Q", data, start)
            yield Event.FromString(data[start + 12 : start + 12 + length])
            start += 16 + length


def test_a_row_is_the_mean_of_the_steps_since_the_last_one(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    returned = [
        log.add(images, {"loss": loss, "other": -loss}, waited=0.0)
        for images, loss in ((2, 1.0), (4, 4.0), (6, 10.0), (8, 20.0), (10, 7.0))
    ]
    log.close()
    assert [row is None for row in returned] == [True, False, True, False, True]
    rows = rows_of(tmp_path)
    assert rows == [row for row in returned if row is not None]
    assert without_speed(rows) == [
        {"images": 4, "epoch": 0.25, "loss": 2.5, "other": -2.5},
        {"images": 8, "epoch": 0.5, "loss": 15.0, "other": -15.0},
    ]


def test_rows_come_at_the_first_step_past_each_multiple(tmp_path: Path) -> None:
    log = open_log(tmp_path, every=5)
    rows = [log.add(images, {"loss": images}, waited=0.0) for images in range(2, 22, 2)]
    log.close()
    assert [(row["images"], row["loss"]) for row in rows if row] == [
        (6, (2 + 4 + 6) / 3),
        (10, (8 + 10) / 2),
        (16, (12 + 14 + 16) / 3),
        (20, (18 + 20) / 2),
    ]


def test_a_batch_larger_than_a_row_gives_a_row_a_step(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    rows = [log.add(images, {"loss": images}, waited=0.0) for images in (10, 20)]
    log.close()
    assert [row and (row["images"], row["loss"]) for row in rows] == [(10, 10), (20, 20)]


def test_speed_leaves_out_the_first_step_which_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Steps of 2 images end at these times; the first is the one that compiles.
    clock = iter([100.0, 104.0, 105.0])
    monkeypatch.setattr(metrics_module.time, "perf_counter", lambda: next(clock))
    log = open_log(tmp_path)
    log.add(2, {}, waited=90.0)  # starts the clock, at 100
    first = log.add(4, {}, waited=1.0)  # at 104
    log.add(6, {}, waited=0.1)
    second = log.add(8, {}, waited=0.2)  # at 105
    log.close()
    assert first is not None
    assert second is not None
    assert (first["images_per_second"], first["data_wait"]) == (2 / 4, 1 / 4)
    assert second["images_per_second"] == 4
    assert second["data_wait"] == pytest.approx(0.3)


@pytest.mark.parametrize("stopped_at", [0, 3, 4, 5, 9, 12])
def test_an_interrupted_run_writes_the_rows_of_an_uninterrupted_one(stopped_at: int, tmp_path: Path) -> None:
    losses = np.random.default_rng(0).normal(size=12).tolist()

    def steps(log: MetricsLog, first: int, last: int) -> None:
        for step in range(first, last):
            log.add(step + 1, {"loss": losses[step]}, waited=0.0)

    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    whole = open_log(tmp_path / "whole")
    steps(whole, 0, 12)
    whole.close()

    before = open_log(tmp_path / "parts")
    steps(before, 0, stopped_at)
    sums = json.loads(json.dumps(before.sums()))  # as a checkpoint keeps them
    steps(before, stopped_at, min(stopped_at + 5, 12))  # steps after the checkpoint, lost by a kill
    before.close()
    after = open_log(tmp_path / "parts", images=stopped_at, sums=sums)
    steps(after, stopped_at, 12)
    after.close()

    rows = without_speed(rows_of(tmp_path / "whole"))
    assert [row["images"] for row in rows] == [4, 8, 12]
    assert without_speed(rows_of(tmp_path / "parts")) == rows


def test_rows_after_the_checkpoint_and_a_half_written_line_are_dropped(tmp_path: Path) -> None:
    lines = [json.dumps({"images": images, "loss": 0.5}) for images in (4, 8, 12, 16)]
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join(lines)[:-5])
    open_log(tmp_path, images=8).close()
    assert path.read_text() == "\n".join(lines[:2]) + "\n"
    assert [file.name for file in tmp_path.iterdir() if "partial" in file.name] == []


def test_a_new_row_never_joins_a_line_without_an_end(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"images": 4}')
    log = open_log(tmp_path, images=4)
    log.add(8, {"loss": 1.0}, waited=0.0)
    log.close()
    assert [row["images"] for row in rows_of(tmp_path)] == [4, 8]


def test_without_a_workdir_rows_are_returned_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log = open_log(None)
    row = log.add(4, {"loss": 3.0}, waited=0.0)
    log.add_picture("raw", np.zeros((4, 4, 3), np.uint8), 4)
    log.close()
    assert row is not None
    assert row["loss"] == 3.0
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_gets_the_same_rows_and_the_pictures(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    for images in range(2, 10, 2):
        log.add(images, {"loss": images}, waited=0.0)
    picture = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    log.add_picture("raw", picture, 8)
    log.close()
    values = [(event.step, value) for event in events(tmp_path) for value in event.summary.value]
    scalars = {(step, value.tag): value.simple_value for step, value in values if not value.HasField("image")}
    rows = rows_of(tmp_path)
    assert len(rows) == 2
    assert scalars == {
        (row["images"], name): pytest.approx(row[name], rel=1e-6) for row in rows for name in row.keys() - {"images"}
    }
    ((step, image),) = [(step, value) for step, value in values if value.HasField("image")]
    assert (step, image.tag) == (8, "raw")
    decoded = Image.open(io.BytesIO(image.image.encoded_image_string))
    np.testing.assert_array_equal(np.asarray(decoded), picture)


def test_a_continued_run_tells_tensorboard_to_forget_what_came_after(tmp_path: Path) -> None:
    open_log(tmp_path, images=8).close()
    starts = [event.step for event in events(tmp_path) if event.session_log.status == SessionLog.START]
    assert starts == [9]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (42.4, "42 s"),
        (89, "89 s"),
        (91, "2 min"),
        (180, "3 min"),
        (59 * 60 + 29, "59 min"),
        (59 * 60 + 31, "1 h 0 min"),
        (80 * 60, "1 h 20 min"),
        (47 * 3600 + 59 * 60, "47 h 59 min"),
        (47 * 3600 + 59 * 60 + 31, "2 days 0 h"),
        (76 * 3600 + 1800, "3 days 4 h"),
        (math.inf, "?"),
        (math.nan, "?"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


def test_where_there_is_no_terminal_each_row_is_a_line() -> None:
    printed = io.StringIO()
    progress = ProgressLine(rich.console.Console(file=printed, width=40), total=2000, images=0)
    losses = dict(
        zip(("loss_generators", "loss_d_x", "loss_d_y", "cycle_x", "cycle_y"), itertools.count(1), strict=False)
    )
    for images in (500, 1000):
        progress.step(images)
        progress.row({"images": images, "images_per_second": 10.0, "data_wait": 0.25, **losses})
    progress.close()
    lines = printed.getvalue().splitlines()
    assert len(lines) == 2
    for line, start in zip(lines, ("500/2,000 images · 10 images/s · 2 min left", "1,000/2,000 images"), strict=True):
        assert line.startswith(start)
        assert line.endswith("generators 1.000 · d_x 2.000 · d_y 3.000 · waiting for data 25%")
