"""The checkerboard pattern that upsampling leaves, measured in the power spectrum."""

import dataclasses

import numpy as np

from bitmoji_jax.ops.image import check_images

_ROUNDING_VARIANCE = 1 / 12
_NEIGHBOURS = (2, 3)
_SMALLEST = 16


@dataclasses.dataclass(frozen=True)
class Checkerboard:
    """Spectral power at the frequencies of upsampling over that at neighbouring ones: no unit, 1 is no pattern."""

    period_2: float
    """At the Nyquist frequency, from the last ×2 upsampling."""
    period_4: float
    """At half of it, from the ×2 upsampling before."""


def checkerboard(images: np.ndarray) -> Checkerboard:
    """Measures by how much patterns of period 2 and 4 pixels, along either axis, exceed the spectrum around them.

    Source: Odena et al., "Deconvolution and checkerboard artifacts", Distill 2016, and Zhang et al., arXiv 1907.06515,
    for peaks at these frequencies; the ratio is ours. Power spectra under a Hann window are averaged over images and
    channels, and a rounding error's variance is added, so that empty ones give 1; on the lines |f| = S/2 and S/4 each
    frequency is divided by the geometric mean of those 2 and 3 steps across the line; the ratios are averaged along
    the lines of both axes. Real bitmojis of 64 px score 0.88 and 1.04; see benchmarks/NOTES.md.

    Not to be trusted: with fewer than about 50 images, below 1, or for JPEG and real stripes of that period.

    Images are uint8 [N, S, S, 3], S a multiple of 4 from 16 up; ValueError for another shape or type, or no images.
    """
    check_images(images)
    size = images.shape[1]
    if not len(images) or size < _SMALLEST or size % 4:
        raise ValueError(f"{len(images)} images of {size} px, not 1 or more of a multiple of 4 from {_SMALLEST} up")
    window = np.hanning(size + 1)[:size]
    window = np.outer(window, window)
    power = np.zeros((size, size))
    for image in images:
        centred = image - image.mean(axis=(0, 1))
        power += np.square(np.abs(np.fft.fft2(centred * window[..., None], axes=(0, 1)))).mean(axis=-1)
    power /= len(images) * np.square(window).sum()
    power += _ROUNDING_VARIANCE

    def excess(frequency: int) -> float:
        beside = [frequency + sign * step for step in _NEIGHBOURS for sign in (-1, 1)]
        ratios = [axis[:, frequency] / np.exp(np.log(axis[:, beside]).mean(axis=1)) for axis in (power, power.T)]
        return float(np.mean(ratios))

    return Checkerboard(period_2=excess(size // 2), period_4=excess(size // 4))
