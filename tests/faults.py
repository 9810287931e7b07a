"""Makes single calls of the operating system fail, in this process."""

import builtins
import errno
import fcntl
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import simplejpeg
from PIL import Image

ERRORS = [getattr(errno, name) for name in ("EIO", "ENOSPC", "EACCES", "EDQUOT", "ENOSYS", "ESTALE")]

_PACKAGE = str(Path(__file__).parent.parent / "bitmoji_jax")
_CALLS: dict[str, list[tuple[Any, str]]] = {
    "rename": [(os, "rename"), (os, "replace")],
    "fsync": [(os, "fsync"), (os, "fdatasync")],
    "flock": [(fcntl, "flock"), (fcntl, "lockf")],
    "mkdir": [(os, "mkdir")],
    "decode": [(Image, "open"), (simplejpeg, "decode_jpeg")],
}
KINDS = ["open", "write", *_CALLS]


class Site(NamedTuple):
    """A call: its kind, the line of the package it came from (or "thread"), and how many such calls came before."""

    kind: str
    line: str
    number: int


class _File:
    """A file whose writes may fail."""

    def __init__(self, file: Any, check: Callable[[], None]) -> None:
        self._file, self._check = file, check

    def write(self, content: Any) -> int:
        self._check()
        return self._file.write(content)

    def __enter__(self) -> "_File":
        self._file.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._file.__exit__(*exception)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def calls(root: Path, fail: Site | None = None, error: int = 0) -> Iterator[list[Site]]:
    """Records the calls of code of the package that concern files of the package or below `root`, or have no path.

    The call at `fail` raises OSError(`error`) instead. Yields the list of calls.
    """
    seen: list[Site] = []
    counts: dict[tuple[str, str], int] = {}

    def check(kind: str, path: Any = None) -> None:
        if isinstance(path, str | os.PathLike) and not os.path.abspath(path).startswith((str(root), _PACKAGE)):
            return
        frame = sys._getframe(2)
        while frame is not None and not frame.f_code.co_filename.startswith(_PACKAGE):
            frame = frame.f_back  # type: ignore[assignment]
        if frame is None and path is None:
            return
        # A thread of Orbax or TensorBoard has no line of the package.
        line = "thread" if frame is None else f"{Path(frame.f_code.co_filename).stem}:{frame.f_lineno}"
        number = counts[kind, line] = counts.get((kind, line), -1) + 1
        site = Site(kind, line, number)
        seen.append(site)
        if site == fail:
            raise OSError(
                error, os.strerror(error), *([os.fspath(path)] if isinstance(path, str | os.PathLike) else [])
            )

    def failing(kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **flags: Any) -> Any:
            check(kind, arguments[0] if arguments else None)
            return call(*arguments, **flags)

        return wrapped

    real_open, real_os_open = io.open, os.open

    def open_(file: Any, mode: str = "r", *arguments: Any, **flags: Any) -> Any:
        check("open", file)
        opened = real_open(file, mode, *arguments, **flags)
        inside = isinstance(file, str | os.PathLike) and os.path.abspath(file).startswith(str(root))
        return _File(opened, lambda: check("write", file)) if inside and set(mode) & set("wax+") else opened

    def os_open(path: Any, *arguments: Any, **flags: Any) -> int:
        check("open", path)
        return real_os_open(path, *arguments, **flags)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", open_)
        patch.setattr(builtins, "open", open_)
        patch.setattr(os, "open", os_open)
        for kind, places in _CALLS.items():
            for module, name in places:
                patch.setattr(module, name, failing(kind, getattr(module, name)))
        yield seen
