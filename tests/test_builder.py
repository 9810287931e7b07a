import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from bitmoji_jax.data.builder import (
    GENDERS,
    SPLITS,
    Example,
    encode_image,
    scratch_folder,
    write_dataset,
)
from bitmoji_jax.data.images import decode_image
from bitmoji_jax.errors import InputError
from tests.image_folders import read_split

SIZE = 16
ATTRIBUTES = {"hat": float, "source": str}


def picture(seed: int) -> np.ndarray:
    """A smooth image, as JPEG likes them: uint8 [SIZE, SIZE, 3]."""
    corners = np.random.default_rng(seed).uniform(0, 255, (2, 2, 3))
    ramp = np.linspace(0, 1, SIZE)
    rows = corners[0] + ramp[:, None, None] * (corners[1] - corners[0])
    return (rows[:, :1] + ramp[:, None] * (rows[:, 1:] - rows[:, :1])).round().astype(np.uint8)


def examples(split: str, count: int = 5) -> list[Example]:
    return [
        Example(
            id=f"{split}/é {index}.png",
            image=encode_image(picture(index)),
            gender=GENDERS[index % 3],
            landmarks=None if index == 0 else np.full((5, 2), index / 10, np.float32),
            attributes={} if index == 0 else {"hat": index / 2, "source": f"ź{index}"},
        )
        for index in range(count)
    ]


def write(out: Path, **changes: object) -> None:
    arguments = {
        "splits": {split: examples(split) for split in SPLITS},
        "size": SIZE,
        "attributes": ATTRIBUTES,
        "description": "a test",
    }
    write_dataset(out, **(arguments | changes))  # type: ignore[arg-type]


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_encoding_keeps_colour_edges() -> None:
    # One-pixel lines of pure colour: with chroma at half resolution they would be tens of levels off.
    rgb = np.full((32, 32, 3), 255, np.uint8)
    rgb[:, ::4] = (255, 0, 0)
    decoded = decode_image(encode_image(rgb))
    assert np.abs(decoded.astype(int) - rgb).max() <= 24
    assert decoded.dtype == np.uint8


def test_encoding_is_close_and_the_same_every_time() -> None:
    assert encode_image(picture(1)) == encode_image(picture(1))
    assert np.abs(decode_image(encode_image(picture(1))).astype(int) - picture(1)).max() <= 6


@pytest.mark.parametrize("rgb", [np.zeros((4, 4, 3)), np.zeros((4, 5, 3), np.uint8), np.zeros((4, 4), np.uint8)])
def test_encoding_refuses_what_is_no_square_of_bytes(rgb: np.ndarray) -> None:
    with pytest.raises(ValueError, match="want uint8"):
        encode_image(rgb)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path / "d", extra_files={"report.json": b"{}"})
    assert (tmp_path / "d/report.json").read_bytes() == b"{}"
    for split in SPLITS:
        read = {example.id: example for example in read_split(tmp_path / "d", split)}
        assert len(read) == 5
        for wrote in examples(split):
            example = read[wrote.id]
            assert (example.image, example.gender) == (wrote.image, wrote.gender)
            if wrote.landmarks is None:
                assert np.isnan(example.landmarks).all()
                assert np.isnan(example.attributes["hat"])
                assert example.attributes["source"] == ""
            else:
                np.testing.assert_array_equal(example.landmarks, wrote.landmarks)
                assert example.attributes == wrote.attributes


def test_tfds_reads_it_without_tensorflow(tmp_path: Path) -> None:
    write(tmp_path / "d")
    source = tfds.builder_from_directory(tmp_path / "d").as_data_source("testB")
    row = source[0]
    assert row["image"].shape == (SIZE, SIZE, 3)
    assert row["image"].dtype == np.uint8
    assert row["landmarks"].shape == (5, 2)
    assert len(source) == 5
    assert "tensorflow" not in sys.modules


def test_without_attributes_there_is_no_such_feature(tmp_path: Path) -> None:
    write_dataset(
        tmp_path / "d",
        {"trainA": [Example("x", encode_image(picture(0)))]},
        size=SIZE,
        attributes={},
        description="",
    )
    assert "attributes" not in tfds.builder_from_directory(tmp_path / "d").info.features


def test_the_same_bytes_in_whatever_order(tmp_path: Path) -> None:
    write(tmp_path / "a")
    backwards = {split: reversed(examples(split)) for split in reversed(SPLITS)}
    write(tmp_path / "b", splits=backwards, attributes=dict(reversed(ATTRIBUTES.items())))
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    # Another process, because what protobuf leaves to chance it leaves to that of the process.
    code = "import pathlib, sys; from tests.test_builder import write; write(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "c")], check=True)
    assert digests(tmp_path / "a") == digests(tmp_path / "c")
    assert str(tmp_path) not in (tmp_path / "a/dataset_info.json").read_text()
    assert json.loads((tmp_path / "a/dataset_info.json").read_text())["fileFormat"] == "array_record"


def test_it_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "d")
    assert capfd.readouterr() == ("", "")


def test_an_empty_folder_and_a_link_to_one_are_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    write(tmp_path / "link")
    assert len(list(read_split(tmp_path / "empty", "trainA"))) == 5


def test_what_is_there_is_not_touched(tmp_path: Path) -> None:
    write(tmp_path / "d")
    before = digests(tmp_path / "d")
    with pytest.raises(InputError, match="already there"):
        write(tmp_path / "d")
    assert digests(tmp_path / "d") == before
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="already there"):
        write(tmp_path / "file")


def _failing() -> Iterator[Example]:
    yield from examples("trainB")
    raise RuntimeError("half-way")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"splits": {"trainA": examples("trainA"), "trainB": _failing()}}, "half-way"),
        ({"splits": {"trainA": examples("trainA"), "trainB": []}}, "trainB is empty"),
        ({"splits": {"trainA": examples("trainA") * 2}}, "two examples"),
        ({"splits": {"train": examples("train")}}, "no such split: train;"),
        ({"attributes": {"hat": float}}, "undeclared attributes: source"),
    ],
)
def test_a_failure_leaves_nothing(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, RuntimeError), match=message):
        write(tmp_path / "d", **changes)
    assert list(tmp_path.iterdir()) == []


def test_scratch_of_killed_runs_is_swept_and_that_of_live_ones_is_not(tmp_path: Path) -> None:
    dead = tmp_path / ".d.incomplete-dead"
    dead.mkdir()
    (dead / "spool").write_text("x")
    (dead / ".lock").write_text("")  # killed as it was written
    with scratch_folder(tmp_path / "d") as one, scratch_folder(tmp_path / "d") as other:
        assert one.is_dir()
        assert other.is_dir()
        assert not dead.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_split_that_tfds_would_spill_through_tensorflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tensorflow_datasets.core.shuffle.MAX_MEM_BUFFER_SIZE", 100)
    write(tmp_path / "d")
    assert len(list(read_split(tmp_path / "d", "trainA"))) == 5
