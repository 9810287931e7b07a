import dataclasses
from pathlib import Path

import numpy as np
import pytest

from bitmoji_jax.data.builder import SPLITS, Example
from bitmoji_jax.data.images import decode_image
from bitmoji_jax.data.synthetic import dataset as synthetic
from bitmoji_jax.data.synthetic import spec as names
from bitmoji_jax.data.synthetic.avatar import avatar_landmarks, render_avatar
from bitmoji_jax.data.synthetic.dataset import synthetic_dataset
from bitmoji_jax.data.synthetic.jobs import list_jobs, render_job
from bitmoji_jax.data.synthetic.layers import View, hair_layer, library_part, rasterise
from bitmoji_jax.data.synthetic.photo import render_photo
from bitmoji_jax.data.synthetic.pose import photo_landmarks
from bitmoji_jax.data.synthetic.spec import AvatarSpec, Nuisance, sample_nuisance, sample_spec
from bitmoji_jax.errors import InputError
from tests.image_folders import read_split

SIZE = 64
TINY = {"train_images": 3, "test_images": 4}
IDENTITY = ("glasses", "skin_r", "skin_g", "skin_b", "hair_r", "hair_g", "hair_b")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_dataset(SIZE, **TINY, cache_dir=tmp_path_factory.mktemp("cache"), workers=1)


@pytest.fixture(scope="module")
def splits(dataset: Path) -> dict[str, dict[str, Example]]:
    return {split: {example.id: example for example in read_split(dataset, split)} for split in SPLITS}


def draw(seed: int) -> tuple[AvatarSpec, Nuisance]:
    rng = np.random.default_rng(seed)
    return sample_spec(rng), sample_nuisance(rng)


def bare(spec: AvatarSpec, **changes: object) -> AvatarSpec:
    """The spec with nothing over the skin and the eyes."""
    return dataclasses.replace(spec, hair="NONE", facial_hair="NONE", glasses="NONE", **changes)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".json"}


def luminance(image: np.ndarray) -> np.ndarray:
    return image.astype(float).mean(-1)


def around(image: np.ndarray, point: np.ndarray, radius: float) -> np.ndarray:
    """The pixels within a radius (a fraction of the image) of a point (fractions)."""
    centres = (np.arange(len(image)) + 0.5) / len(image)
    return image[np.hypot(centres[None, :] - point[0], centres[:, None] - point[1]) < radius]


def test_splits_have_the_numbers_asked_for(splits: dict[str, dict[str, Example]]) -> None:
    assert {split: len(examples) for split, examples in splits.items()} == {
        "trainA": 3,
        "trainB": 3,
        "testA": 4,
        "testB": 4,
    }
    for examples in splits.values():
        for example in examples.values():
            assert decode_image(example.image).shape == (SIZE, SIZE, 3)
            assert example.gender in ("male", "female")
            assert set(example.attributes) == set(synthetic.ATTRIBUTES)


def test_same_bytes_whatever_the_number_of_workers(dataset: Path, tmp_path: Path) -> None:
    again = synthetic_dataset(SIZE, **TINY, cache_dir=tmp_path, workers=2)
    assert again.name == dataset.name
    assert content(again) == content(dataset)


def test_seed_and_size_have_their_own_place(dataset: Path) -> None:
    other = synthetic_dataset(32, train_images=1, test_images=1, seed=1, cache_dir=dataset.parent, workers=1)
    assert other != dataset
    (example,) = read_split(other, "trainA")
    assert decode_image(example.image).shape == (32, 32, 3)


def test_no_spec_is_shared_but_by_test_partners() -> None:
    jobs = list_jobs(300, 50, seed=0)
    specs = {split: [job.spec for job in jobs if job.split == split] for split in SPLITS}
    assert specs["testA"] == specs["testB"]
    distinct = set(specs["trainA"]) | set(specs["trainB"]) | set(specs["testA"])
    assert len(distinct) == 300 + 300 + 50


def test_test_pairs_do_not_depend_on_the_number_of_training_images() -> None:
    few, many = ([j for j in list_jobs(n, 5, seed=3) if j.split in ("testA", "testB")] for n in (1, 20))
    assert few == many


def test_test_partners_are_the_same_head(splits: dict[str, dict[str, Example]]) -> None:
    photos, avatars = splits["testA"], splits["testB"]
    assert photos.keys() == avatars.keys()
    for id, photo in photos.items():
        assert photo.gender == avatars[id].gender
        assert [photo.attributes[k] for k in IDENTITY] == [avatars[id].attributes[k] for k in IDENTITY]


def test_stored_images_are_those_of_the_specs(splits: dict[str, dict[str, Example]]) -> None:
    for job in list_jobs(**TINY, seed=0):
        if not job.split.startswith("test"):
            continue
        stored = splits[job.split][f"head-{job.number:05d}"]
        landmarks = photo_landmarks(job.spec, job.nuisance) if job.nuisance else avatar_landmarks(job.spec)
        assert np.abs(decode_image(stored.image).astype(float) - render_job(job, SIZE)).mean() < 5  # JPEG
        np.testing.assert_array_equal(stored.landmarks, landmarks)


