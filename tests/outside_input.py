"""Strategies of `hypothesis` for what comes from outside: damaged files and unexpected JSON."""

import json
from typing import Any

import hypothesis
import hypothesis.strategies as st

LONGEST = 1000  # characters of a message


def examples(count: int) -> hypothesis.settings:
    """As many examples, the same ones each time."""
    return hypothesis.settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


def assert_one_line(text: str) -> None:
    assert text.isprintable()
    assert 0 < len(text) < LONGEST


# Bytes that are changed, cut or put in.
Edit = tuple[str, int, bytes]
PLACES = st.one_of(st.integers(0, 100), st.integers(0, 1 << 20))
EDITS = st.lists(
    st.tuples(st.sampled_from(["replace", "insert", "remove", "cut"]), PLACES, st.binary(min_size=1, max_size=9)),
    min_size=1,
    max_size=4,
)


def edited(content: bytes, edits: list[Edit]) -> bytes:
    for kind, place, new in edits:
        start = place % (len(content) + 1)
        end = {"insert": start, "cut": len(content)}.get(kind, start + len(new))
        content = content[:start] + (new if kind in ("replace", "insert") else b"") + content[end:]
    return content


# Any text, lone halves of surrogate pairs too, which JSON can hold.
TEXT = st.text(st.characters(), max_size=20)
NUMBERS = st.one_of(
    st.integers(-3, 300),
    st.floats(),
    st.sampled_from([2**31, 2**63, -(2**64), 10**400, 1e308, 1e-320]),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXT)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))
WIDE = st.just([["x" * 30] * 9] * 9)
DEEP = st.sampled_from(["[" * 100_000, "[" * 950 + "]" * 950, '{"data":' * 100_000])


def changed_json(values: Any, data: st.DataObject) -> str:
    """Some values of JSON are others, are missing or have other names; or all of it is another text."""
    if data.draw(st.integers(0, 9)) == 0:
        return data.draw(st.one_of(DEEP, JSON.map(json.dumps), TEXT))
    values = json.loads(json.dumps(values))
    for _ in range(data.draw(st.integers(1, 3))):
        section = values
        while True:
            name = data.draw(st.sampled_from(sorted(section)))
            if not isinstance(section[name], dict) or not section[name] or data.draw(st.integers(0, 9)) == 0:
                break
            section = section[name]
        change = data.draw(st.sampled_from(["value", "value", "value", "deep", "missing", "name"]))
        if change == "value":
            section[name] = data.draw(NUMBERS | JSON | WIDE)
        elif change == "deep":
            section[name] = {}
            for _ in range(data.draw(st.sampled_from([5, 300, 600]))):
                section[name] = [section[name]]
        elif change == "missing":
            del section[name]
        else:
            section[data.draw(TEXT)] = section.pop(name)
        if not values:
            break
    return json.dumps(values)
