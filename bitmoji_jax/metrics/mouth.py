"""Whether a mouth is open: in photos by the points of the lips, in real avatars by their teeth."""

import numpy as np

from bitmoji_jax.ops.image import check_images

_INNER_LIPS, _CORNERS = (13, 14), (61, 291)  # of the 468-point mesh
_CLOSED, _OPEN = 0.04, 0.1  # of the mouth's width; between them some lips are closed and some show teeth

# The place of the teeth in the mouth's own frame: the origin between the corners, u to the right and v down, both in
# widths of the mouth.
_TEETH_U, _TEETH_V = 0.4, (-0.15, 0.45)
_TEETH_WHITE = 245  # teeth are pure white; the palest skin and white beards are not
_LEAST_TEETH = 0.003  # of the square of the mouth's width: open mouths have 0.02, closed ones none
_LEAST_SIZE = 128  # pixels; in smaller images teeth are blurred with the lines around them


def lips_apart(points: np.ndarray) -> np.ndarray:
    """Tells open mouths of photos from the points of the mesh: float64 [N], 1 open, 0 closed, NaN unsure.

    The measure is the distance of the inner lips (points 13 and 14) over that of the corners (61 and 291): open above
    0.1, closed below 0.04. Of 100 labelled test photos looked at, most of them near a limit, four were wrong or
    doubtful. Points are [N, 468 or more, 2 or more] in any unit; ValueError otherwise.

    Not to be trusted: for avatars, where closed mouths have 0.01 to 0.18 and open ones 0.11 to 0.24; for heads seen
    from the side.
    """
    if points.ndim != 3 or points.shape[1] < 468 or points.shape[2] < 2:
        raise ValueError(f"points have shape {points.shape}, not [N, 468, 2]")

    def distance(pair: tuple[int, int]) -> np.ndarray:
        return np.linalg.norm(points[:, pair[0], :2].astype(np.float64) - points[:, pair[1], :2], axis=-1)

    opening, width = distance(_INNER_LIPS), distance(_CORNERS)
    return np.select([opening > _OPEN * width, opening < _CLOSED * width], [1.0, 0.0], np.nan)


def shows_teeth(images: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Tells open mouths of real bitmojis by their teeth: float64 [N], 1 open, 0 closed.

    An open mouth has white pixels (all channels above 245) below the line between its corners, on more than 0.3 % of
    the square of its width. NaN where a corner is unknown, or both coincide, and for images of less than 128 px. Images
    are uint8 [N, S, S, 3], landmarks [N, 5, 2] as those of `face_colour`; ValueError otherwise. Of 3,652 bitmojis 40 %
    are open; of those near the limit one, of the palest skin, is labelled wrongly.

    Not to be trusted: for anything but drawings with pure white teeth, so neither for generated avatars nor for photos.
    """
    check_images(images)
    if landmarks.shape != (len(images), 5, 2):
        raise ValueError(f"landmarks have shape {landmarks.shape}, not [{len(images)}, 5, 2]")
    size = images.shape[1]
    found = np.full(len(images), np.nan)
    if size < _LEAST_SIZE:
        return found
    x, y = np.meshgrid(*[np.arange(size) + 0.5] * 2)
    for index, (image, points) in enumerate(zip(images, landmarks.astype(np.float64) * size, strict=True)):
        left, right = points[3:]
        across = right - left
        width = np.hypot(*across)
        if not width > 0:  # or NaN
            continue
        (dx, dy), (mid_x, mid_y) = across / width**2, (left + right) / 2
        u, v = (x - mid_x) * dx + (y - mid_y) * dy, (y - mid_y) * dx - (x - mid_x) * dy
        mouth = (np.abs(u) < _TEETH_U) & (v > _TEETH_V[0]) & (v < _TEETH_V[1])
        white = (image.min(axis=-1) > _TEETH_WHITE) & mouth
        found[index] = white.sum() > _LEAST_TEETH * width**2
    return found
