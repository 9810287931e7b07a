"""Colours as people see them: CIELAB, the difference of two colours, and skin tone groups.

A colour is an array [..., 3]. NaN means unknown (an empty mask) and stays NaN.
"""

import numpy as np

_XYZ_FROM_RGB = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
_WHITE = _XYZ_FROM_RGB.sum(axis=1)

ITA_GROUPS = ("dark", "brown", "tan", "intermediate", "light", "very light")
"""Names of skin tone groups, from the smallest angle to the largest."""
_ITA_BOUNDS = (-30, 10, 28, 41, 55)
_UNKNOWN_GROUP = "unknown"


def median_colour(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The median of every channel inside of a mask, in grey levels of 0 to 255; float64 [N, 3], NaN for an empty mask.

    The median forgets up to half of the pixels, so highlights, eyes or stray hair in the mask do not count. Not to be
    trusted for a mask of two colours half and half, where the channels may come from different pixels, nor for photos
    in coloured light: nothing here corrects the white balance.

    Args:
      images: [N, S, S, 3], uint8 or float.
      masks: bool [N, S, S], True inside.

    Raises:
      ValueError: shapes do not fit, or masks are not bool.
    """
    if images.ndim != 4 or images.shape[-1] != 3 or images.shape[:-1] != masks.shape:
        raise ValueError(f"shapes are {images.shape} and {masks.shape}, not [N, S, S, 3] and [N, S, S]")
    if masks.dtype != bool:
        raise ValueError(f"masks are {masks.dtype}, not bool")
    unknown = np.full(3, np.nan)
    medians = [
        np.median(image[mask], axis=0) if mask.any() else unknown for image, mask in zip(images, masks, strict=True)
    ]
    return np.array(medians, np.float64).reshape(-1, 3)


def srgb_to_lab(colours: np.ndarray) -> np.ndarray:
    """CIELAB of sRGB colours under the standard daylight D65, seen by the 2° observer.

    Source: IEC 61966-2-1 (sRGB) and CIE 15 (L*a*b*). White is (100, 0, 0); L* is 0 to 100, a* and b* within ±110.

    Args:
      colours: [..., 3], 0 to 255, uint8 or float.

    Returns:
      float64 [..., 3]: L*, a* (green to red), b* (blue to yellow).

    Raises:
      ValueError: the last axis is not 3, or a value lies outside of 0 to 255.
    """
    colours = np.asarray(colours, np.float64)
    if colours.ndim < 1 or colours.shape[-1] != 3:
        raise ValueError(f"colours have shape {colours.shape}, not [..., 3]")
    if (colours < 0).any() or (colours > 255).any():
        raise ValueError(f"colours reach from {np.nanmin(colours)} to {np.nanmax(colours)}, not 0 to 255")
    encoded = colours / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    ratio = linear @ _XYZ_FROM_RGB.T / _WHITE
    x, y, z = np.moveaxis(np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def delta_e(labs: np.ndarray, others: np.ndarray) -> np.ndarray:
    """CIEDE2000 differences [...] of CIELAB colours [..., 3]: 0 is the same, about 1 just visible, 100 black to white.

    Source: CIE 142-2001, as written down by Sharma, Wu and Dalal (Color Research & Application 30, 2005), whose
    numbers of equations are used here.

    Not to be trusted: beyond some 10, it ranks differences but two of 20 need not look equally far; it was fitted to
    small ones. A drawing's skin is no photo's skin: compare it with the ΔE of the nearest colour avatars come in.

    Raises:
      ValueError: the shapes differ, or the last axis is not 3.
    """
    if labs.shape != others.shape or labs.ndim < 1 or labs.shape[-1] != 3:
        raise ValueError(f"shapes are {labs.shape} and {others.shape}, not one of [..., 3]")
    lightness_1, a_1, b_1 = np.moveaxis(labs.astype(np.float64), -1, 0)
    lightness_2, a_2, b_2 = np.moveaxis(others.astype(np.float64), -1, 0)

    # Chroma and hue, with a* stretched for greys (2-7).
    mean_chroma = (np.hypot(a_1, b_1) + np.hypot(a_2, b_2)) / 2
    stretch = 1 + 0.5 * (1 - _saturation(mean_chroma))
    chroma_1, chroma_2 = np.hypot(stretch * a_1, b_1), np.hypot(stretch * a_2, b_2)
    hue_1 = np.degrees(np.arctan2(b_1, stretch * a_1)) % 360
    hue_2 = np.degrees(np.arctan2(b_2, stretch * a_2)) % 360

    # Differences (8-11): hues the short way around. A grey's hue has no effect, here or below: hue_distance is 0.
    hue_step = hue_2 - hue_1
    hue_step = np.where(np.abs(hue_step) <= 180, hue_step, hue_step - 360 * np.sign(hue_step))
    lightness_step = lightness_2 - lightness_1
    chroma_step = chroma_2 - chroma_1
    hue_distance = 2 * np.sqrt(chroma_1 * chroma_2) * np.sin(np.radians(hue_step / 2))

    # Means (12-14), of hues the one between them.
    lightness = (lightness_1 + lightness_2) / 2
    chroma = (chroma_1 + chroma_2) / 2
    hue = _mean_hue(hue_1, hue_2)

    # Weights (15-21) and the difference (22).
    hue_weight = (
        1
        - 0.17 * np.cos(np.radians(hue - 30))
        + 0.24 * np.cos(np.radians(2 * hue))
        + 0.32 * np.cos(np.radians(3 * hue + 6))
        - 0.20 * np.cos(np.radians(4 * hue - 63))
    )
    rotation = 30 * np.exp(-(((hue - 275) / 25) ** 2))
    l_term = lightness_step / (1 + 0.015 * (lightness - 50) ** 2 / np.sqrt(20 + (lightness - 50) ** 2))
    c_term = chroma_step / (1 + 0.045 * chroma)
    h_term = hue_distance / (1 + 0.015 * chroma * hue_weight)
    cross = -2 * _saturation(chroma) * np.sin(np.radians(2 * rotation))
    return np.sqrt(l_term**2 + c_term**2 + h_term**2 + cross * c_term * h_term)


def individual_typology_angle(labs: np.ndarray) -> np.ndarray:
    """ITA [...] of skin colours in CIELAB [..., 3]: the angle in degrees of (L* − 50) over b*, the larger the lighter.

    Source: Chardon, Cretois and Hourseau, International Journal of Cosmetic Science 13 (1991). Skin lies within ±90°.
    For b* under 0 the angle goes on beyond ±90°, where the paper's arctan would call the palest skin the darkest.

    Not to be trusted: for a single photo, since it was made for a skin meter and follows the light and the exposure
    as much as the skin; for b* near 0, which is no skin's.

    Raises:
      ValueError: the last axis is not 3.
    """
    if labs.ndim < 1 or labs.shape[-1] != 3:
        raise ValueError(f"colours have shape {labs.shape}, not [..., 3]")
    return np.degrees(np.arctan2(labs[..., 0] - 50, labs[..., 2]))


def ita_group(angle: float) -> str:
    """The name of the skin tone group of an ITA in degrees, one of `ITA_GROUPS`, or "unknown" for NaN.

    Source: Chardon et al. as above: very light > 55 ≥ light > 41 ≥ intermediate > 28 ≥ tan > 10 ≥ brown > −30 ≥ dark.
    """
    if np.isnan(angle):
        return _UNKNOWN_GROUP
    return ITA_GROUPS[int(np.searchsorted(_ITA_BOUNDS, angle, side="left"))]


def _saturation(chroma: np.ndarray) -> np.ndarray:
    return np.sqrt(chroma**7 / (chroma**7 + 25.0**7))


def _mean_hue(hue_1: np.ndarray, hue_2: np.ndarray) -> np.ndarray:
    total = hue_1 + hue_2
    wrapped = np.where(total < 360, total + 360, total - 360)
    return np.where(np.abs(hue_1 - hue_2) <= 180, total, wrapped) / 2
