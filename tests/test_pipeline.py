import dataclasses
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from jax.sharding import Mesh
from PIL import Image

from bitmoji_jax.config import DataConfig
from bitmoji_jax.data import pipeline
from bitmoji_jax.data.builder import GENDERS, Example, encode_image, write_dataset
from bitmoji_jax.data.pipeline import Dataset, abstract_batch, open_dataset, train_batches
from bitmoji_jax.errors import InputError
from tests.tiny_images import COUNTS, SIZE, index_of, tiny_image, tiny_landmarks

PHOTOS, AVATARS = COUNTS["trainA"], COUNTS["trainB"]


@pytest.fixture
def config(tiny_dataset: Path) -> DataConfig:
    return DataConfig(dir=str(tiny_dataset), image_size=SIZE, read_threads=1)


def stream(
    config: DataConfig, dataset: Dataset | None = None, *, batch_size: int = 1, seed: int = 0, start: int = 0
) -> Iterator[Any]:
    mesh = Mesh(np.array(jax.local_devices()[:1]), ("data",))
    dataset = dataset or open_dataset(config)
    return train_batches(dataset, config, batch_size=batch_size, seed=seed, mesh=mesh, start=start)


def indices(batch: Any) -> list[tuple[int, int]]:
    """Which photo and which avatar each pair of a batch is made of."""
    return [
        (index_of("trainA", x), index_of("trainB", y))
        for x, y in zip(batch["x"]["image"][0], batch["y"]["image"][0], strict=True)
    ]


def take(batches: Iterator[Any], count: int) -> list[tuple[int, int]]:
    return [pair for _ in range(count) for pair in indices(next(batches))]


