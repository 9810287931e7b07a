"""What can be wrong with a request, in words for the person who sent it."""

import dataclasses

from bitmoji_jax.data.images import UnusableImageError
from bitmoji_jax.faces.align import FaceError

MAX_BYTES = 20_000_000  # a JPEG of 50 million pixels, as the largest of today's phones make them
MAX_PIXELS = 51_000_000  # the same; the decoder's own limit is 89 million

NO_FACE = 422
"""Status of a picture without a face that can be used."""

_KINDS = "JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP or TIFF"


@dataclasses.dataclass(eq=False)
class ProblemError(Exception):
    """A request that gets no avatar."""

    status: int
    """Of HTTP."""
    code: str
    """For programs."""
    message: str
    """What is wrong, and what to do."""
    retry_after: int | None = None
    """Seconds."""


def too_many_bytes() -> ProblemError:
    """The body is larger than `MAX_BYTES`."""
    return ProblemError(
        413,
        "too_many_bytes",
        f"This file is larger than {MAX_BYTES // 10**6} MB. Save the photo smaller, or as a JPEG.",
    )


def bad_request(what: str) -> ProblemError:
    """The request is not one of those that the README describes."""
    return ProblemError(400, "bad_request", what)


def no_photo() -> ProblemError:
    """A form or a body with nothing in it."""
    return bad_request("No photo came with this. Choose one first.")


def too_slow() -> ProblemError:
    """The body did not come in time."""
    return ProblemError(408, "upload_too_slow", "The photo took too long to arrive. Try again, or send a smaller one.")


def timed_out() -> ProblemError:
    """There was no result in time."""
    return ProblemError(504, "timed_out", "This took too long, and was given up. Try a smaller photo, or later.")


def busy(seconds: int) -> ProblemError:
    """The queue is full."""
    return ProblemError(503, "busy", f"Many photos are waiting already. Try again in {seconds} s.", seconds)


def failed() -> ProblemError:
    """A defect of ours."""
    return ProblemError(500, "failed", "Something went wrong here, and it is not your photo's fault. Try another one.")


def no_face(error: FaceError) -> ProblemError:
    """There is no face that can be used."""
    return ProblemError(NO_FACE, error.reason.replace(" ", "_"), sentence(error.detail))


def unusable(error: UnusableImageError) -> ProblemError:
    """There is no image in the body."""
    if error.reason == "too large":
        message = f"This picture has more than {MAX_PIXELS // 10**6} million pixels. Make it smaller first."
        return ProblemError(413, "too_many_pixels", message)
    if error.reason == "truncated":
        message = "This picture is incomplete: the file ends early. Copy or download it again."
        return ProblemError(415, "truncated", message)
    if error.reason == "not an image":
        return ProblemError(415, "not_an_image", f"This file is not a picture. Choose a photo: {_KINDS}.")
    message = "This picture can't be read: it is damaged, or of an unusual kind. Save it as a JPEG."
    return ProblemError(415, "unreadable", message)


def sentence(text: str) -> str:
    """A line for a terminal as a sentence of its own."""
    return text[:1].upper() + text[1:].rstrip(".") + "."
