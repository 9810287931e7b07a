"""The dataset on disk: a TFDS dataset in ArrayRecord files, written and read without TensorFlow.

A dataset is one folder, TFDS' "version folder": `dataset_info.json`, `features.json` and ArrayRecord files.
`tfds.builder_from_directory(folder).as_data_source("trainA")` opens it too.
"""

import contextlib
import dataclasses
import fcntl
import glob
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle as tfds_shuffle
from tensorflow_datasets.core import writer as tfds_writer
from tensorflow_datasets.proto import tf_example_pb2

from bitmoji_jax.data.images import decode_image as decode_image
from bitmoji_jax.data.images import encode_image as encode_image
from bitmoji_jax.errors import InputError

SPLITS = ("trainA", "trainB", "testA", "testB")  # A = X = photos, B = Y = bitmojis
GENDERS = ("male", "female", "unknown")


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
    """One image of a split.

    Attributes:
        id: Unique within its split; the order on disk is that of a hash of it.
        image: RGB, size × size, as `encode_image` gives it.
        gender: One of `GENDERS`.
        landmarks: float32 [5, 2], (x, y) as fractions of the image, NaN where unknown; the rows are left eye,
            right eye, nose, left and right mouth corner, "left" being the image's. None: all unknown.
        attributes: Values of the dataset's attributes; one that is missing reads back as NaN or "".
    """

    id: str
    image: bytes
    gender: str = "unknown"
    landmarks: np.ndarray | None = None
    attributes: Mapping[str, float | str] = dataclasses.field(default_factory=dict)


def write_dataset(
    out: Path,
    splits: Mapping[str, Iterable[Example]],
    *,
    size: int,
    attributes: Mapping[str, type],
    description: str,
    extra_files: Mapping[str, bytes] | None = None,
) -> None:
    """Writes a dataset that is there whole or not at all.

    It grows in a hidden folder beside `out` and is renamed at the end. The same examples give the same bytes,
    in whatever order they come. The encoded images of one split at a time are held in memory.

    Args:
        out: The dataset's folder; it must not exist yet, or be empty.
        splits: The examples of each split (a subset of `SPLITS`), each iterated over once.
        size: Height and width of every image, in pixels.
        attributes: Name and type (float or str) of every attribute that any example has.
        description: One line for `dataset_info.json`.
        extra_files: Further files to put into the folder, by name.

    Raises:
        InputError: `out` is there and not an empty folder.
        ValueError: a split is unknown or empty, an id comes twice, or an attribute is not declared.
    """
    if unknown := set(splits) - set(SPLITS):
        raise ValueError(f"no such split: {', '.join(sorted(unknown))}; there are {', '.join(SPLITS)}")
    check_free(out)
    tfds.disable_progress_bar()
    with scratch_folder(out) as scratch, _shuffle_in_memory():
        builder = _PhotosAndAvatars(scratch, splits, size, attributes, description)
        builder.download_and_prepare(
            download_dir=scratch,
            download_config=tfds.download.DownloadConfig(try_download_gcs=False),
        )
        for name, content in (extra_files or {}).items():
            (builder.data_path / name).write_bytes(content)
        # A link to an empty folder is filled, not replaced.
        os.rename(builder.data_path, out.resolve())


def read_split(folder: Path, split: str) -> Iterator[Example]:
    """Yields the examples of a split in their order on disk, images still encoded."""
    source = tfds.builder_from_directory(folder).as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    for index in range(len(source)):
        row = source[index]
        yield Example(
            id=row["id"].decode(),
            image=row["image"],
            gender=GENDERS[row["gender"]],
            landmarks=row["landmarks"],
            attributes=attributes_of(row),
        )


def attributes_of(row: Mapping[str, Any]) -> dict[str, float | str]:
    """The attributes of a row as TFDS reads it; empty where the dataset has none."""
    return {
        name: value.decode() if isinstance(value, bytes) else float(value)
        for name, value in row.get("attributes", {}).items()
    }


def check_free(out: Path) -> None:
    """Raises InputError unless a dataset can be written to `out`."""
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists() or out.is_symlink():
        raise InputError(f"{out} is already there: remove it first, or choose another place")


