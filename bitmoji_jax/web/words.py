"""What the page says in more than one place: by the server, by its script, and by the page that needs no server."""

from collections.abc import Mapping, Sequence
from typing import Any

from bitmoji_jax.faces.align import FAULTS
from bitmoji_jax.web.errors import (
    FAILED,
    IMAGE_ERRORS,
    MAX_BYTES,
    MAX_PIXELS,
    NO_PHOTO,
    fault_code,
    sentence,
    too_many_bytes,
)

Grades = Sequence[tuple[float, str]]
"""The least value of each grade, and its words; the highest first."""

CONFIDENCE: Grades = ((0.8, "clear"), (0.5, "usable"), (0.0, "none, or hard to make out"))
QUALITY: Grades = ((0.5, "nothing unusual noticed"), (0.0, "unusual: look twice before you use it"))
NOT_LOADED = "What makes the avatars could not be loaded. Is there a network? Then try again."
FORCE = "Or tick “Try even if the face is hard to use”, and see."


def grade(value: float, grades: Grades) -> str:
    """Returns the words for a value of 0 or more."""
    return next(words for least, words in grades if value >= least)


def page_words() -> Mapping[str, Any]:
    """Returns what the page's script needs to say the same as the server, for JSON."""
    errors = {code: message for _, code, message in IMAGE_ERRORS.values()}
    return {
        "maxBytes": MAX_BYTES,
        "maxPixels": MAX_PIXELS,
        "confidence": CONFIDENCE,
        "quality": QUALITY,
        "force": FORCE,
        "errors": errors
        | {
            "too_many_bytes": too_many_bytes().message,
            "no_photo": NO_PHOTO,
            "failed": FAILED,
            "not_loaded": NOT_LOADED,
        },
        "faults": {fault_code(reason): sentence(text) for reason, text in FAULTS.items()},
    }
