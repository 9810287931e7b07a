"""A pool of worker processes, which import only what their function needs: neither TFDS nor, mostly, JAX.

The workers are fresh interpreters at the other end of a socket. Those of `multiprocessing` would import the caller's
main module, and JAX with it, and would need that module to have an `if __name__ == "__main__":`.
"""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from bitmoji_jax.errors import InputError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_CHUNK = 8  # items sent to a worker at a time


def map_in_workers(
    function: Callable[[_Item], _Result], items: Sequence[_Item], workers: int
) -> Generator[_Result, None, None]:
    """Yields `function(item)` for every item, in order; raises what it raises, InputError if a worker process died.

    `function` is at the top of a module; what it takes and returns is pickled. One worker is this process itself, which
    also takes items that make one chunk only. Other workers end when the generator is closed, and with this process
    even if it is killed. Ctrl-C does not reach them.
    """
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    workers = min(workers, len(chunks))
    if workers < 2:
        yield from map(function, items)
        return
    idle: queue.SimpleQueue[tuple[subprocess.Popen[bytes], Connection]] = queue.SimpleQueue()

    def run(chunk: Sequence[_Item]) -> list[_Result]:
        process, connection = idle.get()
        try:
            connection.send((function, chunk))
            results = connection.recv()
        except (EOFError, ConnectionError):
            raise InputError(
                f"a worker process died with exit code {process.wait()}; -9 means that it was killed, usually because "
                "memory ran out: free some, or allow fewer cores with `taskset`"
            ) from None
        finally:
            idle.put((process, connection))
        if isinstance(results, Exception):
            raise results
        return results

    with contextlib.ExitStack() as stack:
        threads = ThreadPoolExecutor(workers)  # each waits for a worker
        stack.callback(threads.shutdown, cancel_futures=True)
        for _ in range(workers):
            process, connection = _start_worker()
            stack.enter_context(process)
            stack.callback(process.kill)
            idle.put((process, connection))
        for results in threads.map(run, chunks):
            yield from results


def _start_worker() -> tuple[subprocess.Popen[bytes], Connection]:
    ours, theirs = Pipe()
    path = os.pathsep.join(sys.path)
    with theirs:
        process = subprocess.Popen(
            # -P: nothing but PYTHONPATH on the path. Warnings: Pillow's, about files that can be used all the same.
            [sys.executable, "-P", "-W", "ignore", "-c", f"from {__name__} import serve; serve({theirs.fileno()})"],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            process_group=0,  # of its own, so that a terminal's Ctrl-C reaches this process only
            # One thread each: the workers share the cores already.
            env={
                **os.environ,
                "PYTHONPATH": path,
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
                "JAX_PLATFORMS": "cpu",  # for a function that uses JAX: each would take most of an accelerator's memory
            },
        )
    return process, ours


def serve(descriptor: int) -> None:
    """Runs a worker: answers each (function, items) with the results or an error, until the other process is gone."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end without a message if it is gone when results are sent
    connection: Any = Connection(descriptor)
    chunks: queue.SimpleQueue[tuple[Callable, Sequence]] = queue.SimpleQueue()

    def receive() -> None:
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                chunks.put(connection.recv())
        os._exit(1)  # also out of an item that takes long

    threading.Thread(target=receive, daemon=True).start()
    while True:
        function, items = chunks.get()
        results: list[Any] | Exception
        try:
            results = [function(item) for item in items]
        except Exception as error:
            results = error  # raised there, not printed here
        connection.send(results)
