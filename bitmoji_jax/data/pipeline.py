"""Reads a TFDS dataset and feeds the devices: two shuffled streams, zipped, batched, prefetched."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grain
import jax
import numpy as np
import tensorflow_datasets as tfds
from jax.sharding import Mesh, NamedSharding
from PIL import Image

from bitmoji_jax.config import DataConfig
from bitmoji_jax.data.builder import GENDERS, SPLITS
from bitmoji_jax.data.fingerprint import Contents, fingerprint
from bitmoji_jax.data.images import central_square, decode_image
from bitmoji_jax.data.shards import Shards, first_line
from bitmoji_jax.data.skin_balance import balanced_draws, skin_itas
from bitmoji_jax.data.synthetic.dataset import synthetic_dataset
from bitmoji_jax.errors import InputError
from bitmoji_jax.parallel import SHARDED


@dataclasses.dataclass(frozen=True)
class Dataset:
    """An opened dataset: for each split a sequence of rows, images still encoded."""

    splits: Mapping[str, Sequence[Mapping[str, Any]]]
    stored_size: int
    """Side in pixels of the images as read."""
    paired_test: bool = False
    """Whether images of testA and testB with the same id are partners, as in the built-in synthetic set."""
    fingerprint: str | None = None
    """Of `fingerprint.fingerprint`, or "synthetic"; None where the files are not known."""

    @property
    def epoch_images(self) -> int:
        """Images of each domain in an epoch: max(|X|, |Y|)."""
        return max(len(self.splits["trainA"]), len(self.splits["trainB"]))

    def sizes(self) -> dict[str, int]:
        """Number of images in each split."""
        return {name: len(rows) for name, rows in self.splits.items()}

    def contents(self) -> Contents:
        """What a run keeps of the dataset."""
        return Contents(self.sizes(), self.fingerprint)

    def read(self, split: str, index: int) -> dict[str, Any]:
        """Reads a row: image uint8 [S, S, 3], landmarks float32 [5, 2], id, gender (a name of `GENDERS`), attributes.

        `attributes` maps names to numbers (NaN where unknown) or texts; it is empty where the dataset has none.

        Raises:
          RunError: the row cannot be read; the message names its file.
        """
        rows = self.splits[split]
        row = rows[index]
        try:
            image = _decode(row["image"], self.stored_size)
        except (OSError, ValueError) as error:
            raise (rows.damaged(index, error) if isinstance(rows, Shards) else error) from error
        attributes = row.get("attributes", {}).items()
        return {
            "image": image,
            "landmarks": np.asarray(row.get("landmarks", np.full((5, 2), np.nan)), np.float32),
            "id": row["id"].decode() if "id" in row else str(index),
            "gender": GENDERS[row["gender"]] if "gender" in row else "unknown",
            "attributes": {k: v.decode() if isinstance(v, bytes) else float(v) for k, v in attributes},
        }

    def mean_image(self, split: str) -> np.ndarray:
        """The mean of a split's images: float64 [S, S, 3], 0 to 255."""
        count = len(self.splits[split])
        return sum((self.read(split, i)["image"].astype(np.float64) for i in range(count)), np.zeros(())) / count

    def test_pairs(self) -> list[tuple[int, int]]:
        """Lists the indices in testA and testB of each photo and its partner; empty unless `paired_test`."""
        if not self.paired_test:
            return []
        partners = {row["id"]: i for i, row in enumerate(self.splits["testB"])}
        return [(i, partners[row["id"]]) for i, row in enumerate(self.splits["testA"])]


def open_dataset(config: DataConfig) -> Dataset:
    """Opens the dataset at `config.dir`, or the TFDS dataset `config.name`; checks its files, and reads no image.

    If neither is given, this is the built-in synthetic set, rendered now if it is not in the cache. Images of a dataset
    that `prepare` did not make are cropped to the central square and resized when read.

    Raises:
      InputError: there is no such dataset, it is not in ArrayRecord files, one of them is not whole, or it lacks trainA
        or trainB.
    """
    if config.dir is None and config.name is None:
        folder = synthetic_dataset(config.image_size)
        try:
            opened = open_dataset(dataclasses.replace(config, dir=str(folder)))
        except InputError as error:
            raise InputError(f"{error}: remove {folder}, and the built-in dataset is drawn anew") from error
        # Its files depend on the libraries that draw, and it is made anew on every machine.
        return dataclasses.replace(opened, paired_test=True, fingerprint="synthetic")
    name = config.name or config.dir
    try:
        if config.name is not None:
            builder = tfds.builder(config.name, **({} if config.dir is None else {"data_dir": config.dir}))
        else:
            builder = tfds.builder_from_directory(config.dir)
    except Exception as error:
        # TFDS raises types of several libraries, for a folder that does not exist as for a damaged dataset_info.json.
        raise InputError(
            f"cannot open the dataset {name}: {first_line(error)}. To make one of two folders of pictures: "
            "python -m bitmoji_jax prepare --photos DIR --avatars DIR --out data/NAME"
        ) from error

    splits, files = {}, []
    for split in SPLITS:
        info = builder.info.splits.get(split)
        if info is None or info.num_examples == 0:
            continue
        try:
            rows = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
        except (NotImplementedError, OSError, ValueError) as error:
            raise InputError(
                f"cannot read split {split} of {name}: {first_line(error)}. It must be stored as array_record"
            ) from error
        splits[split] = Shards(rows, info.filepaths, info.shard_lengths)
        files += info.filepaths
    for split in ("trainA", "trainB"):
        if split not in splits:
            needed = "it needs trainA (photos) and trainB (avatars), already prepared"
            raise InputError(f"{name} has no images in split {split}: {needed}")

    shape = builder.info.features["image"].shape
    resized = round((1 + config.crop_margin) * config.image_size)
    stored_size = shape[0] if shape[0] is not None and shape[0] == shape[1] else resized
    try:
        of_files = fingerprint(files)
    except OSError as error:
        raise InputError(f"cannot read the dataset {name}: {error.filename}: {error.strerror}") from error
    return Dataset(splits, stored_size, fingerprint=of_files)


