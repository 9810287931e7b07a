"""The platform a network is traced for, which decides between forms of the same arithmetic."""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

_traced_for: contextvars.ContextVar[str | None] = contextvars.ContextVar("traced_for", default=None)


def on_cpu() -> bool:
    """Whether what is traced now is to run on a CPU: the default device, unless `traced_for` says another."""
    return (_traced_for.get() or jax.default_backend()) == "cpu"


@contextlib.contextmanager
def traced_for(platform: str) -> Iterator[None]:
    """Within it, networks are traced for "cpu" or for an accelerator ("gpu", "tpu"), whatever this machine has.

    Not seen by a function under `jax.jit` that was traced with the same shapes before: give it a new one.
    """
    token = _traced_for.set(platform)
    try:
        yield
    finally:
        _traced_for.reset(token)
