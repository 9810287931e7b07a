"""The cases of the benchmark are what they claim to be."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import kid_sensitivity
from benchmarks.kid_sensitivity import (
    Options,
    blurred,
    cases,
    checkered,
    faults,
    hue_turned,
    main,
    modes_lost,
    narrower,
    noisy,
    saturated,
)
from bitmoji_jax.config import DataConfig
from bitmoji_jax.data.builder import SPLITS, Example, encode_image, write_dataset
from bitmoji_jax.data.pipeline import open_dataset
from bitmoji_jax.metrics.checkerboard import checkerboard
from bitmoji_jax.metrics.images import compress_jpeg
from tests.tiny_images import COUNTS, SIZE, index_of, tiny_image


@pytest.fixture
def images() -> np.ndarray:
    """Smooth, far from black and white, so that nothing is clipped."""
    y, x = np.mgrid[:32, :32]
    channels = [128 + 40 * np.sin(x / 5 + n)[..., None] * np.cos(y[..., None] / 6 + np.arange(3)) for n in range(4)]
    return np.rint(channels).astype(np.uint8)


def change(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    return others.astype(float) - images


@pytest.mark.parametrize("sigma", [4, 8])
def test_noise_is_white_and_as_strong_as_said(images: np.ndarray, sigma: float) -> None:
    added = change(images, noisy(images, sigma, np.random.default_rng(0)))
    assert added.std() == pytest.approx(sigma, rel=0.03)
    assert abs(added.mean()) < 0.2
    assert abs(np.corrcoef(added[..., 0].ravel(), added[..., 1].ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef(added[:, 1:].ravel(), added[:, :-1].ravel())[0, 1]) < 0.05


def test_blur_is_of_each_image_and_channel_alone() -> None:
    images = np.zeros((2, 33, 33, 3), np.uint8)
    images[0, 16, 16, 0] = 255
    result = blurred(images, 2.0)
    assert result[0, 16, 16, 0] == round(255 / (2 * np.pi * 2**2))
    assert not result[1].any()
    assert not result[..., 1:].any()


def test_jpeg_loses_something_but_not_much(images: np.ndarray) -> None:
    result = np.stack([compress_jpeg(image, 30) for image in images])
    assert (result.shape, result.dtype) == (images.shape, np.uint8)
    assert 0 < np.abs(change(images, result)).mean() < 8


@pytest.mark.parametrize(("amplitude", "period"), [(4, 2), (8, 4)])
def test_the_checkerboard_has_its_amplitude_and_period(images: np.ndarray, amplitude: float, period: int) -> None:
    result = checkered(images, amplitude, period)
    added = change(images, result)
    assert set(np.unique(added)) == {-amplitude, amplitude}
    np.testing.assert_array_equal(added, np.roll(added, period, axis=1))
    np.testing.assert_array_equal(added, -np.roll(added, period // 2, axis=2))
    before, after = checkerboard(images), checkerboard(result)
    assert getattr(after, f"period_{period}") > 3 * getattr(before, f"period_{period}")


def test_a_third_of_the_circle_turns_red_into_green() -> None:
    red = np.full((1, 4, 4, 3), (200, 0, 0), np.uint8)
    np.testing.assert_allclose(hue_turned(red, 120)[0, 0, 0], [0, 200, 0], atol=6)
    grey = np.full((1, 4, 4, 3), 99, np.uint8)
    np.testing.assert_array_equal(hue_turned(grey, 20), grey)


def test_saturation_halves_the_distance_from_grey(images: np.ndarray) -> None:
    result = saturated(images, 0.5)
    np.testing.assert_allclose(np.ptp(result, axis=-1), np.ptp(images, axis=-1) / 2, atol=1)
    luma = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(result @ luma, images @ luma, atol=1)


def test_narrower_keeps_the_middle_and_moves_the_rest_inwards() -> None:
    image = np.full((1, 100, 100, 3), 255, np.uint8)
    image[:, :, 10:90] = 0
    dark = (narrower(image, 0.1)[0, 50, :, 0] < 128).nonzero()[0]
    assert (dark.min(), dark.max()) == (14, 85)
    assert (narrower(image, 0.1)[..., :5, :] == 255).all()


def test_every_fault_changes_the_images_and_the_same_seed_alike(images: np.ndarray) -> None:
    once, again = faults(seed=3), faults(seed=3)
    for name, fault in once.items():
        result = fault(images)
        assert (result.shape, result.dtype) == (images.shape, np.uint8), name
        assert (result != images).any(axis=(1, 2, 3)).all(), name
        np.testing.assert_array_equal(result, again[name](images), err_msg=name)


@pytest.mark.parametrize("count", [4, 5])
def test_modes_are_lost_and_the_number_is_kept(count: int) -> None:
    images = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    half, mean = modes_lost(images).values()
    assert half.shape == mean.shape == images.shape
    assert len(np.unique(half, axis=0)) == (count + 1) // 2
    assert len(np.unique(mean)) == 1
    assert mean[0, 0, 0, 0] == round((count - 1) / 2)


def test_cases_of_a_dataset(tiny_dataset: Path) -> None:
    dataset = open_dataset(DataConfig(dir=str(tiny_dataset), image_size=SIZE))
    reals, sets = cases(dataset, SIZE)
    assert len(reals) == COUNTS["testB"]
    assert len(sets["untouched photos"]) == COUNTS["testA"]
    assert len(sets["other real avatars"]) == min(COUNTS["testB"], COUNTS["trainB"])
    train = {dataset.read("trainB", i)["image"].tobytes(): dataset.read("trainB", i) for i in range(COUNTS["trainB"])}
    assert {image.tobytes() for image in sets["other real avatars"]} <= set(train)
    for gender in ("female", "male"):
        assert {train[image.tobytes()]["gender"] for image in sets[f"{gender} only"]} == {gender}
    assert "no glasses" not in sets


@pytest.fixture
def with_glasses(tmp_path: Path) -> Path:
    """A dataset of 8 images a split; every second one wears glasses."""
    splits = {
        split: [
            Example(str(index), encode_image(tiny_image(split, index)), "female", attributes={"glasses": index % 2})
            for index in range(8)
        ]
        for split in SPLITS
    }
    write_dataset(tmp_path / "data", splits, size=SIZE, attributes={"glasses": float}, description="tests")
    return tmp_path / "data"


def test_avatars_without_glasses_where_glasses_are_known(with_glasses: Path) -> None:
    _, sets = cases(open_dataset(DataConfig(dir=str(with_glasses), image_size=SIZE)), SIZE)
    assert sorted(index_of("trainB", image) for image in sets["no glasses"]) == [0, 2, 4, 6]
    assert "male only" not in sets


def test_a_table_and_a_file(
    with_glasses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def features(images: np.ndarray) -> np.ndarray:
        return images[:, ::4, ::4].reshape(len(images), -1) / np.float32(255)

    for load in ("load_efficientnet_lite0", "load_squeezenet"):
        monkeypatch.setattr(kid_sensitivity, load, lambda: features)
    main(Options(data=str(with_glasses), size=SIZE, json=tmp_path / "figures.json"))
    printed = capsys.readouterr().out
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["size"] == SIZE
    rows, networks = {row.pop("case"): row for row in figures["rows"]}, {}
    for case, row in rows.items():
        assert case in printed
        scores = [*row.pop("networks").values(), row]
        assert len(scores) == 3
        assert all(np.isfinite(list(values.values())).all() for values in scores)
        networks[case] = scores[0]
    assert networks["the mean image N times"]["neighbour_ratio"] == 0
    assert networks["blur, sigma 2 px"]["kid"] > networks["other real avatars"]["kid"]
