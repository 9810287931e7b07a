"""The folder of files that can be made again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Returns `bitmoji_jax` in $XDG_CACHE_HOME or ~/.cache; it holds compiled programs and the built-in dataset."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bitmoji_jax"


def use_compilation_cache() -> None:
    """Keeps compiled programs in the cache folder, unless the user has set another for JAX."""
    import jax  # not at the top: `prepare` starts without it

    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
        # JAX does not keep what compiles within a second, of which translating one photo has a dozen.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
