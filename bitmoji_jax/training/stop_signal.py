"""SIGINT and SIGTERM as a wish to save and stop, agreed on by all processes."""

import signal
import threading
from types import FrameType
from typing import Any

import jax
import numpy as np
import rich.console
from jax.experimental import multihost_utils


class StopSignal:
    """Notes the first SIGINT or SIGTERM while in use; a second one has its usual effect."""

    def __init__(self, console: rich.console.Console) -> None:
        """Tells `console` when a signal came."""
        self._console = console
        self._noted = False
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
            return self._noted
        return row_complete and bool(np.any(multihost_utils.process_allgather(np.array(self._noted))))

    def _note(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._noted = True
        self._restore()
        self._console.print("Stopping: saving first. Once more to stop without.")

    def _restore(self) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}
