"""What a photo's background leaves in an avatar: backgrounds drawn behind people, and the measure of what remains."""

import numpy as np
from scipy import ndimage

from bitmoji_jax.metrics.silhouette import HEAD, silhouette
from bitmoji_jax.ops.background import white_background
from bitmoji_jax.ops.image import check_images

RESIDUE = 0.02
"""The share of pixels beside a head, not nearly white, above which residue is visible; see benchmarks/NOTES.md."""

_WHITE = 245  # threshold of a white background in photos; lower ones lead into bright skin
_NEARLY_WHITE = 228  # the least darkest channel of a nearly white pixel of an avatar
_MARGIN = 1 / 16  # of the side: hair may grow by that much without counting as residue
_SCALES = (2, 5, 16)  # waves of the noise along a side: light, walls and furniture, leaves
_AMPLITUDES = (40, 25, 12)  # grey levels


def natural_backgrounds(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Draws backgrounds: a gradient between two dull colours, and smooth noise of three scales.

    Returns uint8 [count, size, size, 3]; the same seed gives the same images, at another size nearly so.
    """
    rng = np.random.default_rng(seed)
    down, across = (np.mgrid[:size, :size] + 0.5) / size - 0.5
    images = np.empty((count, size, size, 3), np.uint8)
    for image in images:
        angle, colours = rng.uniform(0, 2 * np.pi), rng.uniform(30, 200, (2, 1)) + rng.uniform(-25, 25, (2, 3))
        share = np.clip(0.5 + np.cos(angle) * across + np.sin(angle) * down, 0, 1)[..., None]
        levels = colours[0] + share * (colours[1] - colours[0])
        for waves, amplitude in zip(_SCALES, _AMPLITUDES, strict=True):
            knots = rng.normal(0, 1, (waves + 3, waves + 3, 1)) + 0.2 * rng.normal(0, 1, (waves + 3, waves + 3, 3))
            places = np.stack([waves * (down + 0.5) + 1, waves * (across + 0.5) + 1])
            noise = [ndimage.map_coordinates(knots[..., c], places, order=3, mode="nearest") for c in range(3)]
            levels = levels + amplitude * np.stack(noise, axis=-1)
        image[:] = np.rint(np.clip(levels, 0, 255))
    return images


def replace_background(photos: np.ndarray, backgrounds: np.ndarray) -> np.ndarray:
    """Puts `backgrounds` in place of the white around people; both uint8 [N, S, S, 3], and so is the result.

    The white is taken away up to a pixel inside the person, so that no bright edge is left, and blended over two.
    ValueError for other shapes.

    Not to be trusted: for a person in white that reaches the border, who becomes background too.
    """
    check_images(photos)
    if photos.shape != backgrounds.shape:
        raise ValueError(f"shapes are {photos.shape} and {backgrounds.shape}, not one of [N, S, S, 3]")
    composed = np.empty_like(photos)
    for index, (photo, background) in enumerate(zip(photos, backgrounds, strict=True)):
        white = ndimage.binary_dilation(white_background(photo, _WHITE), iterations=1)
        alpha = ndimage.gaussian_filter(white.astype(np.float32), 0.7, mode="nearest")[..., None]
        composed[index] = np.rint(alpha * background + (1 - alpha) * photo)
    return composed


def background_residue(avatars: np.ndarray, avatars_on_white: np.ndarray) -> np.ndarray:
    """Computes the share of pixels beside the head that are not nearly white, of the pixels beside it: float64 [N].

    Both are uint8 [N, S, S, 3], of the same people: made from photos with a background, and from those photos on white.
    Beside the head is what is more than S/16 from the silhouette of the avatar made on white, in the upper 80 % of the
    image, since shoulders are not background; 0 where nothing is. ValueError for other shapes.

    Not to be trusted: where the two avatars have different hair, which counts as residue beyond that margin.
    """
    check_images(avatars)
    if avatars.shape != avatars_on_white.shape:
        raise ValueError(f"shapes are {avatars.shape} and {avatars_on_white.shape}, not one of [N, S, S, 3]")
    margin = max(1, round(_MARGIN * avatars.shape[1]))
    shares = np.zeros(len(avatars))
    for index, (avatar, reference) in enumerate(zip(avatars, avatars_on_white, strict=True)):
        beside = ~ndimage.binary_dilation(silhouette(reference), iterations=margin)
        beside[round(HEAD * len(beside)) :] = False
        if beside.any():
            shares[index] = (avatar[beside].min(axis=-1) < _NEARLY_WHITE).mean()
    return shares
