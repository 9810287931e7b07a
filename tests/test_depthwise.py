"""Both forms of the depthwise convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bitmoji_jax.ops.depthwise import depthwise_conv, shifted_depthwise_conv


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("length", [3, 5])
def test_depthwise_forms_agree(length: int, stride: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, size, size + 3, 4)).astype(np.float32)
    kernel = rng.normal(size=(length, length, 1, 4)).astype(np.float32)
    shifted = shifted_depthwise_conv(jnp.asarray(x), jnp.asarray(kernel), stride)
    monkeypatch.setattr(jax, "default_backend", lambda: "an accelerator")
    np.testing.assert_allclose(shifted, depthwise_conv(x, kernel, stride), atol=1e-5)
