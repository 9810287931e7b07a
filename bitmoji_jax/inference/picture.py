"""Pictures of avatars for people: without their background, and beside their photos."""

from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy import ndimage

from bitmoji_jax.ops.background import white_background

_WHITE = 235  # grey level from which all three channels make a pixel background, where it touches the border
_SIZE_PER_EDGE = 80  # pixels a side for each pixel that the mixtures at an edge are wide, at least one
_LEAST_TILE = 128  # pixels a side in a sheet; larger avatars are shown whole
_PAIRS_ACROSS = 3
_GAP = 8


def transparent(avatar: np.ndarray) -> np.ndarray:
    """Removes the white around an avatar: uint8 [S, S, 3] -> uint8 [S, S, 4], with an alpha channel.

    What is white inside, eyes and teeth, stays. Pixels at the edge are mixtures with white: they become partly
    transparent, and their colour is what was mixed, so that no pale seam shows on a dark page. What nearly white
    surroundings lack of white stays as a faint shade. On white the avatar is what it was, within a grey level.
    """
    rgb = avatar.astype(np.float32)
    background = white_background(rgb, _WHITE)
    lightness = rgb.min(axis=-1)
    width = max(1, len(avatar) // _SIZE_PER_EDGE)
    edge = ndimage.binary_dilation(background) & ~background
    for _ in range(width - 1):  # a wider edge goes on where it still darkens: not beyond a thin outline
        outer = ndimage.maximum_filter(np.where(edge | background, lightness, 0), 3)
        edge |= ~background & (lightness < outer)
    # As if the edge were a mixture of white and the darkest of its colour nearby, which leaves outlines whole.
    inside = ndimage.minimum_filter(np.where(background, 255, lightness), 2 * width + 1)
    alpha = np.where(background, 255 - lightness, 255)
    # Rounded up: a lower one would ask for colours darker than black.
    alpha[edge] = np.ceil(255 * (255 - lightness[edge]) / (255 - inside[edge]))
    colour = 255 - (255 - rgb) * 255 / np.maximum(alpha, 1)[..., None]
    return np.rint(np.dstack([colour, alpha])).astype(np.uint8)


def before_after(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Image.Image:
    """Draws a sheet of crops, each left of its avatar, uint8 [H, H, 3] of any size; three pairs across.

    All have the size of the largest avatar, or 128 pixels where that is smaller.
    """
    size = max([_LEAST_TILE, *(len(avatar) for _, avatar in pairs)])
    rows = -(-len(pairs) // _PAIRS_ACROSS)
    across = min(_PAIRS_ACROSS, len(pairs))
    sheet = Image.new("RGB", (across * (2 * size + _GAP) + _GAP, rows * (size + _GAP) + _GAP), "white")
    for index, pair in enumerate(pairs):
        row, column = divmod(index, _PAIRS_ACROSS)
        left, top = _GAP + column * (2 * size + _GAP), _GAP + row * (size + _GAP)
        for side, picture in enumerate(pair):
            tile = Image.fromarray(picture).resize((size, size), Image.Resampling.LANCZOS)
            sheet.paste(tile, (left + side * size, top))
    return sheet
