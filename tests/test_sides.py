"""Sides of a benchmark run in their own processes and are compared turn by turn."""

import os
import time
from typing import Any

import pytest

from benchmarks.sides import CORES, Side, Turn, Work, closing, ratios, take_turns


def start_sleeping(seconds: float) -> tuple[Work, float]:
    def work(steps: int) -> float:
        time.sleep(steps * seconds)
        return float(len(os.sched_getaffinity(0)))

    return work, 7


def start_failing() -> tuple[Work, float]:
    raise RuntimeError("no such library")


def start_not_finite() -> tuple[Work, float]:
    return lambda _: float("nan"), 0


def start_dying() -> tuple[Work, float]:
    os._exit(3)


@pytest.mark.slow
def test_turns_have_about_the_requested_length_and_sleeping_costs_no_cpu() -> None:
    with closing([]) as sides:
        sides += [Side("a", start_sleeping, s, threads=min(2, CORES), turn_s=0.2) for s in (0.02, 0.05)]
        take_turns(sides, 2)
        assert [len(side.turns) for side in sides] == [2, 2]
        assert all(turn.wall >= s for side, s in zip(sides, (0.02, 0.05), strict=True) for turn in side.turns)
        assert all(turn.cpu < turn.wall / 2 for side in sides for turn in side.turns)
        assert 1 <= sides[0].figures()["steps_a_turn"] <= 10
        assert sides[0].figures()["peak_mb"] > 0
        assert sides[0].flop == 7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "message"),
    [(start_failing, "no such library"), (start_not_finite, "the result is nan"), (start_dying, "its process ended")],
)
def test_an_error_in_a_side_is_reported(start: Any, message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        Side("a", start, threads=1, turn_s=0)


def test_ratios_are_taken_round_by_round() -> None:
    ours, theirs = Side.__new__(Side), Side.__new__(Side)
    ours.turns = [Turn(1, 1), Turn(4, 1), Turn(1, 2)]
    theirs.turns = [Turn(2, 3), Turn(8, 3), Turn(3, 3)]
    found = ratios(theirs, ours)
    assert found["wall"] == {"median": 2, "min": 2, "max": 3}
    assert found["cpu"] == {"median": 3, "min": 1.5, "max": 3}
