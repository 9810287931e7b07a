"""Reads photos from requests, into memory and nowhere else."""

import asyncio
import contextlib
import dataclasses
import re
from collections.abc import AsyncIterator, Mapping, Sequence

from aiohttp import BodyPartReader, StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError

from bitmoji_jax.inference.look import Look, parse_colour
from bitmoji_jax.web.errors import MAX_BYTES, NO_PHOTO, RequestError, bad_request, too_many_bytes
from bitmoji_jax.web.page import EXAMPLES, read_file

_SECONDS = 30.0  # for a body to arrive
_CHUNK = 1 << 18
_FIELDS = 16  # more than the page's form has
_FIELD_BYTES = 100
_OPTIONS = ("all_faces", "force", "transparent", "sticker")
_VARIANTS = re.compile("[123](,[123]){0,2}")
_LOOK = ("gender", "skin", "hair", "glasses", "mouth", "hat")


@dataclasses.dataclass(frozen=True)
class Upload:
    """A photo, and the options that came with it: those of `Translator.portraits`, and of what is returned."""

    photo: bytes
    look: Look
    variants: Sequence[int]
    """None of them: the first only."""
    all_faces: bool
    force: bool
    transparent: bool
    """Whether avatars come without their background."""
    sticker: bool
    """Whether each avatar comes with its sticker."""


async def read_body(request: web.Request) -> Upload:
    """Reads a photo from the body itself, or from a form (`curl -F file=@me.jpg`), and the options from the query.

    Raises:
      RequestError: it is empty, too large or too slow, or an option has another form.
    """
    values = {name: request.query.get(name, "0") for name in _OPTIONS}
    if not set(values.values()) <= {"0", "1"}:
        raise bad_request("The options all_faces, force, transparent and sticker are 0 or 1.")
    options = {name: value == "1" for name, value in values.items()}
    look, variants = _look(request.query), _variants(request.query.get("variants", ""))
    if request.content_type == "multipart/form-data":
        upload = await read_form(request)
        options = {name: on or getattr(upload, name) for name, on in options.items()}
        return Upload(upload.photo, look.but(upload.look), upload.variants or variants, **options)
    async with _limits(request):
        photo = await _read_all(request.content)
    return _upload(photo, look, variants, options)


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
    options = {name: fields.get(name, b"0") != b"0" for name in _OPTIONS}
    texts = {name: fields.get(name, b"").decode(errors="replace") for name in (*_LOOK, "variants")}
    return _upload(photo, _look(texts), _variants(texts["variants"]), options)


def _upload(photo: bytes, look: Look, variants: Sequence[int], options: Mapping[str, bool]) -> Upload:
    if not photo:
        raise bad_request(NO_PHOTO)
    return Upload(photo, look, variants, **options)


def _variants(text: str) -> Sequence[int]:
    """The variants that a field names, each once."""
    if text and not _VARIANTS.fullmatch(text):
        raise bad_request("The option variants names some of 1, 2 and 3, as in 2,3.")
    return [int(number) for number in dict.fromkeys(text.split(","))] if text else []


def _look(values: Mapping[str, str]) -> Look:
    """The look that fields ask for; one that is empty or absent is as the photo says."""
    gender, *colours, glasses, mouth, hat = (values.get(name) or None for name in _LOOK)
    if gender not in (None, "female", "male"):
        raise bad_request("The gender is female or male.")
    worn = {"glasses": glasses, "hat": hat}
    for name, text in worn.items():
        if text not in (None, "0", "1"):
            raise bad_request(f"The option {name} is 0 or 1.")
    if mouth not in (None, "open", "closed"):
        raise bad_request("The mouth is open or closed.")
    try:
        skin, hair = (None if text is None else parse_colour(text) for text in colours)
    except ValueError:
        raise bad_request("A colour is written as in #c68642.") from None
    chosen = {name: text and text == "1" for name, text in worn.items()}
    return Look(gender, skin, hair, mouth=mouth, **chosen)  # type: ignore[arg-type]


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
