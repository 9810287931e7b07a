"""Photos out of requests, into memory and nowhere else."""

import asyncio
import dataclasses
from collections.abc import Coroutine
from typing import Any, TypeVar

from aiohttp import BodyPartReader, StreamReader, web

from bitmoji_jax.web import problems
from bitmoji_jax.web.problems import MAX_BYTES

_SECONDS = 30.0  # for a body to arrive
_CHUNK = 1 << 18
_FIELDS = 8  # more than the page's form has
_FIELD_BYTES = 100

_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True)
class Wish:
    """What a request asks for."""

    photo: bytes = b""
    example: str | None = None
    """Name of an example that takes the place of the photo."""
    all_faces: bool = False
    force: bool = False


async def read_body(request: web.Request) -> Wish:
    """A photo as the body itself, the options in the query.

    Raises:
      ProblemError: it is empty, too large or too slow, or an option is neither 0 nor 1.
    """
    options = {name: request.query.get(name, "0") for name in ("all_faces", "force")}
    if not set(options.values()) <= {"0", "1"}:
        raise problems.bad_request("The options all_faces and force are 0 or 1.")
    _refuse_what_says_it_is_too_large(request)
    photo = await _in_time(_read_all(request.content))
    if not photo:
        raise problems.no_photo()
    return Wish(photo, all_faces=options["all_faces"] == "1", force=options["force"] == "1")


async def read_form(request: web.Request) -> Wish:
    """A photo as the field `photo` of a form, or the name of an example; the options as fields that are there or not.

    Raises:
      ProblemError: it is empty, too large or too slow, or no such form.
    """
    if request.content_type != "multipart/form-data":
        raise problems.bad_request("This is not the form of this page.")
    _refuse_what_says_it_is_too_large(request)
    try:
        fields = await _in_time(_read_fields(request))
    except (ValueError, RuntimeError) as error:  # what aiohttp raises on a broken one
        raise problems.bad_request("The form arrived broken. Try again.") from error
    photo, example = bytes(fields.get("photo", b"")), fields.get("example")
    if not photo and example is None:
        raise problems.no_photo()
    name = None if example is None else example.decode(errors="replace")
    return Wish(photo, name, "all_faces" in fields, "force" in fields)


def _refuse_what_says_it_is_too_large(request: web.Request) -> None:
    if (request.content_length or 0) > MAX_BYTES + _CHUNK:  # a form is a little more than its photo
        raise problems.too_many_bytes()


async def _in_time(reading: Coroutine[Any, Any, _Result]) -> _Result:
    try:
        async with asyncio.timeout(_SECONDS):
            return await reading
    except TimeoutError:
        raise problems.too_slow() from None


async def _read_all(stream: StreamReader) -> bytes:
    body = bytearray()
    async for chunk in stream.iter_chunked(_CHUNK):
        body += chunk
        if len(body) > MAX_BYTES:
            raise problems.too_many_bytes()
    return bytes(body)


async def _read_fields(request: web.Request) -> dict[str, bytearray]:
    """aiohttp's own `Request.post` would keep a file on the disk."""
    fields: dict[str, bytearray] = {}
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or part.name is None or len(fields) == _FIELDS:
            raise ValueError("no form of ours")
        limit = MAX_BYTES if part.name == "photo" else _FIELD_BYTES
        field = fields[part.name] = bytearray()
        while chunk := await part.read_chunk(_CHUNK):
            field += chunk
            if len(field) > limit:
                raise problems.too_many_bytes()
    return fields
