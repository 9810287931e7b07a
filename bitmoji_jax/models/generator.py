"""The generator: encoder, residual blocks in the latent space, decoder, with or without U-Net skips."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bitmoji_jax.config import GeneratorConfig
from bitmoji_jax.models.layers import Conv, ResidualBlock, Upsample, instance_norm, reflect_pad


class Generator(nn.Module):
    """c7s1-k, d2k, d4k, R4k x res_blocks, u2k, uk, c7s1-3, tanh (arXiv 1703.10593, appendix 7.2).

    With `skips`, each decoder stage also sees the encoder's activations of its own resolution, concatenated.

    Call with images [N, H, W, 3] in [-1, 1], H and W multiples of 4, and optionally a condition [N, H, W, C] of any
    range, more channels of the input; returns float32 [N, H, W, 3] in [-1, 1].
    """

    config: GeneratorConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        config = self.config
        k = config.features

        if condition is not None:
            x = jnp.concatenate([x, condition], axis=-1)
        x = Conv(k, 7, self.dtype)(reflect_pad(x, 3))
        x = nn.relu(instance_norm(x))
        skips = [x]
        for features in (2 * k, 4 * k):
            x = Conv(features, 3, self.dtype, stride=2, padding=1)(x)
            x = nn.relu(instance_norm(x))
            skips.append(x)

        for _ in range(config.res_blocks):
            x = ResidualBlock(dtype=self.dtype)(x)

        for features, skip in ((2 * k, skips[1]), (k, skips[0])):
            x = nn.relu(instance_norm(Upsample(features, config.upsample, dtype=self.dtype)(x)))
            if config.skips:
                x = jnp.concatenate([x, skip], axis=-1)

        x = Conv(3, 7, self.dtype)(reflect_pad(x, 3))
        return jnp.tanh(x.astype(jnp.float32))
