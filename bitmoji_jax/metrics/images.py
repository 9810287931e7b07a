"""Scores of a translation that need no network: each compares arrays of images, or of points.

Images are uint8 [N, S, S, 3]; every function raises ValueError for shapes that differ, another type or no images.
Differences are in grey levels of 0 to 255. No score here measures whether an output looks like an avatar.
"""

import dataclasses
import io

import numpy as np
from PIL import Image

from bitmoji_jax.ops.image import check_images

_LUMA = np.array([0.299, 0.587, 0.114])


@dataclasses.dataclass(frozen=True, eq=False)
class LandmarkError:
    """Distances between points as fractions of the distance between the eyes."""

    per_image: np.ndarray
    """float64 [N], NaN for an image left out."""
    mean: float
    """Over the images that count, NaN if there are none."""
    images: int


@dataclasses.dataclass(frozen=True)
class Alarm:
    """A value, and whether it is past the threshold."""

    value: float
    raised: bool


def nme(points: np.ndarray, targets: np.ndarray) -> LandmarkError:
    """Computes the normalised mean error: the mean distance of five points from their targets over that of the eyes.

    Points and targets are [N, 5, 2], the eyes first, NaN where unknown, in any unit that is the same along both axes;
    ValueError otherwise. A point counts if it is known on both sides. An image is left out if its target lacks an eye,
    or both its eyes coincide, or no point counts.
    Source: Zhang et al., "Facial landmark detection by deep multi-task learning", ECCV 2014.

    Not to be trusted: below the error of the network that found the points; near 0, since drawings have other
    proportions than photos.
    """
    if points.shape != targets.shape or points.ndim != 3 or points.shape[1:] != (5, 2):
        raise ValueError(f"shapes are {points.shape} and {targets.shape}, not one of [N, 5, 2]")
    targets = targets.astype(np.float64)
    distances = np.linalg.norm(points - targets, axis=-1)
    between_eyes = np.linalg.norm(targets[:, 0] - targets[:, 1], axis=-1)
    known = np.isfinite(distances)
    counts = known.any(axis=1) & (between_eyes > 0)
    per_image = np.full(len(points), np.nan)
    sums = np.where(known, distances, 0).sum(axis=1)[counts]
    per_image[counts] = sums / known.sum(axis=1)[counts] / between_eyes[counts]
    mean = float(per_image[counts].mean()) if counts.any() else np.nan
    return LandmarkError(per_image, mean, int(counts.sum()))


@dataclasses.dataclass(frozen=True, eq=False)
class PairedError:
    """Mean absolute differences from the true avatars, float64 [N], in grey levels of 0 to 255."""

    translated: np.ndarray
    copied: np.ndarray
    """Of the photo itself: the error of doing nothing."""
    mean_avatar: np.ndarray
    """Of the mean of all training avatars: the error of ignoring the photo."""


def paired_error(
    translated: np.ndarray, photos: np.ndarray, avatars: np.ndarray, mean_avatar: np.ndarray
) -> PairedError:
    """Compares translated photos, the photos and the mean training avatar with the photos' true avatars.

    All are uint8 [N, S, S, 3] in one order, but for the mean avatar, float [S, S, 3]; ValueError for other shapes.
    """
    if not translated.shape == photos.shape == avatars.shape or mean_avatar.shape != avatars.shape[1:]:
        shapes = [array.shape for array in (translated, photos, avatars, mean_avatar)]
        raise ValueError(f"shapes are {shapes}, not three of [N, S, S, 3] and [S, S, 3]")
    sides = (translated, photos, mean_avatar)
    return PairedError(*(np.abs(side.astype(np.float64) - avatars).mean(axis=(1, 2, 3)) for side in sides))


def shadow_sensitivity(
    photos: np.ndarray, shadowed_photos: np.ndarray, avatars: np.ndarray, shadowed_avatars: np.ndarray
) -> float:
    """Divides the mean absolute change of the avatars under a shadow by that of the photos.

    Source: the project's own. No unit: 0 is an avatar that does not change, 1 one that changes as much as the photo,
    above 1 one in which a shadow becomes something else. Avatars may have another size than photos. ValueError if no
    photo has a shadow.

    Not to be trusted: when all outputs look alike, which also scores 0 (see `diversity`).
    """
    if len(photos) != len(avatars):
        raise ValueError(f"{len(photos)} photos and {len(avatars)} avatars")
    change = _absolute_differences(photos, shadowed_photos).mean()
    if not change:
        raise ValueError("the photos with a shadow are those without it")
    return float(_absolute_differences(avatars, shadowed_avatars).mean() / change)