def read_pair(dataset: Dataset, indices: tuple[int, int]) -> dict[str, dict[str, np.ndarray]]:
    """Reads what the train step takes of a photo and an avatar; the only place that defines what is in a batch.

    Of each domain: image uint8 [S, S, 3], landmarks float32 [5, 2], gender int32 [], an index into `GENDERS`, and
    glasses float32 []: 1 or 0, NaN where unknown.
    """
    rows = {"x": dataset.read("trainA", indices[0]), "y": dataset.read("trainB", indices[1])}
    return {
        domain: {
            "image": row["image"],
            "landmarks": row["landmarks"],
            "gender": np.array(GENDERS.index(row["gender"]), np.int32),
            "glasses": np.array(_number(row["attributes"].get("glasses")), np.float32),
        }
        for domain, row in rows.items()
    }


def abstract_batch(dataset: Dataset, batch_size: int, mesh: Mesh) -> Any:
    """Returns the shapes, types and shardings of a batch of `train_batches`."""
    first, sharding = (mesh.size, batch_size // mesh.size), NamedSharding(mesh, SHARDED)
    pair = read_pair(dataset, (0, 0))
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct((*first, *a.shape), a.dtype, sharding=sharding), pair)


def train_batches(
    dataset: Dataset, config: DataConfig, *, batch_size: int, seed: int, mesh: Mesh, start: int = 0
) -> Iterator[Any]:
    """Streams this process's share of the global batches to the devices, without end.

    Photos and avatars are shuffled and repeated independently of each other, with a new order each pass. In a pass each
    is drawn once; with `config.balance_skin` photos of dark skin more often, see `skin_balance`. The global batches do
    not depend on the number of processes and devices.

    Args:
      config: its `read_threads` and `balance_skin`.
      batch_size: images of each domain in a global batch.
      mesh: all devices.
      start: number of global batches to skip, those that a resumed run has used.

    Returns:
      An iterator of {"x": {"image", "landmarks", ...}, "y": ...}, as of `read_pair` with two more axes in front,
      [devices, images per device], of which this process holds the part of its own devices.

    Raises:
      InputError: `config.balance_skin`, and the dataset knows no photo's skin tone.
    """
    local_batch = batch_size // jax.process_count()
    local_devices = mesh.local_mesh.size
    sharding = NamedSharding(mesh, SHARDED)

    def stream(draws: Sequence[int], seed: int) -> grain.MapDataset:
        return grain.MapDataset.source(draws).shuffle(seed=seed).repeat()

    def to_devices(batch: Any) -> Any:
        split = jax.tree.map(lambda a: a.reshape(local_devices, -1, *a.shape[1:]), batch)
        return jax.make_array_from_process_local_data(sharding, split)

    seed_x, seed_y = (int(s) for s in np.random.SeedSequence(seed).generate_state(2, np.uint32))
    photos, avatars = dataset.splits["trainA"], dataset.splits["trainB"]
    draws_x = balanced_draws(skin_itas(photos)) if config.balance_skin else range(len(photos))
    pairs = grain.experimental.ZipMapDataset([stream(draws_x, seed_x), stream(range(len(avatars)), seed_y)])
    batches = pairs.map(functools.partial(read_pair, dataset)).batch(local_batch, drop_remainder=True)
    # Every process takes each n-th batch, so that joined they are the batches of a single process.
    first = jax.process_index() + start * jax.process_count()
    batches = batches[first :: jax.process_count()]
    # The defaults, 16 threads and 500 batches ahead, would take gigabytes.
    read_options = grain.ReadOptions(num_threads=config.read_threads, prefetch_buffer_size=2 * config.read_threads)
    prefetched = grain.experimental.ThreadPrefetchIterDataset
    # Some on the host, some on the devices: without the first, the devices wait longer.
    on_host = prefetched(batches.to_iter_dataset(read_options), prefetch_buffer_size=4)
    return iter(prefetched(on_host.map(to_devices), prefetch_buffer_size=2))


def _number(attribute: Any) -> float:
    return attribute if isinstance(attribute, float) else np.nan


def _decode(encoded: bytes, size: int) -> np.ndarray:
    rgb = decode_image(encoded)
    if rgb.shape[:2] == (size, size):
        return rgb
    left, top, side = central_square(rgb.shape[1], rgb.shape[0])
    box = (left, top, left + side, top + side)
    return np.asarray(Image.fromarray(rgb).resize((size, size), Image.Resampling.BICUBIC, box))
