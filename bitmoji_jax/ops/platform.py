"""Which platform networks are traced for."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import jax

_target: ContextVar[str | None] = ContextVar("target", default=None)


def on_cpu() -> bool:
    """Returns whether networks are being traced for a CPU: by default, whether JAX runs on one."""
    return (_target.get() or jax.default_backend()) == "cpu"


@contextlib.contextmanager
def tracing_for(platform: str) -> Iterator[None]:
    """Traces networks inside for `platform` ("cpu", "cuda", "tpu") instead of the one that JAX runs on.

    For export: programs have the same parameters on all platforms and, to rounding, the same results. A jitted function
    that was called outside is not traced again; export a new `jax.jit` of it.
    """
    token = _target.set(platform)
    try:
        yield
    finally:
        _target.reset(token)
