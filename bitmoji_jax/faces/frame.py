"""Photos of any framing, framed for a dataset as `Translator` frames them; `prepare` takes these functions."""

import math
from pathlib import Path

import numpy as np

from bitmoji_jax.data.framing import Framed
from bitmoji_jax.data.images import Framing, UnusableImageError, load_photo, load_square, read_orientation
from bitmoji_jax.faces.align import FaceError, align, five_points
from bitmoji_jax.faces.matte import on_white, person_matte
from bitmoji_jax.ops.background import white_border

_LEAST_PERSON = 0.1  # of a square in which a person is cut out; the face alone is about 0.3


def aligned_frame(path: Path, size: int, *, cut_out: bool) -> Framed:
    """Frames the largest face in a photo by `align`, with its landmarks by the mesh.

    Raises:
      UnusableImageError: there is no image, no face or none without faults (`FaceError`), or the crop is less than half
        as large as `size`.
    """
    photo = load_photo(path)
    try:
        (face,) = align(photo, size=size, cut_out=cut_out)
    except FaceError as error:
        raise UnusableImageError(error.reason, error.detail) from None
    side = size * math.sqrt(np.linalg.det(face.matrix[:, :2]))
    if 2 * side < size:
        raise UnusableImageError(
            "too small", f"the face's square is {side:.0f} px, want at least {math.ceil(size / 2)}"
        )
    to_fractions = 1 / np.array(photo.shape[1::-1])[:, None]
    matrix = face.matrix * to_fractions * (size, size, 1)
    landmarks = np.linalg.solve(face.matrix[:, :2], (five_points(face.points) - face.matrix[:, 2]).T).T / size
    return Framed(face.image, Framing(read_orientation(path), matrix), landmarks.astype(np.float32))


def cut_out_frame(path: Path, size: int) -> Framed:
    """Takes the central square of a photo that is framed already, and puts the person in its middle on white.

    A square whose border is white already (`white_border`) is left as it is, since a second cut would only take more
    away.

    Raises:
      UnusableImageError: there is no image, or no person in the middle of it.
    """
    image, framing = load_square(path, size)
    if not white_border(image):
        matte = person_matte(image, np.eye(2, 3), size)
        if matte.mean() < _LEAST_PERSON:
            raise UnusableImageError("no person", "no person found in the middle: use a photo framed as a portrait")
        image = on_white(image, matte)
    return Framed(image, framing, None)
