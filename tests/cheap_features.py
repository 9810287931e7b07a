"""Something to compare and judge images by that compiles fast."""

from typing import Any

import jax


def pixels_as_maps(params: Any, images: jax.Array) -> list[jax.Array]:
    """In the place of EfficientNet-Lite0's `feature_maps`: the images themselves with fewer and fewer pixels."""
    del params
    return [images[:, ::stride, ::stride] / 255 for stride in (2, 4, 8, 16, 32)]
