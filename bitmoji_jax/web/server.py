"""The server of the page: starts, listens, and stops on a signal."""

import asyncio
import functools
import ipaddress
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from urllib.parse import SplitResult

import numpy as np
import rich.console
from aiohttp import web

from bitmoji_jax.console import make_console
from bitmoji_jax.errors import InputError
from bitmoji_jax.inference.translator import Translator
from bitmoji_jax.web.app import make_app
from bitmoji_jax.web.page import EXAMPLES, read_file

_GRACE = 1.5  # seconds for the requests under way when it stops
_LAST = 2.0  # seconds after which it has stopped: a photo at work, which nothing can interrupt, is given up
_IDLE = 30.0  # seconds that a connection may be idle


def serve(
    translator: Translator, *, host: str, port: int, pretrained: bool, public: Sequence[SplitResult] = ()
) -> None:
    """Serves the page until SIGTERM or SIGINT; after SIGINT raises KeyboardInterrupt when all is closed.

    Args:
      translator: makes the avatars.
      host: name or address of this machine; other machines can reach it unless it is a loopback address.
      port: 0 takes a free one.
      pretrained: whether the weights are those of the package, whose terms the page states.
      public: addresses at which proxies show the page, of `parse_public_url`.

    Raises:
      InputError: the server cannot listen at this address.
    """
    console = make_console()
    with _bind(host, port) as listener:
        console.print("Getting ready: compiling takes a minute the first time")
        started = time.perf_counter()
        warm_up(translator)
        console.print(f"Ready after {time.perf_counter() - started:.0f} s")
        number = asyncio.run(_serve(translator, listener, pretrained, public, console))
    if number == signal.SIGINT:
        raise KeyboardInterrupt


def make_runner(app: web.Application) -> web.AppRunner:
    """Makes the runner of an application; it logs no request."""
    return web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,
        handler_cancellation=True,  # a client that disconnects frees its slot in the queue
        keepalive_timeout=_IDLE,
        shutdown_timeout=_GRACE,
    )


def warm_up(translator: Translator) -> None:
    """Translates a picture with a face and one without, so that all is compiled before the first request."""
    translator.portraits(read_file(f"examples/{next(iter(EXAMPLES))}.jpg"))[0].sticker()
    translator.portraits(np.full((1500, 2000, 3), 127, np.uint8), force=True)


async def _serve(
    translator: Translator,
    listener: socket.socket,
    pretrained: bool,
    public: Sequence[SplitResult],
    console: rich.console.Console,
) -> int:
    """Serves until a signal comes; returns its number."""
    address, port = listener.getsockname()[:2]
    local = ipaddress.ip_address(address).is_loopback
    runner = make_runner(make_app(translator, local=local, pretrained=pretrained, public=public))
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[int] = loop.create_future()
    last: list[threading.Timer] = []

    def stop(number: int) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):  # a second one has its usual effect
            loop.remove_signal_handler(each)
        last.append(threading.Timer(_LAST, os._exit, [130 if number == signal.SIGINT else 0]))
        last[0].start()
        stopped.set_result(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, functools.partial(stop, number))
    try:
        await runner.setup()
        await web.SockSite(runner, listener).start()
        if not local:
            console.print("Others in this network can reach it, and what they send is not encrypted")
        for url in public:
            console.print(f"{url.geturl()}, through your proxy")
        console.print(f"http://{_name(address)}:{port}  (Ctrl-C stops it)")
        return await stopped
    finally:
        try:
            await runner.cleanup()
        finally:
            for timer in last:
                timer.cancel()


def _bind(host: str, port: int) -> socket.socket:
    """Binds a socket that does not listen yet, so that a port in use is found before anything is compiled."""
    if not 0 <= port < 65536:
        raise InputError(f"--port {port}: want 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError) as error:
        raise InputError(f"--host {host}: there is no such address ({error})") from error
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise InputError(f"cannot listen at {host} port {port}: {error.strerror}. Try another --port") from error
    return listener


def _name(address: str) -> str:
    if ipaddress.ip_address(address).is_unspecified:
        return socket.gethostname()
    return f"[{address}]" if ":" in address else address
