"""The groups of persons, and the one of them that a score is worst for."""

import numpy as np
import pytest

from bitmoji_jax.evaluation.groups import groups_of_persons, is_of_persons
from bitmoji_jax.evaluation.results import FEW, Better, Group, Score, averaged, in_groups

UNKNOWN = np.nan


def test_persons_are_in_one_group_of_each_kind_that_is_known() -> None:
    ages = np.array([0, 19.5, 20, 39, 40, 59, 60, 119, UNKNOWN, -1, 1980])
    known = np.ones(len(ages))
    groups = groups_of_persons(known, 60 * known, ages)
    assert {name: np.flatnonzero(members).tolist() for name, members in groups.items() if name.startswith("age")} == {
        "age: under 20": [0, 1],
        "age: 20 to 39": [2, 3],
        "age: 40 to 59": [4, 5],
        "age: 60 and over": [6, 7],
    }
    assert groups["female"].all()
    assert groups["skin: light"].all()
    nobody = groups_of_persons(UNKNOWN * known, UNKNOWN * known, UNKNOWN * known)
    assert nobody.keys() == groups.keys()
    assert not any(members.any() for members in nobody.values())
    assert all(map(is_of_persons, groups))
    assert not any(map(is_of_persons, ("glasses", "hat", "shadow", "mouth open")))


@pytest.mark.parametrize(
    ("better", "worst"), [("lower", "skin: medium"), ("higher", "female"), ("near 1", "skin: medium")]
)
def test_the_worst_group_is_by_the_score_s_direction(better: Better, worst: str) -> None:
    groups = {
        "female": Group(0.5, FEW),
        "skin: medium": Group(3.0, FEW),
        "skin: light": Group(2.0, FEW),
        "age: under 20": Group(UNKNOWN, FEW),
        "glasses": Group({"lower": 9.0, "higher": 0.0, "near 1": 9.0}[better], FEW),  # not of persons
    }
    found = Score("s", "", "", better, 2.0, 100, groups=groups).worst_group
    assert found is not None
    assert (found.name, found.value, found.images) == (worst, groups[worst].value, FEW)
    assert found.worse_but_few == ()


def test_a_small_group_is_not_the_worst_but_named_if_its_value_is_worse() -> None:
    large = {"female": Group(5.0, 90), "male": Group(6.0, 80)}
    small = {"skin: dark": Group(13.0, FEW - 1), "skin: light": Group(5.5, FEW - 1)}
    found = Score("s", "", "", "lower", 5.4, 170, groups=large | small).worst_group
    assert found is not None
    assert (found.name, found.worse_but_few) == ("male", ("skin: dark",))


@pytest.mark.parametrize("groups", [{}, {"male": Group(6.0, 80)}, {"male": Group(0.0, 80), "female": Group(0.0, 80)}])
def test_no_group_is_the_worst_of_one_or_of_equals(groups: dict[str, Group]) -> None:
    few = {"skin: dark": Group(7.0, FEW - 1)}
    assert Score("s", "", "", "lower", 1.0, 160, groups=groups | few).worst_group is None


def test_subsets_without_a_value_are_left_out() -> None:
    subsets = {
        "all": np.array([True, True, True]),
        "last": np.array([False, False, True]),
        "unknown": np.array([True, False, False]),
    }
    known = np.array([False, True, True])

    def measure(chosen: np.ndarray) -> float:
        if chosen.sum() < 2:
            raise ValueError("too few")
        return float(chosen.sum())

    assert in_groups(measure, known, subsets) == {"all": Group(2.0, 2)}
    score = averaged(Score("s", "", "", "lower"), np.array([UNKNOWN, 1.0, 2.0]), subsets)
    assert (score.value, score.images) == (1.5, 2)
    assert score.groups == {"all": Group(1.5, 2), "last": Group(2.0, 1)}
