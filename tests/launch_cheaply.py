"""Does as launch.py does, with a KID of mean colours and less looking for garbage: a third less time for a tiny run.

python -m tests.launch_cheaply --exp NAME ...
"""

import functools
import gc
import sys
from collections.abc import Callable
from typing import Any

import experiments
from bitmoji_jax import launcher


def use_mean_colours() -> None:
    """Puts the images' mean colours in the place of SqueezeNet's features."""
    from bitmoji_jax.training import validation

    validation.load_squeezenet = lambda: lambda images: images.mean(axis=(1, 2), dtype="float32")


def then_use_mean_colours(join: Callable[..., None]) -> Callable[..., None]:
    """Imports what uses devices no sooner than the launcher does: after the processes have joined."""

    @functools.wraps(join)
    def joined(*args: Any, **kwargs: Any) -> None:
        join(*args, **kwargs)
        use_mean_colours()

    return joined


if __name__ == "__main__":
    gc.set_threshold(100_000)
    if "--distributed" in sys.argv:
        launcher.join = then_use_mean_colours(launcher.join)
    else:
        use_mean_colours()
    sys.exit(launcher.main(sys.argv[1:], experiments, prog="launch.py"))
