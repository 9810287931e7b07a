"""The errors of a request, with messages for the person who sent it."""

import dataclasses

from bitmoji_jax.data.images import UnusableImageError
from bitmoji_jax.faces.align import FaceError, Reason

MAX_BYTES = 20_000_000  # a JPEG of 50 million pixels, as the largest of today's phones make them
MAX_PIXELS = 51_000_000  # the same; files that are translated by the command may have 300 million

IMAGE_ERRORS = {
    "too large": (
        413,
        "too_many_pixels",
        f"This picture has more than {MAX_PIXELS // 10**6} million pixels. Make it smaller first.",
    ),
    "truncated": (
        415,
        "truncated",
        "This picture is incomplete: the file ends early. Copy or download it again.",
    ),
    "not an image": (
        415,
        "not_an_image",
        "This file is not a picture. Choose a photo: JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP or TIFF.",
    ),
    "unreadable": (
        415,
        "unreadable",
        "This picture can't be read: it is damaged, or of an unusual kind. Save it as a JPEG.",
    ),
}
"""Status, code and message by the reason of an `UnusableImageError`."""
NO_PHOTO = "No photo came with this. Choose one first."
FAILED = "Something went wrong here, and it is not your photo's fault. Try another one."


@dataclasses.dataclass(eq=False)
class RequestError(Exception):
    """A request that gets no avatar."""

    status: int
    """HTTP status."""
    code: str
    """The kind of error, for programs."""
    message: str
    """What is wrong and what to do, in sentences."""
    retry_after: int | None = None
    """Seconds after which the same request may succeed."""


def bad_request(message: str) -> RequestError:
    """Returns the error for a request that is not one of those that the documentation describes."""
    return RequestError(400, "bad_request", message)


def too_many_bytes() -> RequestError:
    """Returns the error for a body of more than `MAX_BYTES`."""
    message = f"This file is larger than {MAX_BYTES // 10**6} MB. Save the photo smaller, or as a JPEG."
    return RequestError(413, "too_many_bytes", message)


def unusable_photo(error: UnusableImageError | FaceError) -> RequestError:
    """Returns the error for a body without an image, or an image without a usable face (status 422)."""
    if isinstance(error, FaceError):
        return RequestError(422, fault_code(error.reason), sentence(error.detail))
    return RequestError(*IMAGE_ERRORS.get(error.reason, IMAGE_ERRORS["unreadable"]))


def fault_code(reason: Reason) -> str:
    """Returns the code for programs of a face's fault."""
    return reason.replace(" ", "_")


def sentence(text: str) -> str:
    """Turns a one-line message of a command into a sentence."""
    return text[:1].upper() + text[1:].rstrip(".") + "."
