"""From an image file to what a dataset stores of it; this is what the worker processes of `prepare` run.

How a photo is framed and how skin is measured are functions that the caller gives, since faces are found in a layer
above this one. They are at the top of a module, or `functools.partial` of such, so that they can be pickled.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bitmoji_jax.data.images import Framing, UnusableImageError, encode_image, load_square


class Framed(NamedTuple):
    """A square that was cut out of an image."""

    image: np.ndarray
    """uint8 [size, size, 3], sRGB."""
    framing: Framing
    """From the stored image to the square, for its labels."""
    landmarks: np.ndarray | None
    """float32 [5, 2], fractions of the square as in `Example`, where a face was measured; otherwise None."""


Frame = Callable[[Path, int], Framed]
"""(file, size) -> a square of `size` pixels a side; raises UnusableImageError where the file gives none."""

MeasureIta = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(images uint8 [N, S, S, 3], landmarks [N, 5, 2]) -> the skin's ITA in degrees, float64 [N], NaN where unknown."""


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """A file to encode."""

    path: Path
    frame: Frame
    landmarks: np.ndarray | None = None
    """float32 [5, 2], fractions of the stored image, as labelled; None if there is no label."""
    measure_ita: MeasureIta | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded:
    """What a dataset stores of a file."""

    image: bytes
    landmarks: np.ndarray | None
    """float32 [5, 2], fractions of the square, as labelled; None if there is no label."""
    ita: float
    """The skin's ITA in degrees; NaN where it was not measured."""


def central_frame(path: Path, size: int) -> Framed:
    """Takes the central square of an image, as `load_square` does."""
    return Framed(*load_square(path, size), None)


def encode(job: Job, size: int) -> Encoded | UnusableImageError:
    """Frames and encodes an image; returns the error of a file that gives none.

    The skin is measured by the labelled landmarks or, where an eye or a mouth corner is unknown, by the measured ones.
    """
    try:
        image, framing, measured = job.frame(job.path, size)
    except UnusableImageError as error:
        return error
    landmarks = None if job.landmarks is None else framing.apply(job.landmarks)
    ita = np.nan
    if job.measure_ita is not None:
        for points in (landmarks, measured):
            if points is not None and np.isnan(ita):
                ita = float(job.measure_ita(image[None], points[None])[0])
    return Encoded(encode_image(image), landmarks, ita)
