"""Which addresses the page answers at, and which pages may send it photos."""

import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import SplitResult, urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from bitmoji_jax.errors import InputError
from bitmoji_jax.web.errors import RequestError

_PORTS = {"http": 80, "https": 443}
_FLAG = "start it with --public-url and the address that browsers show"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def parse_public_url(url: str) -> SplitResult:
    """Splits an address at which a proxy shows the page, such as https://avatars.example/faces; else InputError."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _PORTS and parts.hostname and parts.port != 0 and not set("?#@{} ") & set(url)
    except ValueError:  # a broken port or IPv6 address
        usable = False
    if not usable:
        raise InputError(f"--public-url {url}: want an address as browsers show it, such as https://avatars.example")
    return parts


def check_origin(local: bool, public: Sequence[SplitResult]) -> Middleware:
    """Refuses requests from other sites' pages and, if `local`, names that are neither this computer's nor public."""
    origins = {_origin(url) for url in public}
    hosts = {url.hostname for url in public}

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        name = _host_name(request.host)
        if local and not _is_loopback(name) and name not in hosts:
            raise RequestError(421, "wrong_host", f"This server does not know this address. If it is yours, {_FLAG}.")
        if request.method == "POST" and not _is_own_page(request, origins):
            message = f"Another site's page sent this. If the server is yours, behind a proxy, {_FLAG}."
            raise RequestError(403, "foreign_origin", message)
        return await handler(request)

    return check


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(name: str) -> bool:
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_own_page(request: web.Request, public: set[tuple[str, str | None, int | None]]) -> bool:
    """Whether the server's own page or a program sent a POST: browsers always name the origin, programs do not."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return False
    sent = request.headers.get("Origin")
    if sent is None:
        return True
    try:
        origin = urlsplit(sent)
        return origin.netloc.lower() == request.host.lower() or _origin(origin) in public
    except ValueError:
        return False


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or _PORTS.get(url.scheme)
