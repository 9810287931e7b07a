import types
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from bitmoji_jax.config import ExperimentConfig
from bitmoji_jax.data.builder import encode_image
from bitmoji_jax.data.pipeline import Dataset, open_dataset
from bitmoji_jax.models.generator import Generator
from bitmoji_jax.ops.image import to_float, to_uint8
from bitmoji_jax.training.samples import Sampler, make_grid, sample_images, save_picture
from bitmoji_jax.training.translate_stage import translate_stage
from tests.tiny_images import COUNTS, SIZE, index_of, tiny_image

COLUMNS = ("real_x", "fake_y", "rec_x", "real_y", "fake_x", "rec_y")  # of the first stage


def cells(grid: np.ndarray, rows: int, size: int = SIZE) -> np.ndarray:
    """The images of a grid, [row, column, size, size, 3], without the header."""
    body = grid[len(grid) - rows * size :]
    return body.reshape(rows, size, len(COLUMNS), size, 3).swapaxes(1, 2)


def test_a_grid_has_a_row_an_image_and_the_columns_in_order() -> None:
    rng = np.random.default_rng(0)
    columns = {name: rng.integers(0, 256, (3, 48, 48, 3), dtype=np.uint8) for name in COLUMNS}
    grid = make_grid(columns)
    assert grid.dtype == np.uint8
    assert grid.shape[1:] == (6 * 48, 3)
    assert 3 * 48 < grid.shape[0] < 4 * 48
    for i, name in enumerate(COLUMNS):
        np.testing.assert_array_equal(cells(grid, 3, 48)[:, i], columns[name])


def test_every_column_has_its_name_above_it() -> None:
    grid = make_grid({name: np.zeros((1, 64, 64, 3), np.uint8) for name in COLUMNS})
    headers = np.split(grid[:-64], len(COLUMNS), axis=1)
    assert all((header == 255).any() and (header < 128).any() for header in headers)
    assert len({header.tobytes() for header in headers}) == len(COLUMNS)


def test_a_saved_picture_reads_back_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "samples" / "raw_00000001.png"
    for seed in range(2):  # the second replaces the first
        picture = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
        save_picture(picture, path)
        with Image.open(path) as image:
            assert image.format == "PNG"
            np.testing.assert_array_equal(np.asarray(image), picture)
    assert list(path.parent.iterdir()) == [path]


def test_a_picture_that_cannot_be_written_whole_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    save_picture(np.full((4, 4, 3), 7, np.uint8), path)

    write_bytes = Path.write_bytes

    def disk_full(target: Path, contents: bytes) -> None:
        write_bytes(target, contents[: len(contents) // 2])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", disk_full)
    with pytest.raises(OSError, match="No space"):
        save_picture(np.zeros((4, 4, 3), np.uint8), path)
    assert (np.asarray(Image.open(path)) == 7).all()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("count", "expected"), [(2, 2), (3, 3), (8, min(COUNTS["testA"], COUNTS["testB"]))])
def test_samples_are_the_first_test_images(tiny_config: ExperimentConfig, count: int, expected: int) -> None:
    dataset = open_dataset(tiny_config.data)
    images = sample_images(dataset, count)
    for domain, split in (("x", "testA"), ("y", "testB")):
        assert images[domain].shape == (expected, SIZE, SIZE, 3)
        assert images[domain].dtype == np.uint8
        for i in range(expected):
            row = dataset.read(split, i)
            np.testing.assert_array_equal(images[domain][i], row["image"])
            assert index_of(split, images[domain][i]) == int(row["id"])


@pytest.mark.parametrize("test_splits", [(), ("testA",), ("testB",)])
def test_where_there_is_no_test_split_samples_are_training_images(test_splits: tuple[str, ...]) -> None:
    splits = {
        split: [{"image": encode_image(tiny_image(split, first + i))} for i in range(2)]
        for split, first in (("trainA", 0), ("trainB", 0), ("testA", 5), ("testB", 5))
        if split in (*test_splits, "trainA", "trainB")
    }
    images = sample_images(Dataset(splits, SIZE), 5)
    for domain, split in (("x", "testA"), ("y", "testB")):
        first = 5 if split in test_splits else 0
        assert [index_of(split, image) for image in images[domain]] == [first, first + 1]


def test_partners_stand_beside_each_other() -> None:
    def rows(split: str, order: list[int]) -> list[dict[str, bytes]]:
        return [{"id": b"%d" % i, "image": encode_image(tiny_image(split, i))} for i in order]

    splits = {"testA": rows("testA", [4, 0, 2]), "testB": rows("testB", [0, 2, 4])}
    images = sample_images(Dataset(splits, SIZE, paired_test=True), 2)
    assert [index_of("testA", image) for image in images["x"]] == [4, 0]
    assert [index_of("testB", image) for image in images["y"]] == [4, 0]


def some_params(generator: Generator, seed: int) -> Any:
    """Random weights, of such a scale that the outputs of two seeds differ plainly."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(generator.init, jax.random.key(0), np.zeros((1, SIZE, SIZE, 3)))
    return jax.tree.map(lambda leaf: rng.normal(scale=0.1, size=leaf.shape).astype(np.float32), shapes)


def test_the_sampler_draws_both_cycles_with_raw_and_averaged_weights(
    tiny_config: ExperimentConfig, tmp_path: Path
) -> None:
    dataset = open_dataset(tiny_config.data)
    stage = translate_stage(tiny_config, 12)
    assert stage.column_names == COLUMNS
    sampler = Sampler(tiny_config, stage, dataset, tmp_path / "samples")
    generator = Generator(tiny_config.generator)
    weights = [some_params(generator, seed) for seed in range(4)]
    state: Any = types.SimpleNamespace(
        generators={"g": weights[0], "f": weights[1]}, ema={"g": weights[2], "f": weights[3]}, frozen={}
    )
    pictures = sampler.save(state, 1234)
    assert set(pictures) == {"raw", "ema"}
    files = {path.name: np.asarray(Image.open(path)) for path in (tmp_path / "samples").iterdir()}
    assert set(files) == {"raw_00001234.png", "ema_00001234.png"}
    images = sample_images(dataset, tiny_config.log.sample_images)
    x, y = to_float(images["x"]), to_float(images["y"])
    for name, g, f in (("raw", *weights[:2]), ("ema", *weights[2:])):
        np.testing.assert_array_equal(files[f"{name}_00001234.png"], pictures[name])
        fake_y, fake_x = generator.apply(g, x), generator.apply(f, y)
        expected = (x, fake_y, generator.apply(f, fake_y), y, fake_x, generator.apply(g, fake_x))
        for i, column in enumerate(expected):
            difference = cells(pictures[name], len(x))[:, i].astype(int) - np.asarray(to_uint8(column))
            assert np.abs(difference).max() <= 1  # rounding
