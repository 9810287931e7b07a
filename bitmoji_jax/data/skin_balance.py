"""Photos of dark skin drawn more often, where a dataset has few of them.

The tone is the individual typology angle (ITA): the angle in degrees of (L* - 50) over b* of the skin's colour in
CIELAB; the lighter the skin, the larger (Chardon, Cretois and Hourseau, International Journal of Cosmetic Science 13,
1991). They call skin brown from 10 to -30 degrees, and dark below; both are dark here. In a photo the angle depends on
light and exposure too, so that a few photos are drawn for their shadows.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bitmoji_jax.errors import InputError

_DARK = 10.0  # degrees
_SHARE = 0.25  # of the draws
_MOST_REPEATS = 8  # of a photo: more, and the discriminator would know a few photos by heart


def skin_itas(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Reads the ITA of the rows of a split: float64 [N], in degrees, NaN where unknown.

    It is the attribute `ita` or, where that is unknown, computed from `skin_r`, `skin_g` and `skin_b` (sRGB, 0 to 255).
    """
    from bitmoji_jax.ops.colour import individual_typology_angle, srgb_to_lab  # slow to import, and seldom needed

    names = ("ita", "skin_r", "skin_g", "skin_b")
    values = np.full((len(rows), len(names)), np.nan)
    for i in range(len(rows)):
        attributes = rows[i].get("attributes", {})
        values[i] = [np.nan if isinstance(value := attributes.get(n, np.nan), bytes) else value for n in names]
    itas, colours = values[:, 0], values[:, 1:]
    colours = np.where((colours >= 0) & (colours <= 255), colours, np.nan)
    return np.where(np.isfinite(itas), itas, individual_typology_angle(srgb_to_lab(colours)))


def balanced_draws(itas: np.ndarray) -> list[int]:
    """Lists the indices of photos, by their ITA [N], as often as each is to be drawn in one pass over them.

    Photos under 10 degrees are repeated until they are a quarter of the list, at most 8 times. All others are in it
    once, those of unknown tone too.

    Raises:
      InputError: the tone of every photo is unknown.
    """
    if np.isnan(itas).all():
        raise InputError(
            "data.balance_skin: no photo in the dataset has a known skin tone: make it anew with `prepare --align`, or "
            "with a table that has a column ita, or landmarks; or leave data.balance_skin out"
        )
    dark = itas < _DARK
    others = int((~dark).sum())
    # The least number of repeats r with r * dark / (r * dark + others) >= the share.
    wanted = math.ceil(_SHARE * others / ((1 - _SHARE) * max(dark.sum(), 1)))
    repeats = np.where(dark, min(max(wanted, 1), _MOST_REPEATS), 1)
    return np.repeat(np.arange(len(itas)), repeats).tolist()
