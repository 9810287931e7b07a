"""The report's pictures: random test photos, and each run's best, median and worst cases."""

import base64
import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from bitmoji_jax.evaluation.report.tables import DIRECTIONS, format_count, format_number, titled
from bitmoji_jax.evaluation.results import RunResult, Score, badness

_SHOWN = 128  # CSS pixels a side
_LOSSLESS = 64  # pixels a side; in larger pictures the loss is not visible
_RANDOM = 8


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture as a data URI, its size in CSS pixels, and in a case its index and value."""

    source: str
    width: int
    height: int
    pixelated: bool
    alt: str
    index: int | None = None
    value: str = ""


@dataclasses.dataclass(frozen=True)
class Strip:
    """Pictures in a row, under a caption."""

    caption: str
    pictures: list[Picture]


@dataclasses.dataclass(frozen=True)
class Cases:
    """The best, median and worst cases by one measure, among all photos or in a subset."""

    title: str
    detail: str
    remark: str
    strips: list[Strip]
    subset: bool = False


def random_strips(runs: Sequence[RunResult]) -> list[Strip]:
    """Chooses random test photos, and every run's avatars of them."""
    chosen = _random(min(len(run.photos) for run in runs))
    sharpest = max(runs, key=lambda run: run.photos.shape[1])  # runs may differ in resolution
    rows = [("Photos", sharpest.photos, "Test photo"), *((r.name, r.avatars, "Avatar of test photo") for r in runs)]
    return [Strip(name, [_picture(images[i], f"{alt} {i}") for i in chosen]) for name, images, alt in rows]


def cases_of(run: RunResult) -> list[Cases]:
    """Chooses cases by every score in `sorted_by`, then by the first one within every subset that has values."""
    found = []
    for i, measure in enumerate(run.sorted_by):
        known = ~np.isnan(np.asarray(measure.per_image, np.float64))
        missing = int((~known).sum())
        remark = f"{format_count(missing, 'photo')} without a value left out." if missing else ""
        strips = _best_to_worst(run, measure, known, 4 if i else 8)
        found.append(Cases(titled(measure), DIRECTIONS[measure.better], remark, strips))
    for name, members in run.subsets.items() if run.sorted_by else ():
        first = run.sorted_by[0]
        known = members & ~np.isnan(np.asarray(first.per_image, np.float64))
        if known.any():
            detail = format_count(int(members.sum()), "photo")
            if known.sum() < members.sum():
                detail += f", {known.sum():,} with a value"
            found.append(Cases(name, detail, "", _best_to_worst(run, first, known, 4), subset=True))
    return found


def reverse_strip(run: RunResult) -> list[Picture]:
    """Chooses random real test avatars, and joins each with the photo that F makes of it."""
    return [
        _picture(np.concatenate([run.real_avatars[i], run.fake_photos[i]]), f"Real avatar {i} above its photo")
        for i in _random(len(run.fake_photos))
    ]


def _best_to_worst(run: RunResult, measure: Score, known: np.ndarray, count: int) -> list[Strip]:
    values = np.asarray(measure.per_image, np.float64)
    order = np.argsort(badness(values, measure.better), kind="stable")
    order = order[known[order]]

    def strip(caption: str, chosen: np.ndarray) -> Strip:
        pictures = []
        for i in chosen:
            value = format_number(values[i])
            alt = f"Photo {i} above its avatar, {measure.title} {value}"
            picture = _picture(np.concatenate([run.photos[i], run.avatars[i]]), alt)
            pictures.append(dataclasses.replace(picture, index=int(i), value=value))
        return Strip(caption, pictures)

    if not len(order):
        return []
    if len(order) <= count:
        return [strip(f"All {len(order)}, best first" if len(order) > 1 else "The only one", order)]
    start = (len(order) - count) // 2
    return [
        strip(f"Best {count}, best first", order[:count]),
        strip(f"The {count} around the median", order[start : start + count]),
        strip(f"Worst {count}, worst first", order[: -count - 1 : -1]),
    ]


def _random(images: int) -> np.ndarray:
    return np.sort(np.random.default_rng(0).permutation(images)[:_RANDOM])


def _picture(image: np.ndarray, alt: str) -> Picture:
    """Encodes uint8 [H, W, 3] as WebP, lossless if small."""
    height, width = image.shape[:2]
    small = width <= _LOSSLESS
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="WebP", lossless=small, quality=90, method=2 if small else 4)
    source = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
    shown = width * max(1, _SHOWN // width) if width <= _SHOWN else _SHOWN  # whole pixels, or scaled down
    return Picture(source, shown, round(shown * height / width), small, alt)
