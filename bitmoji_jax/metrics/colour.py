"""Colours as perceived: CIELAB, the difference of two colours, and skin tone groups.

A colour is an array [..., 3]. NaN means unknown (an empty mask) and stays NaN.
"""

import numpy as np
from skimage.color import deltaE_ciede2000

from bitmoji_jax.ops.colour import individual_typology_angle as individual_typology_angle
from bitmoji_jax.ops.colour import srgb_to_lab as srgb_to_lab

ITA_GROUPS = ("dark", "medium", "light")
"""Names of skin tone groups, from the smallest angle to the largest."""
_DARK_BELOW, _LIGHT_ABOVE = 10, 41  # degrees


def median_colour(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Computes the median of every channel inside a mask, 0 to 255; float64 [N, 3], NaN for an empty mask.

    Images are [N, S, S, 3], uint8 or float; masks are bool [N, S, S], True inside; ValueError otherwise.

    Not to be trusted: for a mask of two colours half and half, nor for photos in coloured light.
    """
    if images.ndim != 4 or images.shape[-1] != 3 or images.shape[:-1] != masks.shape:
        raise ValueError(f"shapes are {images.shape} and {masks.shape}, not [N, S, S, 3] and [N, S, S]")
    if masks.dtype != bool:
        raise ValueError(f"masks are {masks.dtype}, not bool")
    medians = np.full((len(images), 3), np.nan)
    for i in np.flatnonzero(masks.any(axis=(1, 2))):
        medians[i] = np.median(images[i][masks[i]], axis=0)
    return medians


def delta_e(labs: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Computes CIEDE2000 differences [...] of CIELAB colours [..., 3]; ValueError for other or differing shapes.

    0 is the same colour, about 1 just visible, 100 black to white. Source: CIE 142-2001.

    Not to be trusted: above about 10 as a size, since it was fitted to small differences.
    """
    if labs.shape != others.shape or labs.ndim < 1 or labs.shape[-1] != 3:
        raise ValueError(f"shapes are {labs.shape} and {others.shape}, not one of [..., 3]")
    return deltaE_ciede2000(labs, others)


def ita_group(angle: float) -> str:
    """Names the skin tone group of an ITA in degrees: one of `ITA_GROUPS`, or "unknown" for NaN.

    Dark is below 10 degrees, light above 41, medium between: pairs of the six groups of Chardon et al., as above, of
    which the outer ones have few photos.
    """
    if np.isnan(angle):
        return "unknown"
    return ITA_GROUPS[int(angle >= _DARK_BELOW) + int(angle > _LIGHT_ABOVE)]