def test_rendering_depends_on_nothing_but_its_arguments() -> None:
    spec, nuisance = draw(0)
    first = render_avatar(spec, SIZE), render_photo(spec, nuisance, SIZE)
    for seed in range(1, 4):  # fills the caches with other layers
        render_photo(*draw(seed), SIZE)
    np.random.seed(7)
    np.testing.assert_array_equal(render_avatar(spec, SIZE), first[0])
    np.testing.assert_array_equal(render_photo(spec, nuisance, SIZE), first[1])


@pytest.mark.parametrize("size", [32, 64, 128, 100])
def test_any_size(size: int) -> None:
    spec, nuisance = draw(1)
    for image in (render_avatar(spec, size), render_photo(spec, nuisance, size)):
        assert image.shape == (size, size, 3)
        assert image.dtype == np.uint8


def test_a_photo_looks_alike_at_every_size() -> None:
    spec, nuisance = draw(2)
    small, large = render_photo(spec, nuisance, 64), render_photo(spec, nuisance, 128)
    shrunk = large.reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert np.corrcoef(luminance(small).ravel(), luminance(shrunk).ravel())[0, 1] > 0.9


def test_avatar_shows_the_colours_of_its_labels() -> None:
    for seed in range(12):
        spec, _ = draw(seed)
        cheeks = around(render_avatar(bare(spec), 128), np.array([0.42, 0.66]), 0.03)
        np.testing.assert_allclose(np.median(cheeks, 0), spec.skin, atol=4)
        fringe = render_avatar(dataclasses.replace(spec, hair="BOB"), 128)[20:24, 56:72].reshape(-1, 3)
        np.testing.assert_allclose(np.median(fringe, 0), spec.hair_colour, atol=4)
        assert np.all(render_avatar(bare(spec), 128)[:4, :4] == 255)


def test_photo_keeps_the_order_of_skin_and_hair_tones() -> None:
    """Light, white balance and exposure change a colour, but must not hide which of two heads is darker."""
    skin_labels, skin_seen, hair_labels, hair_seen = [], [], [], []
    for seed in range(24):
        spec, nuisance = draw(seed)
        nuisance = dataclasses.replace(nuisance, shadow=False, hat="NONE")
        between_eyes = photo_landmarks(spec, nuisance)[:2].mean(0)
        bald = luminance(render_photo(bare(spec), nuisance, 64))
        skin_labels.append(np.mean(spec.skin))
        skin_seen.append(around(bald, between_eyes + np.array([0, 0.08]), 0.06).mean())
        haired = luminance(render_photo(dataclasses.replace(spec, hair="BOB"), nuisance, 64))
        hair_labels.append(np.mean(spec.hair_colour))
        hair_seen.append(around(haired, between_eyes - np.array([0, 0.32]), 0.06).mean())
    assert np.corrcoef(skin_labels, skin_seen)[0, 1] > 0.85
    assert np.corrcoef(hair_labels, hair_seen)[0, 1] > 0.85


def test_landmarks_sit_on_eyes_and_mouths() -> None:
    for seed in range(10):
        spec, nuisance = draw(seed)
        spec = bare(spec, skin=(240, 200, 170), mouth="BIG_SMILE", eyes="open")
        nuisance = dataclasses.replace(nuisance, shadow=False, hat="NONE", blur=0.001, ambient=0.6)
        for image, points in (
            (render_avatar(spec, 128), avatar_landmarks(spec)),
            (render_photo(spec, nuisance, 128), photo_landmarks(spec, nuisance)),
        ):
            assert points.shape == (5, 2)
            assert np.all((points > 0.2) & (points < 0.85))
            below = np.array([0, 0.09])
            for eye in points[:2]:
                assert (
                    luminance(around(image, eye, 0.012)).mean()
                    < 0.6 * luminance(around(image, eye + below, 0.03)).mean()
                )
            # Between the corners there is a mouth: something other than skin.
            middle = (points[3] + points[4]) / 2 + [0, 0.02]
            assert around(image, middle, 0.05).std(0).max() > 20


def test_landmarks_follow_the_pose() -> None:
    spec, nuisance = draw(4)
    still = dataclasses.replace(nuisance, rotation=0.0, shift=(0.0, 0.0), scale=1.0, yaw=0.0)
    upright = photo_landmarks(spec, still)
    np.testing.assert_allclose(upright[0, 1], upright[1, 1], atol=1e-4)
    np.testing.assert_allclose(upright[0, 0] + upright[1, 0], 1, atol=1e-4)
    moved = photo_landmarks(spec, dataclasses.replace(still, shift=(0.03, -0.02)))
    np.testing.assert_allclose(moved - upright, np.broadcast_to([0.03, -0.02], (5, 2)), atol=1e-4)
    clockwise = photo_landmarks(spec, dataclasses.replace(still, rotation=0.1))
    assert clockwise[1, 1] > clockwise[0, 1]


