"""Writes a dataset: one folder of ArrayRecord files that TFDS opens, without TensorFlow.

`tfds.builder_from_directory(folder).as_data_source("trainA")` reads it, as `pipeline.open_dataset` does.
"""

import contextlib
import dataclasses
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

from bitmoji_jax.data.images import encode_image as encode_image
from bitmoji_jax.errors import InputError
from bitmoji_jax.files import check_link, make_folder
from bitmoji_jax.lock import has_ended, hold

SPLITS = ("trainA", "trainB", "testA", "testB")  # A = X = photos, B = Y = bitmojis
_LOCK = ".lock"
GENDERS = ("male", "female", "unknown")


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
    """One image of a split."""

    id: str
    """Unique within its split; its hash decides the order on disk."""
    image: bytes
    """RGB, size × size, encoded by `encode_image`."""
    gender: str = "unknown"
    landmarks: np.ndarray | None = None
    """float32 [5, 2], (x, y) as fractions of the image, NaN where unknown; None if all are. The rows are left eye,
    right eye, nose, left and right mouth corner, where left is the left of the image."""
    attributes: Mapping[str, float | str] = dataclasses.field(default_factory=dict)
    """Missing ones read back as NaN or ""."""


def write_dataset(
    out: Path,
    splits: Mapping[str, Iterable[Example]],
    *,
    size: int,
    attributes: Mapping[str, type],
    description: str,
    extra_files: Mapping[str, bytes] | None = None,
) -> None:
    """Writes a dataset whole or not at all: into a hidden folder beside `out`, which is then renamed.

    The same examples give the same bytes in any order. The encoded images of one split at a time are held in memory.

    Args:
        out: The dataset's folder; it must not exist, or be empty.
        splits: The examples of some of `SPLITS`, each iterated over once.
        size: Side of every image, in pixels.
        attributes: Name and type (float or str) of every attribute of any example.
        description: One line for `dataset_info.json`.
        extra_files: Contents of further files of the folder, by name.

    Raises:
        InputError: `out` exists and is not an empty folder.
        ValueError: a split is unknown or empty, two ids are the same, or an attribute is not declared.
    """
    if unknown := set(splits) - set(SPLITS):
        raise ValueError(f"no such split: {', '.join(sorted(unknown))}; there are {', '.join(SPLITS)}")
    check_free(out)
    tfds.disable_progress_bar()
    with scratch_folder(out) as scratch, _shuffle_in_memory():
        builder = _PhotosAndAvatars(scratch, splits, size, attributes, description)
        offline = tfds.download.DownloadConfig(try_download_gcs=False)
        builder.download_and_prepare(download_dir=scratch, download_config=offline)
        for name, content in (extra_files or {}).items():
            (builder.data_path / name).write_bytes(content)
        os.rename(builder.data_path, out.resolve())  # if `out` is a link to an empty folder, that folder is filled


def check_free(out: Path) -> None:
    """Raises InputError unless a dataset can be written to `out`."""
    check_link(out, "--out")
    if os.path.ismount(out):
        raise InputError(f"{out} is where a disk is mounted, which a new folder cannot replace: name a folder in it")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out} is already there: remove it first, or choose another place")


@contextlib.contextmanager
def scratch_folder(out: Path) -> Iterator[Path]:
    """Makes a hidden folder beside `out` (on the same file system, so a rename is atomic) and removes it at the end.

    Killed runs leave theirs behind. A live run holds a lock in its own; those of ended ones are removed here.
    """
    out = out.resolve()
    make_folder(out.parent, "the folder of --out,")
    prefix = f".{out.name}.incomplete-"
    for left_over in out.parent.glob(f"{glob.escape(prefix)}*"):
        if (left_over / _LOCK).exists() and has_ended(left_over / _LOCK):
            shutil.rmtree(left_over, ignore_errors=True)
    temporary = tempfile.TemporaryDirectory(prefix=prefix, dir=out.parent, ignore_cleanup_errors=True)
    with temporary as folder, hold(Path(folder) / _LOCK, lambda _: None):
        yield Path(folder)


@contextlib.contextmanager
def _shuffle_in_memory() -> Iterator[None]:
    """Keeps TFDS from shuffling on disk past 1 GB, which needs TensorFlow."""
    limit = tfds_shuffle.MAX_MEM_BUFFER_SIZE
    tfds_shuffle.MAX_MEM_BUFFER_SIZE = sys.maxsize
    try:
        yield
    finally:
        tfds_shuffle.MAX_MEM_BUFFER_SIZE = limit


class _SameBytesWriter(tfds_writer.ExampleWriter):
    """Writes the features of an example in a fixed order, which TFDS leaves to chance."""

    def write(self, path: str, examples: Iterable[tuple[Any, bytes]]) -> None:
        parsed = ((key, tf_example_pb2.Example.FromString(serialized)) for key, serialized in examples)
        try:
            super().write(path, ((key, example.SerializeToString(deterministic=True)) for key, example in parsed))
        except RuntimeError as error:  # what ArrayRecord raises when the disk is full
            raise OSError(str(error)) from error


class _PhotosAndAvatars(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A TFDS builder of given examples; it downloads nothing."""

    name = "photos_and_avatars"
    VERSION = tfds.core.Version("1.0.0")
    code_path = None  # else TFDS looks for checksums of downloads, with a package that nothing installs

    def __init__(
        self, out: Path, splits: Mapping[str, Iterable[Example]], size: int, attributes: Mapping[str, type], about: str
    ) -> None:
        self._splits, self._size, self._about = splits, size, about
        self._attributes = dict(sorted(attributes.items()))
        super().__init__(data_dir=out, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        features: dict[str, Any] = {
            "image": tfds.features.Image(shape=(self._size, self._size, 3), encoding_format="jpeg"),
            "id": tfds.features.Text(),
            "gender": tfds.features.ClassLabel(names=GENDERS),
            "landmarks": tfds.features.Tensor(shape=(5, 2), dtype=np.float32),
        }
        if self._attributes:
            features["attributes"] = {
                name: tfds.features.Text() if kind is str else tfds.features.Scalar(np.float32)
                for name, kind in self._attributes.items()
            }
        described = tfds.features.FeaturesDict(features)
        return tfds.core.DatasetInfo(builder=self, description=self._about, features=described)

    def _split_generators(self, dl_manager: object) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
        del dl_manager
        return {name: self._generate_examples(name) for name in SPLITS if name in self._splits}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        seen: set[str] = set()
        for example in self._splits[split]:
            if example.id in seen:
                raise ValueError(f"{split} has two examples with the id {example.id!r}")
            seen.add(example.id)
            if undeclared := set(example.attributes) - set(self._attributes):
                raise ValueError(f"{example.id!r} has undeclared attributes: {', '.join(sorted(undeclared))}")
            landmarks = np.full((5, 2), np.nan) if example.landmarks is None else example.landmarks
            features: dict[str, Any] = {"image": example.image, "id": example.id, "gender": example.gender}
            features["landmarks"] = np.asarray(landmarks, np.float32)
            if self._attributes:
                missing = {name: "" if kind is str else np.nan for name, kind in self._attributes.items()}
                features["attributes"] = {**missing, **example.attributes}
            yield example.id, features
        if not seen:
            raise ValueError(f"{split} is empty: every split needs at least one example")

    def _example_writer(self) -> tfds_writer.ExampleWriter:
        return _SameBytesWriter(self.info.file_format)

    def _log_download_bytes(self) -> None:
        """Prints nothing; TFDS would report a download, and name the scratch folder."""

    _log_download_done = _log_download_bytes
