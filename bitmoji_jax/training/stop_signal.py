"""SIGINT and SIGTERM as a wish to save and stop, agreed on by all processes."""

import os
import signal
import threading
import time
from types import FrameType
from typing import Any

import jax
import numpy as np
import rich.console
from jax.experimental import multihost_utils

# Seconds. A scheduler may signal every process of a job, and launch.py its child as well: that is one wish, not two.
_SAME_SIGNAL = 1.0


class StopSignal:
    """Notes the first SIGINT or SIGTERM while in use; a second one, later, has its usual effect."""

    def __init__(self, console: rich.console.Console) -> None:
        """Tells `console` when a signal came."""
        self._console = console
        self._noted_at: float | None = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def agreed(self, row_complete: bool) -> bool:
        """Whether to stop now. Several processes agree where a row of metrics ends: all of them must save together."""
        if jax.process_count() == 1:
            return self._noted_at is not None
        noted = np.array(self._noted_at is not None)
        return row_complete and bool(np.any(multihost_utils.process_allgather(noted)))

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._noted_at is None:
            self._noted_at = time.monotonic()
            self._console.print("Stopping: saving first. Once more to stop without.")
        elif time.monotonic() - self._noted_at > _SAME_SIGNAL:
            self._restore()
            os.kill(os.getpid(), number)

    def _restore(self) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}
