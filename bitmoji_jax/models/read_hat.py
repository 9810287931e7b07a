"""Whether the person of a photo wears a hat, told by features that were made to tell all kinds of things.

Labelled photos with hats are few, and no two hats are alike: a network trained on them learned those hats alone. The
mean of a late map of EfficientNet-Lite0, which ImageNet taught, needs 193 numbers more (training/fit_hats.py).
"""

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp

from bitmoji_jax.files import read_weights
from bitmoji_jax.models import efficientnet
from bitmoji_jax.models.features import Params
from bitmoji_jax.ops.image import resize

SIZE, ROWS, COLUMNS = 128, slice(0, 64), slice(16, 112)
"""The side to which a photo is resized, and the part of it that is looked at: its upper half, without the sides."""
BLOCKS, FEATURES = 15, 192
"""Blocks of EfficientNet-Lite0 that are used, all but the last, and channels of the last of them."""


class HatReader(nn.Module):
    """`hat_features` float32 [N, FEATURES] -> logits [N] of a hat.

    Its parameters are not trained but fitted; at first it is undecided.
    """

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        kernel = self.param("kernel", nn.initializers.zeros_init(), (FEATURES,))
        return features @ kernel + self.param("bias", nn.initializers.zeros_init(), ())


def hat_features(photos: jax.Array) -> jax.Array:
    """Photos float32 [N, H, H, 3] in [-1, 1], any H -> [N, FEATURES]: the means of that map."""
    seen = 127.5 * (resize(photos, SIZE)[:, ROWS, COLUMNS] + 1)
    return jnp.mean(efficientnet.block_outputs(trunk_params(), seen, BLOCKS)[-1], axis=(1, 2))


def trunk_params() -> Params:
    """Reads the parameters of those blocks. They are NumPy's, since functions that JAX traces call this."""
    params: Params = flax.traverse_util.unflatten_dict(read_weights(efficientnet.WEIGHTS), sep="/")
    unused = ("head", f"block{BLOCKS}.")
    return {name: layer for name, layer in params.items() if not name.startswith(unused)}
