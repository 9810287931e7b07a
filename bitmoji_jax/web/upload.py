"""Reads photos from requests, into memory and nowhere else."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator

from aiohttp import BodyPartReader, StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError

from bitmoji_jax.web.errors import MAX_BYTES, NO_PHOTO, RequestError, bad_request, too_many_bytes
from bitmoji_jax.web.page import EXAMPLES, read_file

_SECONDS = 30.0  # for a body to arrive
_CHUNK = 1 << 18
_FIELDS = 8  # more than the page's form has
_FIELD_BYTES = 100


@dataclasses.dataclass(frozen=True)
class Upload:
    """A photo, and the options of `Translator.portraits` that came with it."""

    photo: bytes
    all_faces: bool
    force: bool


async def read_body(request: web.Request) -> Upload:
    """Reads a photo from the body itself, or from a form (`curl -F file=@me.jpg`), and the options from the query.

    Raises:
      RequestError: it is empty, too large or too slow, or an option is neither 0 nor 1.
    """
    options = {name: request.query.get(name, "0") for name in ("all_faces", "force")}
    if not set(options.values()) <= {"0", "1"}:
        raise bad_request("The options all_faces and force are 0 or 1.")
    chosen = {name: value == "1" for name, value in options.items()}
    if request.content_type == "multipart/form-data":
        upload = await read_form(request)
        return Upload(upload.photo, upload.all_faces or chosen["all_faces"], upload.force or chosen["force"])
    async with _limits(request):
        photo = await _read_all(request.content)
    return _upload(photo, **chosen)


async def read_form(request: web.Request) -> Upload:
    """Reads a form of one file or the field `example` (a name), and of the options, which are on unless 0.

    Raises:
      RequestError: it is empty, too large or too slow, or not the page's form.
    """
    if request.content_type != "multipart/form-data":
        raise bad_request("This is not the form of this page.")
    try:
        async with _limits(request):
            fields = await _read_fields(request)
    except (ValueError, RuntimeError, HttpProcessingError) as error:  # what aiohttp raises on a broken form
        raise bad_request("The form arrived broken. Try again.") from error
    photo = bytes(fields.get("photo", b""))
    if (example := fields.get("example")) is not None:
        name = example.decode(errors="replace")
        if name not in EXAMPLES:
            raise bad_request("There is no such example.")
        photo = read_file(f"examples/{name}.jpg")
    return _upload(photo, **{name: fields.get(name, b"0") != b"0" for name in ("all_faces", "force")})


def _upload(photo: bytes, *, all_faces: bool, force: bool) -> Upload:
    if not photo:
        raise bad_request(NO_PHOTO)
    return Upload(photo, all_faces, force)


@contextlib.asynccontextmanager
async def _limits(request: web.Request) -> AsyncIterator[None]:
    """Raises a `RequestError` if the request announces too large a body, or if reading it takes too long."""
    if (request.content_length or 0) > MAX_BYTES + _CHUNK:  # a form is a little larger than its photo
        raise too_many_bytes()
    try:
        async with asyncio.timeout(_SECONDS):
            yield
    except TimeoutError:
        message = "The photo took too long to arrive. Try again, or send a smaller one."
        raise RequestError(408, "upload_too_slow", message) from None


async def _read_all(stream: StreamReader) -> bytes:
    body = bytearray()
    async for chunk in stream.iter_chunked(_CHUNK):
        body += chunk
        if len(body) > MAX_BYTES:
            raise too_many_bytes()
    return bytes(body)


async def _read_fields(request: web.Request) -> dict[str, bytearray]:
    """Reads a form, whose file becomes `photo`; aiohttp's own `Request.post` would write it to the disk."""
    fields: dict[str, bytearray] = {}
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or part.name is None or len(fields) == _FIELDS:
            raise ValueError("not the page's form")
        name = part.name if part.filename is None else "photo"
        limit = MAX_BYTES if name == "photo" else _FIELD_BYTES
        field = fields[name] = bytearray()
        while chunk := await part.read_chunk(_CHUNK):
            field += chunk
            if len(field) > limit:
                raise too_many_bytes()
    return fields
