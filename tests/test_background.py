import numpy as np

from bitmoji_jax.ops.background import white_background


def test_the_background_is_the_white_that_reaches_the_border() -> None:
    image = np.full((8, 8, 3), 255, np.uint8)
    image[2:7, 2:7] = 0
    image[4, 4] = 255  # enclosed
    image[0, 0] = (255, 255, 200)  # not white
    image[0, 7] = (255, 240, 230)
    expected = np.ones((8, 8), bool)
    expected[2:7, 2:7] = expected[0, 0] = False
    np.testing.assert_array_equal(white_background(image, 228), expected)
    expected[0, 7] = False
    np.testing.assert_array_equal(white_background(image, 235), expected)