def test_hats_are_worn_in_photos_only(splits: dict[str, dict[str, Example]]) -> None:
    hats = [job for job in list_jobs(200, 20, seed=0) if job.nuisance and job.nuisance.hat != "NONE"]
    assert {job.split for job in hats} <= {"trainA", "testA"}
    assert 0.03 < len(hats) / 220 < 0.15
    assert not any(e.attributes["hat"] for split in ("trainB", "testB") for e in splits[split].values())
    spec, nuisance = draw(5)
    for hat in names.HATS:
        worn = dataclasses.replace(nuisance, hat=hat, hat_colour=(0, 0, 255), shadow=False, warmth=0.0)
        crown = render_photo(spec, worn, 64)[8:12, 28:36].reshape(-1, 3).mean(0)
        assert crown[2] > 2 * max(crown[0], crown[1])


def test_glasses_are_kept_in_both_domains() -> None:
    spec, nuisance = draw(6)
    for glasses in names.GLASSES:
        worn = dataclasses.replace(spec, glasses=glasses)
        without = dataclasses.replace(spec, glasses="NONE")
        assert (render_avatar(worn, 64) != render_avatar(without, 64)).any(-1).mean() > 0.02
        difference = render_photo(worn, nuisance, 64).astype(int) - render_photo(without, nuisance, 64)
        assert (np.abs(difference) > 30).any(-1).mean() > 0.01


def test_cast_shadow_darkens_a_part_of_the_face() -> None:
    spec, nuisance = draw(7)
    dark, plain = (
        luminance(render_photo(spec, dataclasses.replace(nuisance, shadow=shadow), 64))[20:50, 20:44]
        for shadow in (True, False)
    )
    share = (dark < 0.8 * plain).mean()
    assert 0.1 < share < 0.9


@pytest.mark.parametrize("hair", [*names.FEMALE_HAIR, *names.MALE_HAIR])
def test_all_hair_takes_the_hair_colour(hair: str) -> None:
    rgba = rasterise(library_part("Top", hair), View(12, 0, 240), 96)
    red, green, blue = (rgba[..., channel][rgba[..., 3] > 0.9] for channel in range(3))
    # Shades of the key colour green, and white strands: of the library's own colours no more than a tinge.
    assert np.abs(red - blue).max(initial=0) < 0.15
    assert (green - red).min(initial=0) > -0.05
    if hair != "NONE":
        assert hair_layer(hair, "NONE", View(12, 0, 240), 96).coverage.mean() > 0.005


@pytest.mark.parametrize("facial_hair", names.FACIAL_HAIR)
def test_facial_hair_takes_the_hair_colour(facial_hair: str) -> None:
    rgba = rasterise(library_part("Top", facial_hair=facial_hair), View(12, 0, 240), 96)
    solid = rgba[rgba[..., 3] > 0.99]
    assert len(solid) > 50
    np.testing.assert_allclose(np.median(solid, 0), [0, 1, 0, 1], atol=0.01)


def test_cache_is_used_again(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "map_in_workers", lambda *_: pytest.fail("rendered again"))
    assert synthetic_dataset(SIZE, **TINY, cache_dir=dataset.parent) == dataset


def test_it_says_that_it_is_synthetic_and_is_kept_in_xdg_cache_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = synthetic_dataset(16, train_images=1, test_images=1, workers=1)
    assert folder.parent == tmp_path / "bitmoji_jax"
    assert "synthetic" in capfd.readouterr().err
    assert "synthetic" in (folder / "dataset_info.json").read_text().lower()


def test_failed_render_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A sitecustomize that ends the worker's interpreter before its first image.
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sitecustomize.py").write_text("import os; os._exit(3)\n")
    monkeypatch.syspath_prepend(tmp_path / "broken")
    with pytest.raises(InputError, match="died with exit code 3"):
        synthetic_dataset(16, train_images=4, test_images=1, cache_dir=tmp_path / "cache", workers=2)
    assert list((tmp_path / "cache").iterdir()) == []


def test_loser_of_a_race_takes_the_winners_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = synthetic.write_dataset

    def write_twice(out: Path, *args: object, **kwargs: object) -> None:
        write(out, *args, **kwargs)  # the other process
        write(out, *args, **kwargs)

    monkeypatch.setattr(synthetic, "write_dataset", write_twice)
    folder = synthetic_dataset(16, train_images=1, test_images=1, cache_dir=tmp_path, workers=1)
    assert len(list(read_split(folder, "testB"))) == 1
    assert list(tmp_path.iterdir()) == [folder]


def test_unwritable_cache_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"synthetic dataset, .*Not a directory"):
        synthetic_dataset(16, train_images=1, test_images=1, cache_dir=tmp_path / "file" / "cache")


@pytest.mark.parametrize(("size", "images"), [(8, 1), (64, 0)])
def test_numbers_out_of_range(size: int, images: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="want size"):
        synthetic_dataset(size, train_images=images, test_images=1, cache_dir=tmp_path)
