"""The discriminator: a PatchGAN that judges overlapping 70x70 patches."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bitmoji_jax.config import DiscriminatorConfig
from bitmoji_jax.models.layers import Conv, instance_norm


class Discriminator(nn.Module):
    """Ck-C2k-C4k-C8k-1, 4x4 kernels, strides 2 2 2 1 1 (arXiv 1611.07004, appendix 6.1.2).

    Call with images [N, H, W, 3] in [-1, 1]; returns float32 [N, H/8 - 2, W/8 - 2, 1], one logit-free
    least-squares score a patch: towards 1 for real, 0 for generated.
    """

    config: DiscriminatorConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        k = self.config.features
        for i, (features, stride) in enumerate(((k, 2), (2 * k, 2), (4 * k, 2), (8 * k, 1))):
            x = Conv(features, 4, self.dtype, stride=stride, padding=1)(x)
            x = nn.leaky_relu(instance_norm(x) if i else x, 0.2)
        x = Conv(1, 4, self.dtype, padding=1)(x)
        return x.astype(jnp.float32)
