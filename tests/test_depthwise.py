"""Both forms of the depthwise convolution."""

import numpy as np
import pytest

from bitmoji_jax.ops.conv import depthwise_conv
from bitmoji_jax.ops.platform import tracing_for


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("length", [3, 5])
def test_depthwise_convolution_is_the_same_on_a_cpu_and_for_an_accelerator(length: int, stride: int, size: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, size, size + 3, 4)).astype(np.float32)
    kernel = rng.normal(size=(length, length, 1, 4)).astype(np.float32)
    on_cpu = depthwise_conv(x, kernel, stride)
    with tracing_for("cuda"):
        np.testing.assert_allclose(on_cpu, depthwise_conv(x, kernel, stride), atol=1e-5)
