"""SIGINT, SIGTERM and SIGHUP ask a run to save and stop; all of its processes stop at the same step."""

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import jax
import numpy as np
import rich.console
from jax.experimental import multihost_utils

SAME_SIGNAL = 1.0
"""Seconds within which signals count as one: a scheduler signals every process of a job, and launch.py its child."""


class StopSignal:
    """Records the first SIGINT, SIGTERM or SIGHUP while it is entered; a later second one has its usual effect.

    A SIGHUP, of a terminal that is closed, is left alone where it is ignored, as under nohup.
    """

    def __init__(self, console: rich.console.Console, clock: Callable[[], float] = time.monotonic) -> None:
        """Prints on `console` when a signal arrives; `clock` returns seconds."""
        self._console = console
        self._clock = clock
        self._noted_at: float | None = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                    self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def agreed(self, row_complete: bool) -> bool:
        """Returns whether to stop now. Several processes agree at the end of a row of metrics, to save together."""
        if jax.process_count() == 1:
            return self._noted_at is not None
        noted = np.array(self._noted_at is not None)
        return row_complete and bool(np.any(multihost_utils.process_allgather(noted)))

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._noted_at is None:
            self._noted_at = self._clock()
            self._console.print("Stopping: saving first. Once more to stop without.")
        elif self._clock() - self._noted_at > SAME_SIGNAL:
            self._restore()
            os.kill(os.getpid(), number)

    def _restore(self) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}
