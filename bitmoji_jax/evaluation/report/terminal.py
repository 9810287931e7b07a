"""The scores of single photos as lines for a terminal, each with the group of persons that it is worst for."""

from bitmoji_jax.evaluation.groups import is_of_persons
from bitmoji_jax.evaluation.report.tables import DIRECTIONS, MISSING, format_number, titled
from bitmoji_jax.evaluation.results import FEW, RunResult


def worst_group_lines(run: RunResult) -> list[str]:
    """Writes two rows under a header for each score by group: over all photos, and of the worst group.

    There are no lines where no score was computed by groups of persons.
    """
    lines = []
    for score in run.scores:
        if not any(map(is_of_persons, score.groups)):
            continue
        unreliable = "" if score.reliable else " † not reliable"
        lines.append(_line(score.value, score.images, f"{titled(score)}, {DIRECTIONS[score.better]}{unreliable}"))
        if (worst := score.worst_group) is None:
            lines.append(_line(None, None, f"  worst group: none, of those with {FEW} photos or more"))
        else:
            lines.append(_line(worst.value, worst.images, f"  worst group, {worst.name}"))
            if worst.worse_but_few:
                lines[-1] += f"; worse, with too few photos to tell: {', '.join(worst.worse_but_few)}"
    return [f"{'value':>8} {'photos':>7}  score", *lines] if lines else []


def _line(value: float | None, images: int | None, text: str) -> str:
    return f"{format_number(value):>8} {MISSING if images is None else f'{images:,}':>7}  {text}"
