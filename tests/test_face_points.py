"""Points of faces: measured in photos and avatars, and moved from the ones' distribution to the others'."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data

from bitmoji_jax.config import ExperimentConfig
from bitmoji_jax.data.pipeline import open_dataset
from bitmoji_jax.data.synthetic.avatar import avatar_landmarks, render_avatar
from bitmoji_jax.data.synthetic.spec import sample_spec
from bitmoji_jax.faces.align import align
from bitmoji_jax.models import reshape_face
from bitmoji_jax.models.face_points import MIRRORED, POINTS, Transport, measure
from bitmoji_jax.ops.image import to_float
from bitmoji_jax.training import measure_images, transport
from bitmoji_jax.training.transport import fit_transport, optimal_transport
from tests.tiny_images import COUNTS, tiny_image


def normal_points(count: int, seed: int, spread: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(0, spread, (2 * POINTS, 2 * POINTS))
    return (rng.normal(size=(count, 2 * POINTS)) @ mixing).reshape(count, POINTS, 2)


def mirrored(points: np.ndarray) -> np.ndarray:
    return (points * (-1, 1))[:, MIRRORED]


def with_mirrored(points: np.ndarray) -> np.ndarray:
    return np.concatenate([points, mirrored(points)]).reshape(-1, 2 * POINTS)


def apply(fitted: dict[str, np.ndarray], points: np.ndarray) -> np.ndarray:
    return np.asarray(Transport().apply({"params": fitted}, jnp.asarray(points, jnp.float32)))


def test_the_points_of_photos_are_moved_to_mean_and_covariance_of_those_of_avatars(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photos, avatars = normal_points(4000, 0, 0.01), normal_points(3000, 1, 0.02) + 0.1
    monkeypatch.setattr(transport, "_LEAST_VARIANCE", 0.0)
    fitted = optimal_transport(photos, avatars)
    found = apply(fitted, with_mirrored(photos).reshape(-1, POINTS, 2)).reshape(-1, 2 * POINTS)
    wanted = with_mirrored(avatars)
    np.testing.assert_allclose(found.mean(0), wanted.mean(0), atol=1e-4)
    np.testing.assert_allclose(np.cov(found.T), np.cov(wanted.T), atol=0.01 * np.cov(wanted.T).max())
    # No farther than it must: the map of the optimal transport is symmetric, and equal sets stay as they are.
    np.testing.assert_allclose(fitted["matrix"], fitted["matrix"].T, atol=1e-3)
    np.testing.assert_allclose(apply(optimal_transport(photos, photos), photos[:5]), photos[:5], atol=1e-4)


def test_where_photos_hardly_vary_their_errors_are_not_stretched() -> None:
    photos, avatars = normal_points(500, 0, 0.01), normal_points(500, 1, 0.02)
    photos[:, 0] = 0.4 + 1e-4 * (photos[:, 0] - 0.5)  # an eye that alignment puts in its place
    photos[:, 1] = [0.6, 0.4]
    assert np.abs(optimal_transport(photos, avatars)["matrix"]).max() < 20


def test_a_mirrored_photo_gets_mirrored_points() -> None:
    photos = normal_points(500, 0, 0.01)
    fitted = optimal_transport(photos, normal_points(500, 1, 0.02))
    of_mirrored = apply(fitted, mirrored(photos[:3]))
    np.testing.assert_allclose(mirrored(of_mirrored), apply(fitted, photos[:3]), atol=1e-4)


def test_points_are_found_in_a_photo_in_an_avatar_and_mirrored_in_a_mirrored_one() -> None:
    found = jax.jit(lambda image: measure(to_float(image)[None])[0])
    photo = align(skimage.data.astronaut(), size=256, cut_out=True)[0].image
    spec = sample_spec(np.random.default_rng(0))
    avatar = render_avatar(spec, 256)
    for image, known in ((photo, None), (avatar, avatar_landmarks(spec))):
        points = np.asarray(found(image))
        assert points.shape == (POINTS, 2)
        of_mirrored = np.asarray(found(image[:, ::-1]))[None]
        np.testing.assert_allclose(mirrored(of_mirrored)[0] + (1, 0), points, atol=0.03)
        if known is not None:
            assert np.linalg.norm(points[:5] - known, axis=1).mean() < 0.03
        left, right, nose, *mouth, upper, lower, chin, jaw, other_jaw, brow, other_brow = points
        assert left[0] < nose[0] < right[0]
        assert left[0] - right[0] < mouth[0][0] - mouth[1][0] < 0
        assert brow[1] < left[1] < nose[1] < upper[1] <= lower[1] + 0.01 < chin[1]
        assert jaw[0] < left[0] < right[0] < other_jaw[0]
        assert brow[0] < other_brow[0]


def test_a_transport_is_fitted_to_the_training_images(
    tiny_config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def brightness(images: jax.Array) -> jax.Array:
        far = jnp.zeros((len(images), POINTS, 2)).at[:, 2, 1].set(images[..., 1].mean(axis=(1, 2)))
        return far + 0.25

    monkeypatch.setattr(transport, "measure", brightness)
    monkeypatch.setattr(measure_images, "_BATCH", 5)  # 12 photos and 9 avatars
    fitted = fit_transport(open_dataset(tiny_config.data))["params"]
    for split, mean in (("trainA", fitted["source"]), ("trainB", fitted["target"])):
        green = np.stack([tiny_image(split, i)[..., 1] for i in range(COUNTS[split])]).mean() / 127.5 - 1
        expected = np.zeros((POINTS, 2))  # counted from the eyes
        expected[2, 1] = green
        np.testing.assert_allclose(mean.reshape(POINTS, 2), expected, atol=0.02)  # JPEG


def test_an_avatar_s_points_come_to_where_the_photo_wants_them_and_its_eyes_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = 64
    usual = np.array(
        [[-1, 0], [1, 0], [0, 1], [-1, 2], [1, 2], [0, 1.8], [0, 2.2], [0, 3.2], [-1.6, 2], [1.6, 2], [-1, -1], [1, -1]]
    )
    usual = usual * 0.13
    points = {"photo": usual.copy(), "avatar": usual + np.array([0.47, 0.4])}
    points["photo"][2] += (0.04, -0.03)  # the tip of the nose; all others are usual
    points["photo"][7] += (0, 0.5)  # an error of measurement
    monkeypatch.setattr(reshape_face, "measure", lambda _: jnp.asarray(points["avatar"], jnp.float32)[None])
    params = {"matrix": np.eye(2 * POINTS), "source": np.zeros(2 * POINTS), "target": usual.ravel()}
    # T adds the usual points to what is not usual of the photo.
    params["source"] = usual.ravel()
    centres = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid(centres, centres)
    nose, eye = (points["avatar"][i] for i in (2, 0))
    avatar = np.stack(
        [np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 0.03**2)) for px, py in (nose, eye, nose)], axis=-1
    ).astype(np.float32)

    def reshaped() -> np.ndarray:
        of_photos, transport = jnp.asarray(points["photo"], jnp.float32)[None], jax.tree.map(np.float32, params)
        return np.asarray(reshape_face.reshape_faces(jnp.asarray(avatar)[None], of_photos, {"params": transport})[0][0])

    moved = reshaped()

    def place(channel: np.ndarray) -> np.ndarray:
        return np.array([(channel * x).sum(), (channel * y).sum()]) / channel.sum()

    np.testing.assert_allclose(place(moved[..., 0]) - nose, (0.04, -0.03), atol=0.012)
    np.testing.assert_allclose(place(moved[..., 1]), eye, atol=0.012)
    # Nothing to move, nothing moved.
    points["photo"] = usual
    np.testing.assert_allclose(reshaped(), avatar, atol=1e-4)
