"""One photo to avatars as PNG files in memory."""

import dataclasses
import io

import numpy as np
from PIL import Image

from bitmoji_jax.data.images import load_photo
from bitmoji_jax.inference.translator import Portrait, Translator
from bitmoji_jax.web.problems import MAX_PIXELS


@dataclasses.dataclass(frozen=True, eq=False)
class Avatar:
    """A `Portrait`, encoded."""

    crop: bytes
    """PNG, the face as it was translated."""
    image: bytes
    """PNG."""
    confidence: float
    quality: float
    warnings: tuple[str, ...]


def make_avatars(translator: Translator, photo: bytes, *, all_faces: bool, force: bool) -> list[Avatar]:
    """Decodes, finds faces, translates and encodes.

    Raises:
      UnusableImageError: there is no image, or it has more than `MAX_PIXELS`.
      FaceError: there is no face that can be used.
    """
    pixels = load_photo(photo, max_pixels=MAX_PIXELS)
    return [_encoded(portrait) for portrait in translator.portraits(pixels, all_faces=all_faces, force=force)]


def _encoded(portrait: Portrait) -> Avatar:
    return Avatar(
        crop=_png(portrait.crop),
        image=_png(portrait.avatar),
        confidence=portrait.confidence,
        quality=portrait.quality,
        warnings=portrait.warnings,
    )


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()
