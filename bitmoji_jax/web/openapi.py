"""The description of the API for programs, in OpenAPI 3.1."""

import importlib.metadata
from typing import Any

from bitmoji_jax.inference.variants import VARIANTS

_ERRORS = {
    400: "The request has the wrong form, or no photo: `bad_request`.",
    403: "A page of another site sent it, or a proxy without `--public-url`: `foreign_origin`.",
    408: "The upload took over 30 s: `upload_too_slow`.",
    413: "Over 20 MB, or over 51 million pixels: `too_many_bytes`, `too_many_pixels`.",
    415: "The body is not an image that can be read: `not_an_image`, `truncated`, `unreadable`.",
    421: "The host name is neither this computer's nor public: `wrong_host`.",
    422: "There is no face that can be used: `no_face`, `too_small`, `cut_off`, `turned`, `unsure`.",
    500: "An error of the program: `failed`.",
    503: "The queue is full: `busy`. `Retry-After` gives the seconds to wait.",
    504: "No result after 240 s: `timed_out`.",
}
_OPTIONS = {
    "all_faces": "Return every face, not only the largest.",
    "force": "Also translate faces below the quality limits, and the middle of a photo without a face.",
    "transparent": "Return avatars without their white background, with an alpha channel.",
    "sticker": "Return an animated sticker of each avatar, too.",
}
_COLOUR = {"type": "string", "pattern": "^#?[0-9a-fA-F]{6}$"}
_LOOK = {
    "gender": ("Draw the avatars as this, not as the photo says.", {"type": "string", "enum": ["female", "male"]}),
    "skin": ("Draw skin of this colour, such as #c68642.", _COLOUR),
    "hair": ("Draw hair of this colour.", _COLOUR),
    "glasses": ("Draw glasses (1) or none (0).", {"type": "string", "enum": ["0", "1"]}),
    "mouth": ("Draw the mouth like this, not as the photo says.", {"type": "string", "enum": ["open", "closed"]}),
    "hat": ("Draw a hat (1) or none (0).", {"type": "string", "enum": ["0", "1"]}),
}
_DRAWN = {name: schema for name, (_, schema) in _LOOK.items()} | {
    "glasses": {"type": ["boolean", "null"]},
    "mouth": {"enum": ["open", "closed", None]},
    "hat": {"type": ["boolean", "null"]},
}
_VARIANTS = {
    "variants": (
        "Numbers of the avatars to return of each face, next to each other: 1 is that of the photo as it is, 2 of the "
        "mirrored and 3 of the enlarged one.",
        {"type": "string", "pattern": "^[123](,[123]){0,2}$", "default": "1"},
    )
}


def describe_api() -> dict[str, Any]:
    """Returns the description of /api/avatar; its address is relative, so that it holds behind any proxy."""
    png = {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"}
    webp = png | {"contentMediaType": "image/webp"}
    share = {"type": "number", "minimum": 0, "maximum": 1}
    fields = {
        "avatar": png,
        "crop": png,
        "confidence": share,
        "quality": share,
        "warnings": {"type": "array", "items": {"type": "string"}},
        "look": {"anyOf": [_object(_DRAWN), {"type": "null"}]},
        "variant": {"type": "integer", "enum": list(VARIANTS)},
        "sticker": {"anyOf": [webp, {"type": "null"}]},
    }
    faces = _object({"faces": {"type": "array", "minItems": 1, "items": _object(fields)}})
    error = _object({"error": _object({"code": {"type": "string"}, "message": {"type": "string"}})})
    option = {"type": "string", "enum": ["0", "1"], "default": "0"}
    file = {"type": "string", "format": "binary"}
    form: dict[str, Any] = {"type": "object", "required": ["file"], "properties": {"file": file}}
    options = {name: (text, option) for name, text in _OPTIONS.items()} | _LOOK | _VARIANTS
    form["properties"] |= {name: schema for name, (_, schema) in options.items()}
    operation = {
        "summary": "Makes the avatars of the faces in a photo",
        "operationId": "makeAvatar",
        "parameters": [
            {"name": name, "in": "query", "description": text, "schema": schema}
            for name, (text, schema) in options.items()
        ],
        "requestBody": {
            "required": True,
            "description": "JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP or TIFF, by itself or as the file of a form.",
            "content": {"application/octet-stream": {"schema": file}, "multipart/form-data": {"schema": form}},
        },
        "responses": {
            "200": {"description": "The faces, the largest first.", "content": {"application/json": {"schema": faces}}},
            **{
                str(status): {"description": text, "content": {"application/json": {"schema": error}}}
                for status, text in _ERRORS.items()
            },
        },
    }
    version = importlib.metadata.version("bitmoji-jax")
    return {
        "openapi": "3.1.0",
        "info": {"title": "Photo to avatar", "version": version, "license": {"name": "Apache-2.0"}},
        "servers": [{"url": "."}],
        "paths": {"/api/avatar": {"post": operation}},
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}
