"""Colours in CIELAB, and the lightness of skin in one number.

A colour is an array [..., 3]. NaN means unknown and stays NaN.
"""

import numpy as np
from skimage.color import rgb2lab


def srgb_to_lab(colours: np.ndarray) -> np.ndarray:
    """Converts sRGB colours to CIELAB under the standard daylight D65, for the 2° observer.

    Colours are [..., 3], 0 to 255, uint8 or float; ValueError otherwise. The result is float64 [..., 3]: L* (0 to 100),
    a* (green to red) and b* (blue to yellow), both within ±110. Source: IEC 61966-2-1 (sRGB) and CIE 15 (L*a*b*).
    """
    colours = np.asarray(colours, np.float64)
    if colours.ndim < 1 or colours.shape[-1] != 3:
        raise ValueError(f"colours have shape {colours.shape}, not [..., 3]")
    if (colours < 0).any() or (colours > 255).any():
        raise ValueError(f"colours reach from {np.nanmin(colours)} to {np.nanmax(colours)}, not 0 to 255")
    return rgb2lab(colours / 255)


def individual_typology_angle(labs: np.ndarray) -> np.ndarray:
    """Computes the ITA [...] of skin colours in CIELAB [..., 3]: the angle in degrees of (L* − 50) over b*.

    The larger, the lighter; skin is within ±90°. For b* below 0 the angle continues beyond ±90°, where the paper's
    arctan would call the palest skin the darkest. ValueError if the last axis is not 3.
    Source: Chardon, Cretois and Hourseau, International Journal of Cosmetic Science 13 (1991).

    Not to be trusted: for a single photo, since it depends on light and exposure as much as on the skin.
    """
    if labs.ndim < 1 or labs.shape[-1] != 3:
        raise ValueError(f"colours have shape {labs.shape}, not [..., 3]")
    return np.degrees(np.arctan2(labs[..., 0] - 50, labs[..., 2]))
