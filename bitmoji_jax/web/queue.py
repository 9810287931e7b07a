"""A bounded queue of requests before one worker thread."""

import asyncio
import concurrent.futures
import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from bitmoji_jax.web.errors import RequestError

_Result = TypeVar("_Result")


class RequestQueue:
    """Runs calls in a thread, one at a time and in the order they came. Its methods belong to one event loop."""

    def __init__(self, waiting: int) -> None:
        """Args: requests that may wait while another is at work."""
        self.length = 0
        """Requests that wait or are at work."""
        self._limit = 1 + waiting
        self._seconds = 1.0  # that a call takes, smoothed
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="request")

    @contextlib.contextmanager
    def slot(self) -> Iterator[None]:
        """Occupies a slot of the queue until the context ends.

        Raises:
          RequestError: all are taken (status 503, with the seconds to wait).
        """
        if self.length >= self._limit:
            seconds = max(1, math.ceil(self.length * self._seconds))
            raise RequestError(503, "busy", f"Many photos are waiting already. Try again in {seconds} s.", seconds)
        self.length += 1
        try:
            yield
        finally:
            self.length -= 1

    async def run(self, call: Callable[[], _Result]) -> _Result:
        """Returns what `call` returns. If cancelled, a call that has not begun never does; one at work ends first."""

        def timed() -> _Result:
            started = time.monotonic()
            result = call()
            self._seconds += 0.2 * (time.monotonic() - started - self._seconds)
            return result

        return await asyncio.get_running_loop().run_in_executor(self._thread, timed)

    async def close(self) -> None:
        """Waits for the call at work."""
        await asyncio.to_thread(self._thread.shutdown)
