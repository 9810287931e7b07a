"""Turn a face photo into a bitmoji: CycleGAN on unpaired photos and avatars, in JAX."""

import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bitmoji_jax.config import ExperimentConfig
    from bitmoji_jax.errors import InputError, RunError
    from bitmoji_jax.inference.look import Look
    from bitmoji_jax.inference.translator import Translator
    from bitmoji_jax.training.train_loop import train

    __version__: str

__all__ = ["ExperimentConfig", "InputError", "Look", "RunError", "Translator", "__version__", "train"]

_MODULES = {
    "ExperimentConfig": "bitmoji_jax.config",
    "InputError": "bitmoji_jax.errors",
    "Look": "bitmoji_jax.inference.look",
    "RunError": "bitmoji_jax.errors",
    "Translator": "bitmoji_jax.inference.translator",
    "train": "bitmoji_jax.training.train_loop",
}


def __getattr__(name: str) -> Any:
    # On demand, so that importing the package is cheap and worker processes start without JAX.
    if name == "__version__":
        return importlib.metadata.version("bitmoji-jax")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