def encoded(rgb: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG")
    return buffer.getvalue()


def test_each_epoch_shows_each_image_once_in_a_new_order(config: DataConfig) -> None:
    pairs = take(stream(config, batch_size=6), 3 * PHOTOS // 6)
    for domain, count in enumerate((PHOTOS, AVATARS)):
        order = [pair[domain] for pair in pairs]
        epochs = [order[start : start + count] for start in range(0, 3 * PHOTOS - count + 1, count)]
        assert len(epochs) >= 3
        assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) == len(epochs)
        assert list(range(count)) not in epochs


def test_photos_and_avatars_are_shuffled_independently(config: DataConfig) -> None:
    opened = open_dataset(config)
    # The same rows on both sides, so that one shuffle for both would show.
    same = dataclasses.replace(opened, splits={"trainA": opened.splits["trainA"], "trainB": opened.splits["trainA"]})
    batch = next(stream(config, same, batch_size=PHOTOS))
    x, y = ([index_of("trainA", image) for image in batch[domain]["image"][0]] for domain in ("x", "y"))
    assert sorted(x) == sorted(y)
    assert x != y


def test_the_seed_decides_the_order(config: DataConfig) -> None:
    first, again, other = (take(stream(config, batch_size=PHOTOS, seed=seed), 1) for seed in (1, 1, 2))
    assert first == again
    for domain in (0, 1):
        assert [pair[domain] for pair in first] != [pair[domain] for pair in other]


def test_a_batch_is_uint8_images_with_their_landmarks_and_genders_in_a_row_a_device(config: DataConfig) -> None:
    batch = next(stream(config, batch_size=5))
    for domain, split in (("x", "trainA"), ("y", "trainB")):
        images, landmarks, genders = (batch[domain][name] for name in ("image", "landmarks", "gender"))
        assert (images.shape, images.dtype) == ((1, 5, SIZE, SIZE, 3), np.uint8)
        assert (landmarks.shape, landmarks.dtype) == ((1, 5, 5, 2), np.float32)
        assert (genders.shape, genders.dtype) == ((1, 5), np.int32)
        for image, points, gender in zip(images[0], landmarks[0], genders[0], strict=True):
            index = index_of(split, image)
            assert gender == index % 3  # tiny images are male, female and unknown in turn
            known = tiny_landmarks(index)
            np.testing.assert_array_equal(points, np.full((5, 2), np.nan) if known is None else known)
            assert np.abs(np.asarray(image, int) - tiny_image(split, index)).mean() < 4  # JPEG


def test_the_abstract_batch_is_that_of_the_stream(config: DataConfig) -> None:
    mesh = Mesh(np.array(jax.local_devices()[:1]), ("data",))
    abstract, batch = abstract_batch(open_dataset(config), 5, mesh), next(stream(config, batch_size=5))
    assert jax.tree.map(lambda a: (a.shape, a.dtype, a.sharding), abstract) == jax.tree.map(
        lambda a: (a.shape, a.dtype, a.sharding), batch
    )


def test_two_processes_share_the_batches_of_one(config: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = stream(config, batch_size=6)
    single = [indices(next(whole)) for _ in range(5)]
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    shares = []
    for process in range(2):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        batches = stream(config, batch_size=6)
        shares.append([indices(next(batches)) for _ in range(5)])
    assert all(len(share) == 3 for share in shares[0] + shares[1])
    assert [first + second for first, second in zip(*shares, strict=True)] == single


@pytest.mark.parametrize("processes", [1, 2])
def test_a_continued_stream_goes_on_at_the_very_next_batch_on_any_number_of_processes(
    config: DataConfig, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = stream(config, batch_size=6)
    single = [indices(next(whole)) for _ in range(7)]  # past the end of the epoch
    monkeypatch.setattr(jax, "process_count", lambda: processes)
    shares = []
    for process in range(processes):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        continued = stream(config, batch_size=6, start=3)
        shares.append([indices(next(continued)) for _ in range(4)])
    joined = [[pair for share in batch for pair in share] for batch in zip(*shares, strict=True)]
    assert joined == single[3:]


@pytest.mark.parametrize(("photos", "avatars", "epoch"), [(3, 2, 3), (2, 7, 7), (4, 4, 4)])
def test_an_epoch_is_the_larger_split(photos: int, avatars: int, epoch: int) -> None:
    assert Dataset({"trainA": [{}] * photos, "trainB": [{}] * avatars}, SIZE).epoch_images == epoch


def test_an_opened_dataset_knows_its_sizes(config: DataConfig) -> None:
    dataset = open_dataset(config)
    assert dataset.sizes() == COUNTS
    assert dataset.epoch_images == max(PHOTOS, AVATARS)
    assert dataset.stored_size == SIZE
    assert not dataset.paired_test


@pytest.mark.parametrize("split", COUNTS)
def test_a_row_is_read_with_what_is_known_of_it(config: DataConfig, split: str) -> None:
    dataset = open_dataset(config)
    rows = [dataset.read(split, i) for i in range(COUNTS[split])]
    assert sorted(row["id"] for row in rows) == [f"{i:03}" for i in range(COUNTS[split])]
    for row in rows:
        index = index_of(split, row["image"])
        assert row["id"] == f"{index:03}"
        assert row["gender"] == ("male", "female", "unknown")[index % 3]
        assert np.isnan(row["landmarks"]).all() == bool(index % 2)


def test_test_pairs_join_what_has_the_same_id() -> None:
    splits = {"testA": [{"id": b"p"}, {"id": b"q"}, {"id": b"r"}], "testB": [{"id": b"r"}, {"id": b"p"}, {"id": b"q"}]}
    assert Dataset(splits, SIZE, paired_test=True).test_pairs() == [(0, 1), (1, 2), (2, 0)]
    assert Dataset(splits, SIZE).test_pairs() == []


def test_without_dir_and_name_the_synthetic_set_of_that_size_is_opened(
    tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    monkeypatch.setattr(pipeline, "synthetic_dataset", lambda size: sizes.append(size) or tiny_dataset)
    dataset = open_dataset(DataConfig(image_size=64))
    assert sizes == [64]
    assert dataset.paired_test
    assert dataset.sizes() == COUNTS


def test_a_dataset_without_training_avatars_is_an_input_error(tmp_path: Path) -> None:
    image = encode_image(tiny_image("trainA", 0))
    splits = {"trainA": [Example("0", image)], "testB": [Example("0", image)]}
    write_dataset(tmp_path / "half", splits, size=SIZE, attributes={}, description="tests")
    with pytest.raises(InputError, match=r"half.*trainB"):
        open_dataset(DataConfig(dir=str(tmp_path / "half")))


def test_test_splits_may_be_missing(tmp_path: Path) -> None:
    splits = {split: [Example("0", encode_image(tiny_image(split, 0)))] for split in ("trainA", "trainB")}
    write_dataset(tmp_path / "train", splits, size=SIZE, attributes={}, description="tests")
    assert open_dataset(DataConfig(dir=str(tmp_path / "train"))).sizes() == {"trainA": 1, "trainB": 1}


def test_a_dataset_in_tfrecord_files_is_an_input_error_that_names_the_mend(tiny_dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tfrecord"
    shutil.copytree(tiny_dataset, folder)
    for path in folder.glob("*array_record*"):
        path.rename(path.with_name(path.name.replace("array_record", "tfrecord")))
    info = json.loads((folder / "dataset_info.json").read_text())
    info["fileFormat"] = "tfrecord"
    for split in info["splits"]:
        split["filepathTemplate"] = split["filepathTemplate"].replace("array_record", "tfrecord")
    (folder / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(InputError, match=r"trainA.*tfrecord.*array_record"):
        open_dataset(DataConfig(dir=str(folder)))


@pytest.mark.parametrize("name", [None, "no_such_thing", "cycle_gan/no_such_pair"])
def test_a_dataset_that_is_not_there_is_an_input_error_that_names_the_mend(name: str | None, tmp_path: Path) -> None:
    folder = str(tmp_path / "nowhere")
    with pytest.raises(InputError, match=rf"cannot open the dataset {name or folder}: .*prepare --photos DIR") as error:
        open_dataset(DataConfig(name=name, dir=folder))
    assert "\n" not in str(error.value)


def test_a_folder_of_something_else_is_an_input_error_that_names_the_mend(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"prepare --photos DIR"):
        open_dataset(DataConfig(dir=str(tmp_path)))


def test_a_tfds_dataset_that_is_not_prepared_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cycle_gan/horse2zebra.*trainA.*prepared"):
        open_dataset(DataConfig(name="cycle_gan/horse2zebra", dir=str(tmp_path)))


@pytest.mark.parametrize("shape", [(20, 60), (60, 20), (50, 50), (33, 34)])
def test_an_image_of_another_shape_is_cropped_to_the_centre_and_resized(shape: tuple[int, int]) -> None:
    # Grey, which tells its place; what is outside of the central square is red.
    height, width = shape
    side = min(shape)
    top, left = (height - side) // 2, (width - side) // 2
    image = np.full((height, width, 3), (255, 0, 0), np.uint8)
    square = 60 + 120 * (np.arange(side)[:, None] + np.arange(side)[None]) / (2 * side - 2)
    image[top : top + side, left : left + side] = square.round().astype(np.uint8)[..., None]
    read = Dataset({"trainA": [{"image": encoded(image)}]}, SIZE).read("trainA", 0)["image"]
    assert (read.shape, read.dtype) == ((SIZE, SIZE, 3), np.uint8)
    centre = (np.arange(SIZE) + 0.5) / SIZE * side - 0.5  # of each new pixel, in old pixels
    expected = 60 + 120 * (centre[:, None] + centre[None]) / (2 * side - 2)
    inside = slice(2, -2)  # at the edge, the filter takes in what lies outside of the square
    np.testing.assert_allclose(read[inside, inside], expected[inside, inside, None].repeat(3, -1), atol=1.5)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_an_image_of_another_mode_becomes_rgb(mode: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (SIZE, SIZE), (102, 102, 102)).convert(mode).save(buffer, "PNG")
    read = Dataset({"trainA": [{"image": buffer.getvalue()}]}, SIZE).read("trainA", 0)["image"]
    assert read.shape == (SIZE, SIZE, 3)
    assert (read == 102).all()


def test_a_row_with_nothing_but_an_image_has_its_index_for_an_id() -> None:
    rows = [{"image": encoded(tiny_image("trainA", i))} for i in range(3)]
    row = Dataset({"trainA": rows}, SIZE).read("trainA", 2)
    assert (row["id"], row["gender"]) == ("2", "unknown")
    assert row["landmarks"].shape == (5, 2)
    assert np.isnan(row["landmarks"]).all()


@pytest.fixture(params=[False, True], ids=["without-id", "with-id"])
def horse2zebra(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A TFDS data directory with a cycle_gan/horse2zebra of other images."""
    features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(names=["A", "B"])}
    if request.param:
        features["id"] = tfds.features.Text()

    class CycleGAN(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = "cycle_gan"
        BUILDER_CONFIGS = (tfds.core.BuilderConfig(name="horse2zebra", version=tfds.core.Version("3.0.0")),)
        code_path = None  # nor any checksums of downloads beside it

        def _info(self) -> tfds.core.DatasetInfo:
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager: object) -> dict[str, Any]:
            del dl_manager
            return {split: self._generate_examples(split) for split in COUNTS}

        def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
            for index in range(COUNTS[split]):
                image = encoded(tiny_image(split, index, size=48))
                row = {"image": image, "label": split[-1], "id": f"n{index}"}
                yield str(index), {name: row[name] for name in features}

    tfds.disable_progress_bar()
    builder = CycleGAN(config="horse2zebra", data_dir=tmp_path, file_format="array_record")
    builder.download_and_prepare(download_dir=tmp_path / "downloads")
    return tmp_path


def test_a_dataset_of_tfds_opens_by_name(horse2zebra: Path) -> None:
    config = DataConfig(name="cycle_gan/horse2zebra", dir=str(horse2zebra), image_size=SIZE, read_threads=1)
    dataset = open_dataset(config)
    assert dataset.sizes() == COUNTS
    assert dataset.stored_size == 36  # 32 px and the margin to crop from, as the images' shape is not fixed
    for split, count in COUNTS.items():
        rows = [dataset.read(split, i) for i in range(count)]
        assert all(row["image"].shape == (36, 36, 3) for row in rows)
        assert sorted(index_of(split, row["image"]) for row in rows) == list(range(count))
    batch = next(stream(config, batch_size=PHOTOS))
    assert batch["x"]["image"].shape == (1, PHOTOS, 36, 36, 3)
    assert sorted(pair[0] for pair in indices(batch)) == list(range(PHOTOS))
    assert np.isnan(batch["x"]["landmarks"]).all()
    assert (np.asarray(batch["x"]["gender"]) == GENDERS.index("unknown")).all()


def test_damaged_dataset_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text("{")
    with pytest.raises(InputError, match="cannot open the dataset"):
        open_dataset(DataConfig(dir=str(tmp_path)))
