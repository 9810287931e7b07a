"""Accuracy of `align` in finding and framing faces, and the time for a face.

    python -m benchmarks.alignment --data DIR

puts the photos of a prepared dataset, whose framing is known, into larger pictures at random scale, rotation and
position, aligns them, and prints a table: how many were found and accepted, the framing error (the mean distance
between true and found corners of the crop as a fraction of its side), and the time. Then the same without faces.
"""

import collections
import dataclasses
import json
import math
import time
from pathlib import Path

import numpy as np
import skimage.data
import tyro
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.progress import track

from bitmoji_jax.config import DataConfig
from bitmoji_jax.data.pipeline import open_dataset
from bitmoji_jax.faces.align import FaceError, align
from bitmoji_jax.faces.resample import apply, square_matrix

_SIZE = 128
_PHOTOS = ("coffee", "rocket", "brick", "grass", "gravel", "hubble_deep_field", "motorcycle", "retina", "page", "coins")


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    data: str
    """Folder of a prepared dataset."""
    split: str = "testA"
    photos: int | None = None
    """Photos of the split in each row; all by default."""
    pictures: int = 200
    """Pictures without faces."""
    seed: int = 0
    json: Path | None = None
    """File to write the figures to."""


@dataclasses.dataclass(frozen=True)
class Row:
    """Figures of one case."""

    case: str
    photos: int
    found: int
    """Photos whose face was found with an error of at most 0.25 of the side, accepted or refused."""
    accepted: int
    refused: dict[str, int]
    """Photos refused, by reason."""
    error_mean: float
    """Mean error of those found."""
    error_95: float
    milliseconds: float
    """Median time for a photo, including the cut-out."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A way to place photos in pictures."""

    name: str
    low: float
    """Least side of the photo, as a fraction of the longer side of the picture."""
    high: float
    turn: float
    """Mean rotation in degrees."""
    spread: float
    """Greatest deviation from `turn` in degrees, uniform."""
    share: float = 1
    """Share of the split's photos that are used."""


CASES = (
    Case("within 45 degrees", 0.2, 0.7, 0, 45),
    Case("face 5 to 8 % of the picture's width", 0.08, 0.13, 0, 20, 0.2),
    Case("turned by 90 degrees", 0.2, 0.7, 90, 10, 0.2),
    Case("turned by 180 degrees", 0.2, 0.7, 180, 10, 0.2),
    Case("turned by 270 degrees", 0.2, 0.7, 270, 10, 0.2),
    Case("turned at random", 0.2, 0.7, 0, 180, 0.2),
)


