"""A bounded queue before a few threads."""

import asyncio
import concurrent.futures
import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class BusyError(Exception):
    """All places are taken."""

    def __init__(self, seconds: int) -> None:
        """Args: seconds until it is worth while to ask again."""
        super().__init__(seconds)
        self.seconds = seconds


class Turns:
    """Runs calls in threads, `workers` at a time and in the order they came; `waiting` more may wait.

    Of one event loop: all methods are called from its thread.
    """

    def __init__(self, workers: int, waiting: int) -> None:
        self._workers = workers
        self._places = workers + waiting
        self.taken = 0
        """Places."""
        self._seconds = 1.0  # that a call takes, smoothed
        self._free = asyncio.Semaphore(workers)
        self._threads = concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="turn")

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue for as long as the context lasts.

        Raises:
          BusyError: there is none.
        """
        if self.taken >= self._places:
            raise BusyError(max(1, math.ceil(self.taken * self._seconds / self._workers)))
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    async def run(
        self, call: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> _Result:
        """Waits for a turn and calls. Where this is cancelled the turn is free as soon as the call has returned."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        started = time.monotonic()
        # A call under way can't be stopped, and the next must not begin before it ends.
        future = self._threads.submit(call, *args, **kwargs)
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._free.release))
        result = await asyncio.wrap_future(future)
        self._seconds += 0.2 * (time.monotonic() - started - self._seconds)
        return result

    async def close(self) -> None:
        """Waits for the calls under way."""
        await asyncio.to_thread(self._threads.shutdown)
