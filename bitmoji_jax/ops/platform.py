"""The one place that decides what depends on the platform."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import jax

_target: ContextVar[str | None] = ContextVar("target", default=None)


def on_cpu() -> bool:
    """Whether the networks are being traced for a CPU: by default, whether JAX runs on one."""
    return (_target.get() or jax.default_backend()) == "cpu"


@contextlib.contextmanager
def tracing_for(platform: str) -> Iterator[None]:
    """Networks traced inside are those for `platform` ("cpu", "cuda", "tpu"), whatever JAX runs on.

    For lowering elsewhere: the program has the same parameters and, to rounding, results on all platforms. A function
    that was jitted and called outside is not traced again; export a `jax.jit` of its own.
    """
    token = _target.set(platform)
    try:
        yield
    finally:
        _target.reset(token)
