"""The application: the page at /, and the same for programs at /api/avatar.

Nothing is written: a photo stays in memory until its request is answered, and no log mentions it.
"""

import asyncio
import base64
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import SplitResult

import jinja2
from aiohttp import web
from aiohttp.typedefs import Middleware

from bitmoji_jax.command import explain, tracebacks_wanted
from bitmoji_jax.data.images import UnusableImageError, load_photo
from bitmoji_jax.errors import InputError
from bitmoji_jax.faces.align import FaceError
from bitmoji_jax.inference.look import Look, colour_text
from bitmoji_jax.inference.picture import transparent
from bitmoji_jax.inference.translator import Portrait, Translator
from bitmoji_jax.inference.variants import VARIANTS
from bitmoji_jax.web.errors import FAILED, MAX_PIXELS, RequestError, bad_request, sentence, unusable_photo
from bitmoji_jax.web.openapi import describe_api
from bitmoji_jax.web.origin import Handler, check_origin
from bitmoji_jax.web.page import EXAMPLES, load_page, png_base64, read_file
from bitmoji_jax.web.queue import RequestQueue
from bitmoji_jax.web.upload import Upload, read_body, read_form

_WAITING = 16
_SECONDS = 240.0  # for an answer, upload and queue included; browsers wait 300

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",  # a browser would keep avatars on its disk
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    # Not "no-referrer", with which browsers send forms without their origin. No link leads away from here.
    "Referrer-Policy": "same-origin",
    "Server": "bitmoji-jax",
    "X-Content-Type-Options": "nosniff",
}
_SCRIPT = "text/javascript; charset=utf-8"
# Address -> file of this package, type.
_FILES = {
    "page.css": ("page.css", "text/css; charset=utf-8"),
    "page.js": ("page.js", _SCRIPT),
    "words.js": ("words.js", _SCRIPT),
    "choice.js": ("choice.js", _SCRIPT),
    "cut_out.js": ("cut_out.js", _SCRIPT),
    "backend.js": ("server_backend.js", _SCRIPT),
    **{f"examples/{name}.jpg": (f"examples/{name}.jpg", "image/jpeg") for name in EXAMPLES},
}


def make_app(
    translator: Translator,
    *,
    local: bool,
    pretrained: bool,
    public: Sequence[SplitResult] = (),
    queue: RequestQueue | None = None,
) -> web.Application:
    """Makes the application that a server runs.

    Args:
      translator: makes the avatars.
      local: whether the server listens to this computer only. Then it answers only to names of this computer and those
        of `public`, so that no page can reach it under a name of its own (DNS rebinding).
      pretrained: whether the weights are those of the package, whose terms the page states.
      public: addresses at which proxies show the page; their paths may be cut off by the proxy or not.
      queue: of this application alone; by default 16 requests may wait.
    """
    page = load_page(
        local=local and not public,
        pretrained=pretrained,
        looks=translator.guided,
        glasses=translator.glasses,
        mouth=translator.mouth,
    )
    app = web.Application(middlewares=[_answer_errors(page), check_origin(local, public)])
    site = _Site(translator, page, queue or RequestQueue(_WAITING))
    app.on_cleanup.append(lambda _: site.close())
    files = {name: (read_file(file), content_type) for name, (file, content_type) in _FILES.items()}
    files["openapi.json"] = json.dumps(describe_api()).encode(), "application/json"
    for prefix in {"", *(url.path.rstrip("/") for url in public)}:
        site.add_to(app, prefix)
        for name, (content, content_type) in files.items():
            app.router.add_get(f"{prefix}/{name}", _file_handler(content, content_type))
    app.on_response_prepare.append(_add_headers)
    return app


