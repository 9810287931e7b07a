"""The server: the page at /, and the same for programs at /api/avatar.

Nothing is written: photos live in memory until they are answered, and no log names or counts them.
"""

import asyncio
import base64
import ipaddress
import logging
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from bitmoji_jax.data.images import UnusableImageError
from bitmoji_jax.faces.align import FaceError
from bitmoji_jax.inference.translator import Translator
from bitmoji_jax.web import problems
from bitmoji_jax.web.avatars import Avatar, make_avatars
from bitmoji_jax.web.examples import EXAMPLES
from bitmoji_jax.web.page import Page, read_file
from bitmoji_jax.web.problems import ProblemError
from bitmoji_jax.web.queue import BusyError, Turns
from bitmoji_jax.web.upload import Wish, read_body, read_form

_WORKERS = 1
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
    # Not "no-referrer", with which a form says that it comes from nowhere. Nothing leads away from here.
    "Referrer-Policy": "same-origin",
    "Server": "bitmoji-jax",
    "X-Content-Type-Options": "nosniff",
}

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(translator: Translator, *, local: bool, pretrained: bool, waiting: int = _WAITING) -> web.Application:
    """The application that a server runs.

    Args:
      translator: makes the avatars.
      local: whether it listens to this computer only. Then it answers to names of this computer only, so that no page
        can reach it under a name of its own (DNS rebinding).
      pretrained: whether the weights are those of the package, whose terms the page tells.
      waiting: photos that may wait for their turn; others are told to come back.
    """
    page = Page(local=local, pretrained=pretrained)
    app = web.Application(middlewares=[_problems_answered(page), _for_this_server_only(local)])
    _Site(translator, page, waiting).add_to(app)
    app.on_response_prepare.append(_add_headers)
    return app


class _Site:
    def __init__(self, translator: Translator, page: Page, waiting: int) -> None:
        self._translator = translator
        self._page = page
        self._turns = Turns(_WORKERS, waiting)
        self._examples = {name: read_file(f"examples/{name}.jpg") for name in EXAMPLES}
        self._empty = page.empty()

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/", self._show)
        app.router.add_post("/", self._answer_form)
        app.router.add_post("/api/avatar", self._answer_api)
        app.router.add_get("/page.css", _sender(read_file("page.css"), "text/css"))
        app.router.add_get("/page.js", _sender(read_file("page.js"), "text/javascript"))
        for name, picture in self._examples.items():
            app.router.add_get(f"/examples/{name}.jpg", _sender(picture, "image/jpeg"))
        app.on_cleanup.append(lambda _: self._turns.close())

    async def _show(self, request: web.Request) -> web.Response:
        del request
        return web.Response(text=self._empty, content_type="text/html")

    async def _answer_form(self, request: web.Request) -> web.Response:
        return web.Response(text=self._page.avatars(await self._avatars(request, read_form)), content_type="text/html")

    async def _answer_api(self, request: web.Request) -> web.Response:
        return web.json_response({"faces": [_as_json(avatar) for avatar in await self._avatars(request, read_body)]})

    async def _avatars(self, request: web.Request, read: Callable[[web.Request], Awaitable[Wish]]) -> list[Avatar]:
        try:
            # The place is taken before the body is read, so that no more photos are in memory than can wait.
            async with asyncio.timeout(_SECONDS):
                with self._turns.place():
                    wish = await read(request)
                    photo = wish.photo
                    if wish.example is not None:
                        if wish.example not in self._examples:
                            raise problems.bad_request("There is no such example.")
                        photo = self._examples[wish.example]
                    return await self._turns.run(
                        make_avatars, self._translator, photo, all_faces=wish.all_faces, force=wish.force
                    )
        except BusyError as error:
            raise problems.busy(error.seconds) from None
        except TimeoutError:
            raise problems.timed_out() from None
        except UnusableImageError as error:
            raise problems.unusable(error) from None
        except FaceError as error:
            raise problems.no_face(error) from None


def _problems_answered(page: Page) -> Middleware:
    """Tells a program what is wrong as JSON, and a person with the page."""

    @web.middleware
    async def answer(request: web.Request, handler: _Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ProblemError as error:
            problem = error
        except web.HTTPException:
            raise
        except Exception:
            logging.getLogger(__name__).exception("a request failed")
            problem = problems.failed()
        headers = {} if problem.retry_after is None else {"Retry-After": str(problem.retry_after)}
        if request.path.startswith("/api/"):
            body = {"error": {"code": problem.code, "message": problem.message}}
            return web.json_response(body, status=problem.status, headers=headers)
        text = page.problem(problem)
        return web.Response(text=text, content_type="text/html", status=problem.status, headers=headers)

    return answer


def _for_this_server_only(local: bool) -> Middleware:
    """Refuses what another site's page sends, and names that are not this computer's."""

    @web.middleware
    async def check(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if local and not _is_loopback(request.host):
            message = "This address is not one of this server's."
            raise ProblemError(421, "wrong_host", message)
        if request.method == "POST" and not _is_same_origin(request):
            raise ProblemError(403, "foreign_origin", "Another site's page sent this. Open this page itself.")
        return await handler(request)

    return check


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_same_origin(request: web.Request) -> bool:
    """Of a browser, which always tells the origin of a POST; programs tell none."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc.lower() == request.host.lower()


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    del request
    response.headers.update(_HEADERS)


def _sender(content: bytes, content_type: str) -> _Handler:
    async def send(request: web.Request) -> web.Response:
        del request
        return web.Response(
            body=content, content_type=content_type, charset="utf-8" if "text" in content_type else None
        )

    return send


def _as_json(avatar: Avatar) -> dict[str, object]:
    return {
        "avatar": base64.b64encode(avatar.image).decode(),
        "crop": base64.b64encode(avatar.crop).decode(),
        "confidence": round(avatar.confidence, 4),
        "quality": round(avatar.quality, 4),
        "warnings": list(avatar.warnings),
    }