def faceless(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Returns a picture without a face, uint8 [height, width, 3]: noise, gradient, texture, shapes, text or photo."""
    match rng.integers(7):
        case 0:
            return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        case 1:
            return _smooth(rng, 2, width, height)
        case 2:
            return _smooth(rng, int(rng.integers(6, 40)), width, height)
        case 3:
            return _waves(rng, width, height)
        case 4:
            return _shapes(rng, width, height)
        case 5:
            return _text(rng, width, height)
        case _:
            return _photo(rng, width, height)


def _smooth(rng: np.random.Generator, cells: int, width: int, height: int) -> np.ndarray:
    coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
    return np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))


def _waves(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    waves = np.zeros((height, width, 3))
    for _ in range(rng.integers(1, 4)):
        direction, length = rng.uniform(0, math.pi), rng.uniform(6, 120)
        phase = (x * math.cos(direction) + y * math.sin(direction)) * 2 * math.pi / length
        waves += np.sin(phase)[..., None] * rng.uniform(-1, 1, 3)
    return np.clip(128 + 90 * waves, 0, 255).astype(np.uint8)


def _shapes(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    image = Image.new("RGB", (width, height), tuple(rng.integers(0, 256, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(5, 40)):
        corner, extent = rng.uniform(0, (width, height)), rng.uniform(10, max(width, height) / 2, 2)
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape((*corner, *(corner + extent)), fill=tuple(rng.integers(0, 256, 3)))
    return np.array(image)


def _text(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    image = Image.new("RGB", (width, height), tuple(rng.integers(180, 256, 3)))
    draw = ImageDraw.Draw(image)
    size = int(rng.integers(12, 60))
    for top in range(0, height, int(size * 1.4)):
        line = "".join(rng.choice(list("abcdefgh ijklmnop qrstuvw xyzABCDE 0123456789 .,;O()"), width // size * 2))
        draw.text((size, top), line, fill=tuple(rng.integers(0, 120, 3)), font=ImageFont.load_default(size))
    return np.array(image)


def _photo(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    name = str(rng.choice(_PHOTOS))
    # stereo_motorcycle returns two pictures and a disparity map.
    array = skimage.data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(skimage.data, name)()
    image = Image.fromarray(array).convert("RGB")
    side = rng.uniform(0.5, 1, 2) * image.size
    corner = rng.uniform(0, image.size - side)
    return np.array(image.resize((width, height), Image.Resampling.LANCZOS, (*corner, *(corner + side))))


def place(photo: np.ndarray, case: Case, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Puts a photo into a picture without a face; returns the picture and the true matrix of the crop of `_SIZE` px."""
    width, height = rng.permutation((int(rng.integers(1000, 1600)), int(rng.integers(900, 1200)))).tolist()
    picture = faceless(rng, width, height)
    side = math.exp(rng.uniform(math.log(case.low), math.log(case.high))) * max(width, height)
    angle = math.radians(case.turn + rng.uniform(-case.spread, case.spread))
    # The whole photo stays in the picture if possible.
    half = side / 2 * (abs(math.cos(angle)) + abs(math.sin(angle)))
    centre = np.array([rng.uniform(min(half, n / 2), max(n - half, n / 2)) for n in (width, height)])
    pixels = round(side)
    scaled = Image.fromarray(photo).resize((pixels, pixels), Image.Resampling.LANCZOS)
    back = invert(square_matrix(centre, side, angle, pixels))
    placed, mask = (
        np.asarray(
            image.transform((width, height), Image.Transform.AFFINE, tuple(back.ravel()), Image.Resampling.BICUBIC)
        )
        for image in (scaled, Image.new("L", scaled.size, 255))
    )
    alpha = mask[..., None] / 255
    picture = np.rint(picture * (1 - alpha) + placed * alpha).astype(np.uint8)
    return picture, square_matrix(centre, side, angle, _SIZE)


def invert(matrix: np.ndarray) -> np.ndarray:
    """The matrix from the photo to the square."""
    inverse = np.linalg.inv(matrix[:, :2])
    return np.column_stack([inverse, -inverse @ matrix[:, 2]])


def framing_error(found: np.ndarray, true: np.ndarray) -> float:
    """Returns the mean distance of the corners of two crops of `_SIZE` pixels, in sides of the true one."""
    corners = _SIZE * np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    side = _SIZE * math.sqrt(np.linalg.det(true[:, :2]))
    return float(np.linalg.norm(apply(found, corners) - apply(true, corners), axis=1).mean() / side)


def measure(photos: list[np.ndarray], case: Case, seed: int) -> Row:
    """Places and aligns photos as in `case`."""
    errors, times = [], []
    refused: collections.Counter[str] = collections.Counter()
    for index, photo in enumerate(track(photos, console=Console(stderr=True), description=case.name, transient=True)):
        picture, true = place(photo, case, np.random.default_rng((seed, index)))
        start = time.perf_counter()
        face = align(picture, size=_SIZE, force=True)[0]
        times.append(time.perf_counter() - start)
        errors.append(framing_error(face.matrix, true))
        if face.warnings:
            refused[face.warnings[0].reason] += 1
    found = [error for error in errors if error <= 0.25]
    return Row(
        case.name,
        len(photos),
        len(found),
        len(photos) - refused.total(),
        dict(refused),
        float(np.mean(found)),
        float(np.percentile(found, 95)),
        1000 * float(np.median(times)),
    )


def false_positives(count: int, seed: int) -> dict[str, float]:
    """Returns how many pictures without faces are accepted, how many refused for each reason, and the time."""
    outcomes: collections.Counter[str] = collections.Counter()
    times = []
    for index in track(range(count), console=Console(stderr=True), description="no face", transient=True):
        rng = np.random.default_rng((seed, 1, index))
        picture = faceless(rng, int(rng.integers(300, 1600)), int(rng.integers(300, 1600)))
        start = time.perf_counter()
        try:
            align(picture, size=_SIZE)
            outcomes["accepted"] += 1
        except FaceError as error:
            outcomes[error.reason] += 1
        times.append(time.perf_counter() - start)
    return {"pictures": count, "accepted": 0, **outcomes, "milliseconds": 1000 * float(np.median(times))}


def table(rows: list[Row], outcomes: dict[str, float]) -> str:
    """Formats the figures as plain text in columns."""
    lines = [f"{'':38}{'photos':>7}{'found':>7}{'accepted':>9}{'error':>8}{'95 %':>8}{'ms':>7}  refused"]
    for row in rows:
        reasons = ", ".join(f"{count} {reason}" for reason, count in row.refused.items())
        lines.append(
            f"{row.case:38}{row.photos:7}{row.found:7}{row.accepted:9}{row.error_mean:8.4f}{row.error_95:8.4f}"
            f"{row.milliseconds:7.0f}  {reasons}"
        )
    lines.append("without a face: " + ", ".join(f"{name} {value:.0f}" for name, value in outcomes.items()))
    return "\n".join(lines)


def main(options: Options) -> None:
    """Measures, prints the table and writes the figures."""
    dataset = open_dataset(DataConfig(dir=options.data, image_size=_SIZE))
    count = min(options.photos or math.inf, len(dataset.splits[options.split]))
    photos = [dataset.read(options.split, index)["image"] for index in range(int(count))]
    align(photos[0], size=_SIZE, force=True)  # compiles
    rows = [measure(photos[:: round(1 / case.share)], case, options.seed) for case in CASES]
    outcomes = false_positives(options.pictures, options.seed)
    print(table(rows, outcomes))
    if options.json is not None:
        figures = {
            "data": options.data,
            "split": options.split,
            "seed": options.seed,
            "rows": [dataclasses.asdict(row) for row in rows],
            "without a face": outcomes,
        }
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
