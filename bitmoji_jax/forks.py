"""Notices that this process is a fork of one in which JAX had started.

A fork has none of the threads of JAX, and would wait for them for ever.
"""

import os
import sys

from bitmoji_jax.errors import InputError

_forked_after_start = False


def check_not_forked() -> None:
    """Raises InputError where JAX cannot compute, since it had started before this process was forked."""
    if _forked_after_start:
        raise InputError(
            "JAX had started when this process was forked, so it can compute nothing here: start processes with "
            "multiprocessing.get_context('spawn'), or load the Translator in the processes only"
        )


def _after_fork() -> None:
    global _forked_after_start
    bridge = sys.modules.get("jax._src.xla_bridge")  # JAX has no public name for this; imported alone it does no harm
    _forked_after_start = _forked_after_start or bool(bridge and bridge.backends_are_initialized())


os.register_at_fork(after_in_child=_after_fork)
