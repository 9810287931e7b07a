"""The report's pictures: the same photos in every run, and the cases a run does best and worst on."""

import base64
import html
import io

import numpy as np
from PIL import Image

from bitmoji_jax.evaluation.report_numbers import DIRECTIONS, badness, format_count, format_number, with_unit
from bitmoji_jax.evaluation.results import Evaluation, PerImage, RunResult

_SHOWN = 128  # CSS pixels a side
_LOSSLESS = 64  # larger pictures are compressed: there a lost half-tone is no visible pixel
_RANDOM = 8
_SEED = 0


def summary_section(evaluation: Evaluation) -> str:
    """Random test photos, and below them every run's avatars of the same photos."""
    runs = evaluation.runs
    chosen = _random(min(len(run.photos) for run in runs))
    if not len(chosen):
        return "<p>There are no test photos.</p>"
    sharpest = max(runs, key=lambda run: run.photos.shape[1])  # runs may differ in resolution
    rows = [
        ("Photos", sharpest.photos, "Test photo"),
        *((run.name, run.avatars, "Avatar of test photo") for run in runs),
    ]
    body = ""
    for label, pictures, alt in rows:
        items = "".join(f"<li>{_img(pictures[i], f'{alt} {i}')}</li>" for i in chosen)
        body += f'<p>{html.escape(label)}</p><ul class="strip">{items}</ul>\n'
    return f"""<p>Drawn at random from the test photos, not chosen; the same for every run.</p>
<figure class="rows" tabindex="0" role="region" aria-label="Photos and the avatars of each run">
{body}</figure>"""


def cases_section(evaluation: Evaluation) -> str:
    """For each run the best, middling and worst photos by each measure and in each subset, and the way back."""
    text = """<p>Each photo stands above its avatar. Below: its value and, after #, its place among the test photos,
counted from 0.</p>"""
    return text + "".join(_run_cases(run, i) for i, run in enumerate(evaluation.runs, 1))


def _run_cases(run: RunResult, number: int) -> str:
    parts = [f'<h3 id="cases-{number}">{html.escape(run.name)}</h3>']
    if run.per_image:
        first, *others = run.per_image
        everyone = np.ones(len(first.values), bool)
        parts += [_measure(run, first, everyone, 8), *(_measure(run, other, everyone, 4) for other in others)]
        subsets = [_subset(run, first, name, mask) for name, mask in run.subsets.items()]
        if any(subsets):
            parts += [f"<h4>{with_unit(first.title, first.unit)}, by subset</h4>", *subsets]
    else:
        parts.append("<p>No measure of single images to sort them by.</p>")
    if len(run.real_avatars):
        items = "".join(
            f"<li>{_pair(run.real_avatars[i], run.fake_photos[i], f'Real avatar {i} above its photo')}</li>"
            for i in _random(len(run.real_avatars))
        )
        parts.append(
            f"<h4>The way back</h4><figure><figcaption>Real test avatars, drawn at random, and below each the photo F"
            f' makes of it</figcaption><ul class="strip">{items}</ul></figure>'
        )
    return "\n".join(parts)


def _measure(run: RunResult, measure: PerImage, mask: np.ndarray, count: int) -> str:
    heading = f"<h4>{with_unit(measure.title, measure.unit)} <small>{DIRECTIONS[measure.better]}</small></h4>"
    unknown = int(np.isnan(measure.values).sum())
    if unknown == len(measure.values):
        return f"{heading}<p>No photo has a value.</p>"
    remark = f'<p class="quiet">{format_count(unknown, "photo")} without a value left out.</p>' if unknown else ""
    return heading + remark + _best_to_worst(run, measure, mask, count)


def _subset(run: RunResult, measure: PerImage, name: str, mask: np.ndarray) -> str:
    """Empty where no image of the subset has a value."""
    known = mask & ~np.isnan(measure.values)
    if not known.any():
        return ""
    counts = format_count(int(mask.sum()), "photo")
    if known.sum() < mask.sum():
        counts += f", {known.sum():,} with a value"
    return f"<h5>{html.escape(name)} ({counts})</h5>" + _best_to_worst(run, measure, mask, 4)


def _best_to_worst(run: RunResult, measure: PerImage, mask: np.ndarray, count: int) -> str:
    order = np.argsort(badness(measure.values, measure.better), kind="stable")
    order = order[mask[order] & ~np.isnan(measure.values[order])]

    def grid(label: str, chosen: np.ndarray) -> str:
        items = ""
        for i in chosen:
            value = format_number(measure.values[i])
            alt = f"Photo {i} above its avatar, {measure.title} {value}"
            items += f"<li>{_pair(run.photos[i], run.avatars[i], alt)}<small>#{i}</small>{value}</li>"
        return f'<figure><figcaption>{label}</figcaption><ol class="strip">{items}</ol></figure>'

    if len(order) <= count:
        return grid(f"All {len(order)}, best first" if len(order) > 1 else "The only one", order)
    start = (len(order) - count) // 2
    middle = order[start : start + count]
    grids = (
        grid(f"Best {count}, best first", order[:count])
        + grid(f"The {count} around the median", middle)
        + grid(f"Worst {count}, worst first", order[: -count - 1 : -1])
    )
    return f'<div class="thirds">{grids}</div>' if count == 4 else grids


def _random(images: int) -> np.ndarray:
    return np.sort(np.random.default_rng(_SEED).permutation(images)[:_RANDOM])


def _pair(upper: np.ndarray, lower: np.ndarray, alt: str) -> str:
    return _img(np.concatenate([upper, lower]), alt)


def _img(picture: np.ndarray, alt: str) -> str:
    """A uint8 [H, W, 3] picture as an element that holds its data."""
    height, width = picture.shape[:2]
    buffer = io.BytesIO()
    if width <= _LOSSLESS:
        Image.fromarray(picture).save(buffer, format="WebP", lossless=True, method=2)
    else:
        Image.fromarray(picture).save(buffer, format="WebP", quality=90)
    data = base64.b64encode(buffer.getvalue()).decode()
    shown = width * max(1, _SHOWN // width) if width <= _SHOWN else _SHOWN  # whole pixels, or scaled down
    pixels = ' class="pixels"' if width <= _LOSSLESS else ""
    return (
        f'<img{pixels} width="{shown}" height="{round(shown * height / width)}" alt="{html.escape(alt)}"'
        f' src="data:image/webp;base64,{data}">'
    )
