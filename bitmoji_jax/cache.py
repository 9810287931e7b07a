"""The folder of files that can be made again, where there is one."""

import errno
import functools
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

_LEAST = 64e6  # bytes: the compiled programs of all commands take about as much


def cache_folder() -> Path | None:
    """Returns `bitmoji_jax` in $XDG_CACHE_HOME or ~/.cache; it holds compiled programs, judges and the built-in set.

    None where it cannot be used: there is no home, it cannot be written to, or its disk is full. This is said once, on
    stderr.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return _usable(Path(home) / "bitmoji_jax")


@functools.cache
def _usable(folder: Path) -> Path | None:
    try:
        if folder.parts[0] == "~":
            raise OSError(errno.ENOENT, "there is no home directory")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
        if shutil.disk_usage(folder).free < _LEAST:
            raise OSError(errno.ENOSPC, f"less than {_LEAST / 1e6:.0f} MB are free")
    except OSError as error:
        line = f"No cache in {folder} ({error.strerror}): what takes long is done anew each time. Set XDG_CACHE_HOME"
        print(f"{line} to a folder that can be written to", file=sys.stderr)
        return None
    return folder


def use_compilation_cache() -> None:
    """Keeps compiled programs in the cache folder, unless the user has set another for JAX."""
    import jax  # not at the top: `prepare` starts without it

    # A disk that fills up later: what cannot be kept is compiled again.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    if jax.config.values["jax_compilation_cache_dir"] is None and (folder := cache_folder()) is not None:
        jax.config.update("jax_compilation_cache_dir", str(folder / "xla"))
        # JAX does not keep what compiles within a second, of which translating one photo has a dozen.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