class _Site:
    """The page and the API."""

    def __init__(self, translator: Translator, page: jinja2.Template, queue: RequestQueue) -> None:
        self._translator = translator
        self._page = page
        self._queue = queue

    def add_to(self, app: web.Application, prefix: str) -> None:
        """Adds the page and the API to `app`, below the path `prefix`."""
        app.router.add_get(f"{prefix}/", self._show_page)
        app.router.add_post(f"{prefix}/", self._answer_form)
        app.router.add_post(f"{prefix}/api/avatar", self._answer_api)

    async def close(self) -> None:
        """Waits for the photo at work."""
        await self._queue.close()

    async def _show_page(self, request: web.Request) -> web.Response:
        del request
        return web.Response(text=self._page.render(), content_type="text/html")

    async def _answer_form(self, request: web.Request) -> web.Response:
        text = await self._translate(request, read_form, lambda portraits, _: self._page.render(portraits=portraits))
        return web.Response(text=text, content_type="text/html")

    async def _answer_api(self, request: web.Request) -> web.Response:
        text = await self._translate(request, read_body, _to_json)
        return web.Response(text=text, content_type="application/json")

    async def _translate(
        self,
        request: web.Request,
        read: Callable[[web.Request], Awaitable[Upload]],
        render: Callable[[Sequence[Portrait], Upload], str],
    ) -> str:
        """Returns the portraits of the request's photo as text: all but the upload happens in the queue's thread."""
        try:
            # The slot is taken before the body is read, so that no more photos are in memory than can wait.
            async with asyncio.timeout(_SECONDS):
                with self._queue.slot():
                    upload = await read(request)
                    self._check_look(upload.look)
                    return await self._queue.run(lambda: render(self._portraits(upload), upload))
        except TimeoutError:
            message = "This took too long, and was given up. Try a smaller photo, or later."
            raise RequestError(504, "timed_out", message) from None
        except (UnusableImageError, FaceError) as error:
            raise unusable_photo(error) from None

    def _check_look(self, look: Look) -> None:
        if look != Look():
            try:
                self._translator.check_look(look)
            except InputError as error:
                raise bad_request(sentence(str(error))) from None

    def _portraits(self, upload: Upload) -> list[Portrait]:
        photo = load_photo(upload.photo, max_pixels=MAX_PIXELS)
        return self._translator.portraits(
            photo,
            all_faces=upload.all_faces,
            force=upload.force,
            look=upload.look,
            variants=upload.variants or VARIANTS[:1],
        )


def _to_json(portraits: Sequence[Portrait], upload: Upload) -> str:
    faces = [
        {
            "avatar": png_base64(transparent(portrait.avatar) if upload.transparent else portrait.avatar),
            "crop": png_base64(portrait.crop),
            "confidence": round(portrait.confidence, 4),
            "quality": round(portrait.quality, 4),
            "warnings": portrait.warnings,
            "look": None if portrait.look is None else _look_to_json(portrait.look),
            "variant": portrait.variant,
            "sticker": base64.b64encode(portrait.sticker()).decode() if upload.sticker else None,
        }
        for portrait in portraits
    ]
    return json.dumps({"faces": faces})


def _look_to_json(look: Look) -> dict[str, str | bool | None]:
    colours = {"skin": look.skin, "hair": look.hair}
    texts = {name: colour and colour_text(colour) for name, colour in colours.items()}
    return {"gender": look.gender, **texts, "glasses": look.glasses, "mouth": look.mouth, "hat": look.hat}


def _answer_errors(page: jinja2.Template) -> Middleware:
    """Turns errors into JSON for programs and into the page for people."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except RequestError as raised:
            error = raised
        except web.HTTPException:
            raise
        except Exception as unexpected:
            logging.getLogger(__name__).error(explain(unexpected)[1], exc_info=tracebacks_wanted())
            error = RequestError(500, "failed", FAILED)
        headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
        if "/api/" in request.path:
            body = {"error": {"code": error.code, "message": error.message}}
            return web.json_response(body, status=error.status, headers=headers)
        text = page.render(error=error)
        return web.Response(text=text, content_type="text/html", status=error.status, headers=headers)

    return answer


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    del request
    response.headers.update(_HEADERS)


def _file_handler(content: bytes, content_type: str) -> Handler:
    async def send(request: web.Request) -> web.Response:
        del request
        return web.Response(body=content, headers={"Content-Type": content_type})

    return send