@contextlib.contextmanager
def scratch_folder(out: Path) -> Iterator[Path]:
    """A hidden folder beside `out` (same file system, so a rename is atomic), gone at the end.

    Killed runs leave theirs behind: a run holds a lock on its own, so the next one knows which to sweep away.
    """
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{out.name}.incomplete-"
    for left_over in out.parent.glob(f"{glob.escape(prefix)}*"):
        with _lock(left_over) as ours:
            if ours:
                shutil.rmtree(left_over, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=out.parent))
    try:
        with _lock(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Locks a folder until its end, if no other process has and the file system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        yield False
        return
    try:
        ours = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            ours = False
        yield ours
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _shuffle_in_memory() -> Iterator[None]:
    """Keeps TFDS from spilling its shuffle to disk past 1 GB, which it can do through TensorFlow only."""
    limit = tfds_shuffle.MAX_MEM_BUFFER_SIZE
    tfds_shuffle.MAX_MEM_BUFFER_SIZE = sys.maxsize
    try:
        yield
    finally:
        tfds_shuffle.MAX_MEM_BUFFER_SIZE = limit


class _SameBytesWriter(tfds_writer.ExampleWriter):
    """Writes an example always as the same bytes, where TFDS leaves the order of its features to chance."""

    def write(self, path: str, examples: Iterable[tuple[Any, bytes]]) -> None:
        try:
            super().write(path, ((key, self._in_order(serialized)) for key, serialized in examples))
        except RuntimeError as error:  # So ArrayRecord calls, for one, a disk that is full.
            raise OSError(str(error)) from error

    @staticmethod
    def _in_order(serialized: bytes) -> bytes:
        return tf_example_pb2.Example.FromString(serialized).SerializeToString(deterministic=True)


class _PhotosAndAvatars(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """TFDS builder over examples that are at hand; nothing is downloaded."""

    name = "photos_and_avatars"
    VERSION = tfds.core.Version("1.0.0")
    # TFDS would look for checksums of downloads here, by way of importlib_resources, which nothing installs.
    code_path = None

    def __init__(
        self,
        data_dir: Path,
        splits: Mapping[str, Iterable[Example]],
        size: int,
        attributes: Mapping[str, type],
        description: str,
    ) -> None:
        self._splits = splits
        self._size = size
        self._attributes = dict(sorted(attributes.items()))
        self._description = description
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        features: dict[str, Any] = {
            "image": tfds.features.Image(shape=(self._size, self._size, 3), encoding_format="jpeg"),
            "id": tfds.features.Text(),
            "gender": tfds.features.ClassLabel(names=GENDERS),
            "landmarks": tfds.features.Tensor(shape=(5, 2), dtype=np.float32),
        }
        if self._attributes:
            features["attributes"] = tfds.features.FeaturesDict(
                {
                    name: tfds.features.Text() if kind is str else tfds.features.Scalar(np.float32)
                    for name, kind in self._attributes.items()
                }
            )
        return tfds.core.DatasetInfo(
            builder=self,
            description=self._description,
            features=tfds.features.FeaturesDict(features),
        )

    def _split_generators(self, dl_manager: object) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
        del dl_manager
        return {name: self._generate_examples(name) for name in SPLITS if name in self._splits}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        seen: set[str] = set()
        for example in self._splits[split]:
            if example.id in seen:
                raise ValueError(f"{split} has two examples with the id {example.id!r}")
            seen.add(example.id)
            yield example.id, self._features_of(example)
        if not seen:
            raise ValueError(f"{split} is empty: every split needs at least one example")

    def _features_of(self, example: Example) -> dict[str, Any]:
        if undeclared := set(example.attributes) - set(self._attributes):
            raise ValueError(f"{example.id!r} has undeclared attributes: {', '.join(sorted(undeclared))}")
        landmarks = np.full((5, 2), np.nan) if example.landmarks is None else example.landmarks
        features: dict[str, Any] = {
            "image": example.image,
            "id": example.id,
            "gender": example.gender,
            "landmarks": np.asarray(landmarks, np.float32),
        }
        if self._attributes:
            features["attributes"] = {
                name: example.attributes.get(name, "" if kind is str else np.nan)
                for name, kind in self._attributes.items()
            }
        return features

    def _example_writer(self) -> tfds_writer.ExampleWriter:
        return _SameBytesWriter(self.info.file_format)

    def _log_download_bytes(self) -> None:
        """TFDS prints here, about a download that there is not."""

    def _log_download_done(self) -> None:
        """TFDS prints here the name of the scratch folder."""
