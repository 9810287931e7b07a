import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage import data

from bitmoji_jax.data.roughen import add_noise, blur, draw, jpeg, lower_resolution, roughen, sometimes
from bitmoji_jax.ops.image import to_float, to_uint8

jitted_roughen = jax.jit(roughen)


def face(size: int) -> np.ndarray:
    """A photo of a face, float32 [size, size, 3] in [-1, 1]."""
    photo = Image.fromarray(data.astronaut()[:240, 110:350]).resize((size, size), Image.Resampling.BOX)
    return np.asarray(to_float(np.asarray(photo)))


def grey_gradient(size: int) -> np.ndarray:
    ramp = np.linspace(-0.9, 0.9, size, dtype=np.float32)
    return np.repeat((0.7 * ramp[None, :] + 0.3 * ramp[:, None])[..., None], 3, -1)


def test_numbers_are_drawn_from_their_ranges() -> None:
    drawn = np.stack([draw(key, (0, 1), (-3, -2), (5, 5)) for key in jax.random.split(jax.random.key(0), 100)])
    assert drawn.dtype == np.float32
    assert (drawn >= [0, -3, 5]).all()
    assert (drawn <= [1, -2, 5]).all()
    np.testing.assert_allclose(drawn.mean(0), [0.5, -2.5, 5], atol=0.1)


def test_a_fault_occurs_as_often_as_its_share() -> None:
    keys = jax.random.split(jax.random.key(1), 1000)

    def count(share: float) -> int:
        return int(jax.vmap(lambda key: sometimes(share, lambda value, _: value + 1, jnp.int32(0), key))(keys).sum())

    assert count(0.0) == 0
    assert count(1.0) == 1000
    assert 250 < count(0.3) < 350


def test_noise_has_the_asked_deviation_and_stays_in_range() -> None:
    noisy = np.asarray(add_noise(jnp.zeros((64, 64, 3)), jnp.float32(10), jax.random.key(0)))
    assert noisy.std() * 127.5 == pytest.approx(10, rel=0.03)
    assert abs(noisy.mean() * 127.5) < 0.3
    white = np.asarray(add_noise(jnp.ones((64, 64, 3)), jnp.float32(10), jax.random.key(0)))
    assert white.max() == 1


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.0])
def test_blur_is_that_of_scipy_inside_and_keeps_flat_images(sigma: float) -> None:
    image = face(32)
    blurred = np.asarray(blur(image, jnp.float32(sigma)))
    expected = ndimage.gaussian_filter(image, (sigma, sigma, 0), truncate=6)
    inside = slice(10, -10)
    np.testing.assert_allclose(blurred[inside, inside], expected[inside, inside], atol=1e-4)
    np.testing.assert_allclose(blur(jnp.full((16, 16, 1), 0.3), jnp.float32(sigma)), 0.3, atol=1e-6)


def test_lower_resolution() -> None:
    image = face(64)
    np.testing.assert_allclose(lower_resolution(image, jnp.float32(64)), image, atol=1e-5)
    np.testing.assert_allclose(lower_resolution(jnp.full((64, 64, 3), -0.4), jnp.float32(48.7)), -0.4, atol=1e-5)
    reduced = jax.image.resize(image, (16, 16, 3), "linear", antialias=True)
    expected = jax.image.resize(reduced, (64, 64, 3), "linear")
    np.testing.assert_allclose(lower_resolution(image, jnp.float32(16)), expected, atol=1e-4)


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_jpeg_is_that_of_pillow(quality: int) -> None:
    for image, mean, most in ((grey_gradient(32), 0.5, 2), (face(32), 1, 16)):  # grey levels
        file = io.BytesIO()
        image = np.asarray(to_uint8(image))
        Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling="4:4:4")
        expected = np.asarray(Image.open(file)).astype(float)
        difference = np.abs(np.asarray(to_uint8(jpeg(to_float(image), jnp.float32(quality)))) - expected)
        assert difference.mean() < mean
        assert difference.max() <= most


def test_jpeg_refuses_a_side_that_is_no_multiple_of_8() -> None:
    with pytest.raises(ValueError, match="12 is no multiple of 8"):
        jpeg(jnp.zeros((12, 12, 3)), jnp.float32(50))


def test_a_roughened_image_depends_on_the_key_only_and_is_still_like_itself() -> None:
    image = face(64)
    keys = jax.random.split(jax.random.key(3), 16)
    results = np.stack([jitted_roughen(image, key) for key in keys])
    assert results.dtype == np.float32
    assert results.shape == (16, 64, 64, 3)
    assert np.abs(results).max() <= 1
    np.testing.assert_array_equal(results[0], jitted_roughen(image, keys[0]))
    difference = np.abs(results - image).mean((1, 2, 3)) * 127.5
    assert difference.min() > 1
    assert difference.max() < 25
    assert len(np.unique(difference)) == 16
    np.testing.assert_allclose(jax.jit(jax.vmap(roughen, (None, 0)))(image, keys), results, atol=0.03)


def test_a_faint_pattern_does_not_survive_roughening() -> None:
    """A code of 2 grey levels is lost in the noise: the roughened image says little about its sign at a pixel."""
    image = face(64) * 0.8
    code = np.where(np.random.default_rng(0).random((64, 64, 3)) < 0.5, -1, 1).astype(np.float32)
    keys = jax.random.split(jax.random.key(4), 20)
    found = [np.mean(np.sign(jitted_roughen(image + code * 2 / 127.5, key) - image) == code) for key in keys]
    assert np.mean(found) < 0.65
