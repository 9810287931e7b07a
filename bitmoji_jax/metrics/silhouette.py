"""The outline of a head on white, and heads whose outline is cut flat, as those of tightly cropped photos."""

import numpy as np
from scipy import ndimage

from bitmoji_jax.ops.background import white_background
from bitmoji_jax.ops.image import check_images

HEAD = 0.8
"""The part of an image's height that a head is compared in: below are neck and shoulders."""

_WHITE = 180  # threshold of a white background: faint clouds are no part of a head, and outlines are darker
_OUTERMOST = 0.06  # of the head's height or width

# Around a face, in distances between the eyes and from the eyes to the mouth: just above the brows, at the ears, at the
# chin.
_EARS_U, _BROWS_V, _CHIN_V = 1.1, -0.65, 1.8


def silhouette(image: np.ndarray) -> np.ndarray:
    """Finds the largest connected area that is not white background: bool [S, S] of uint8 [S, S, 3]."""
    areas, count = ndimage.label(~white_background(image, _WHITE))
    if not count:
        return np.zeros(image.shape[:2], bool)
    return areas == 1 + np.argmax(np.bincount(areas.ravel())[1:])


def flatness(images: np.ndarray) -> np.ndarray:
    """Measures how flat a head ends at the top, left and right: float64 [N, 3], 0 to 1.

    The head is the silhouette in the upper 80 % of the image. At the top, this is the longest run of it within the
    uppermost 6 % of its height, over its width; at the sides likewise, over its height. A circle has 0.47, a square 1;
    where the head reaches the image's edge it ends by the framing, and has 0. Images are uint8 [N, S, S, 3]; ValueError
    otherwise.

    Not to be trusted: alone, since hats and long hair are flat too: compare with real avatars (`cut_flat`); where a
    background reaches the edge with the head.
    """
    check_images(images)
    found = np.zeros((len(images), 3))
    for index, image in enumerate(images):
        head = silhouette(image)[: round(HEAD * len(image))]
        rows, columns = np.flatnonzero(head.any(axis=1)), np.flatnonzero(head.any(axis=0))
        if not len(rows):
            continue
        at_edge = [head[0].any(), head[:, 0].any(), head[:, -1].any()]
        head = head[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        found[index] = np.where(at_edge, 0, [_end(side) for side in (head, head.T, head.T[::-1])])
    return found


def cut_flat(images: np.ndarray, reals: np.ndarray) -> np.ndarray:
    """Finds heads that end flatter at the top or at a side than 99 % of real avatars: bool [N].

    Both are uint8 [N, S, S, 3] of one S; ValueError otherwise, and for no real avatars. Of the real avatars themselves
    up to 3 % count as cut, 1 % for each side.
    """
    if not len(reals) or images.shape[1:] != reals.shape[1:]:
        raise ValueError(f"shapes are {images.shape} and {reals.shape}, not [N, S, S, 3] and one or more [M, S, S, 3]")
    return (flatness(images) > np.quantile(flatness(reals), 0.99, axis=0)).any(axis=1)


def crop_tightly(photos: np.ndarray, landmarks: np.ndarray, fill: int | None) -> np.ndarray:
    """Leaves of each photo only the face from the brows to the chin and from ear to ear: uint8 [N, S, S, 3].

    The face keeps its place. Around it is the level `fill`, as after a cut-out, or for None the photo's edge repeated,
    as `faces.align` frames a photo that ends there. Photos whose eyes or mouth corners are unknown, or are no upright
    face, stay as they are.
    Photos are uint8 [N, S, S, 3], landmarks [N, 5, 2] as for `skin_colour`; ValueError otherwise.
    """
    check_images(photos)
    if landmarks.shape != (len(photos), 5, 2):
        raise ValueError(f"landmarks have shape {landmarks.shape}, not [{len(photos)}, 5, 2]")
    size = photos.shape[1]
    cropped = photos.copy()
    for image, photo, points in zip(cropped, photos, landmarks.astype(np.float64) * size, strict=True):
        left_eye, right_eye, _, *mouth = points
        if not np.isfinite([left_eye, right_eye, *mouth]).all():
            continue
        (x, y), across = (left_eye + right_eye) / 2, np.hypot(*(right_eye - left_eye))
        down = np.mean(mouth, axis=0)[1] - y
        if not across or down <= 0:
            continue
        box = np.array([x - _EARS_U * across, x + _EARS_U * across, y + _BROWS_V * down, y + _CHIN_V * down])
        left, right, top, bottom = np.clip(np.rint(box).astype(int), 0, size)
        outside = ((top, size - bottom), (left, size - right), (0, 0))
        part = photo[top:bottom, left:right]
        image[:] = np.pad(part, outside, mode="edge") if fill is None else np.pad(part, outside, constant_values=fill)
    return cropped


def _end(head: np.ndarray) -> float:
    """The longest run in the first 6 % of rows of a bool array [H, W], over W."""
    count = max(1, round(_OUTERMOST * len(head)))
    row = np.flatnonzero(np.diff(np.pad(head[:count].any(axis=0).astype(np.int8), 1)))
    return float((row[1::2] - row[::2]).max() / head.shape[1])
