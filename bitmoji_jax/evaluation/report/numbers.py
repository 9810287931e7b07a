"""Numbers as the report writes them."""

import math
from numbers import Real
from typing import Any, TypeGuard

from bitmoji_jax.evaluation.results import Better, Score

DIRECTIONS: dict[Better, str] = {
    "lower": "lower is better",
    "higher": "higher is better",
    "near 1": "near 1 is better",
}
MISSING = "—"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def is_value(value: object) -> TypeGuard[float]:
    """Tells numbers, infinity included, from NaN and everything else."""
    return isinstance(value, Real) and not math.isnan(value)


def badness(values: Any, better: Better) -> Any:
    """Maps a number, or an array of them, to one that is smaller the better it is."""
    return {"lower": values, "higher": -values, "near 1": abs(values - 1)}[better]


def format_number(value: float | None, digits: int = 3) -> str:
    """Rounds to significant digits, but not below 1: 0.0123, 395, 12,345, 1.2 × 10⁻⁶, −0.500, ∞, —."""
    if not is_value(value):
        return MISSING
    size = abs(float(value))
    sign = "−" if value < 0 else ""
    if math.isinf(size):
        return f"{sign}∞"
    if size == 0:
        return "0"
    if 10**digits - 0.5 <= size < 1e9:
        return f"{sign}{size:,.0f}"
    text = f"{size:#.{digits}g}"
    if "e" not in text:
        return sign + text.rstrip(".")
    mantissa, exponent = text.split("e")
    return f"{sign}{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def format_count(count: int, noun: str) -> str:
    """Writes a count with its noun: 1 image, 550 images."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def titled(score: Score) -> str:
    """Gives a score's title with its unit, if there is one, in brackets."""
    return f"{score.title} ({score.unit})" if score.unit else score.title
