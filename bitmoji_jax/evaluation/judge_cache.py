"""Keeps trained judges, so that a dataset's are trained once."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import flax
import jax
import numpy as np
import safetensors
import safetensors.numpy
from rich.console import Console

from bitmoji_jax.cache import cache_folder
from bitmoji_jax.data.pipeline import Dataset
from bitmoji_jax.evaluation import judges as judges_module
from bitmoji_jax.evaluation.judges import STEPS, Judges, train_judges
from bitmoji_jax.evaluation.results import JudgeCard
from bitmoji_jax.files import write_atomic


def load_judges(dataset: Dataset, console: Console, *, steps: int = STEPS) -> Judges:
    """The judges of a dataset: from the cache, or trained now and kept there.

    They are known again by the dataset's rows, wherever they lie, and by the text of judges.py. A damaged file is
    replaced.
    """
    digest = hashlib.sha256(Path(judges_module.__file__).read_bytes() + f"{steps} {dataset.stored_size}".encode())
    for split, rows in dataset.splits.items():
        digest.update(f"{split} {len(rows)}".encode())
        for i in range(len(rows)):
            for leaf in jax.tree.leaves(dict(rows[i])):
                digest.update(np.asarray(leaf).tobytes())
    path = cache_folder() / f"judges-{digest.hexdigest()[:16]}.safetensors"
    if path.exists():
        try:
            return _read(path)
        except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            console.print(f"{path} is damaged, so it is made anew: {error}")
    console.print("Training the judges on the dataset's labels, about a minute; they are kept for the next time")
    judges = train_judges(dataset, steps=steps)
    try:
        _write(path, judges)
    except OSError as error:
        console.print(f"The judges could not be kept: {error}")
    return judges


def _write(path: Path, judges: Judges) -> None:
    tensors = flax.traverse_util.flatten_dict(judges.params, sep="/")
    cards = [dataclasses.asdict(card) for card in judges.cards]
    record = json.dumps({"cards": cards, "missing": judges.missing, "sha256": _digest(tensors)})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, safetensors.numpy.save(tensors, {"judges": record}))


def _read(path: Path) -> Judges:
    with safetensors.safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        record = json.loads(file.metadata()["judges"])
    if _digest(tensors) != record["sha256"]:
        raise ValueError("its checksum is wrong")
    cards = tuple(JudgeCard(**card) for card in record["cards"])
    return Judges(flax.traverse_util.unflatten_dict(tensors, sep="/"), cards, record["missing"])


def _digest(tensors: Mapping[str, np.ndarray]) -> str:
    return hashlib.sha256(b"".join(tensors[name].tobytes() for name in sorted(tensors))).hexdigest()