def cycle_psnr(images: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """Computes the peak signal-to-noise ratio of each reconstruction F(G(x)), 10·log₁₀(255² / mean squared error).

    In decibels, [N]; infinite if equal. 48 is an error of 1 grey level, 28 of 10, 20 of 25.

    Not to be trusted: as quality, since doing nothing and hiding the photo (`high_frequency_hiding`) score high too.
    """
    errors = np.square(_absolute_differences(images, reconstructions)).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255**2 / errors)


def high_frequency_hiding(
    images: np.ndarray, reconstructions: np.ndarray, reconstructions_after_jpeg: np.ndarray
) -> float:
    """Divides the cycle's mean absolute error with the avatar compressed as JPEG by that without.

    Source: Chu, Zhmoginov and Sandler, arXiv 1712.02950: signals that G hides for F in faint high frequencies do not
    survive compression. No unit: 1 is nothing hidden; the larger, the more of the reconstruction was hidden. The
    reconstructions are F(G(images)) and F(JPEG(G(images))); ValueError if the first have no error.

    Not to be trusted: for a cycle with a large error, which cannot grow by much; as proof, since JPEG blurs lines too.
    """
    before = _absolute_differences(images, reconstructions).mean()
    after = _absolute_differences(images, reconstructions_after_jpeg).mean()
    if not before:
        raise ValueError("the reconstructions equal the images: the error cannot grow by a ratio")
    return float(after / before)


def compress_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Encodes and decodes an image, uint8 [H, W, 3], as JPEG of a quality from 1 to 100."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=int(quality))
    return np.asarray(Image.open(file))


def colour_inversion(photos: np.ndarray, avatars: np.ndarray, threshold: float = -0.1) -> Alarm:
    """Checks whether dark has become light: CycleGAN may learn a negative, which the cycle loss does not penalise.

    The value is the median over images of the correlation, −1 to 1, of photo and avatar in luma (ITU-R BT.601) over
    all pixels; the alarm is raised below the threshold. Photos and unrelated real bitmojis have +0.31; see
    benchmarks/NOTES.md. An image of one grey is left out; if all are, the value is NaN and no alarm is raised.

    Not to be trusted: when backgrounds turn from all dark to all white or the reverse.
    """
    _check(photos, avatars)
    light, drawn = (images.reshape(len(images), -1, 3) @ _LUMA for images in (photos, avatars))
    light, drawn = (values - values.mean(axis=1, keepdims=True) for values in (light, drawn))
    spread = np.sqrt(np.square(light).mean(axis=1) * np.square(drawn).mean(axis=1))
    uneven = spread > 1e-6
    if not uneven.any():
        return Alarm(np.nan, False)
    value = float(np.median((light * drawn).mean(axis=1)[uneven] / spread[uneven]))
    return Alarm(value, value < threshold)


def does_nothing(photos: np.ndarray, avatars: np.ndarray, threshold: float = 10.0) -> Alarm:
    """Checks whether the avatars are nearly the photos.

    The value is the mean absolute difference in grey levels, 0 to 255; the alarm is raised below the threshold. Photos
    and JPEG of them have 5, photos and unrelated real bitmojis 75; see benchmarks/NOTES.md.

    Not to be trusted: as proof of a translation, since a tint or a blur of the photo raises no alarm either.
    """
    value = float(_absolute_differences(photos, avatars).mean())
    return Alarm(value, value < threshold)


def _absolute_differences(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    _check(images, others)
    return np.abs(images.astype(np.float64) - others)


def _check(images: np.ndarray, others: np.ndarray) -> None:
    if images.shape != others.shape:
        raise ValueError(f"shapes differ: {images.shape} and {others.shape}")
    check_images(images)
    check_images(others)
    if not len(images):
        raise ValueError("there are no images")
