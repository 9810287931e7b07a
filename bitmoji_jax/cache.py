"""Where files that can be made again are kept."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`bitmoji_jax` in $XDG_CACHE_HOME or ~/.cache: compiled programs and the built-in dataset."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bitmoji_jax"
