"""The white background of a picture."""

import numpy as np
from scipy import ndimage


def white_background(image: np.ndarray, threshold: float) -> np.ndarray:
    """Finds the nearly white pixels that nearly white pixels connect with the border, sideways or up and down.

    The image is [H, W, 3], 0 to 255, the result bool [H, W]; `threshold` is the least value of the darkest channel of a
    nearly white pixel. White hair within an outline, teeth and eyes are not found.

    Not to be trusted: for a person in white that reaches the border, nor for white hair in a photo.
    """
    areas, _ = ndimage.label(image.min(axis=-1) >= threshold)
    at_border = np.concatenate([areas[0], areas[-1], areas[:, 0], areas[:, -1]])
    return np.isin(areas, at_border[at_border > 0])
