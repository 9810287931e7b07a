"""The stages of a run, in their order: where each is kept, and what it takes from those before."""

import functools
from collections.abc import Mapping
from pathlib import Path

from bitmoji_jax.config import PAIR_STAGES, ExperimentConfig
from bitmoji_jax.data.pipeline import Dataset
from bitmoji_jax.models.networks import Params
from bitmoji_jax.training.fit_hats import fit_hats
from bitmoji_jax.training.pair_stages import invert_stage, refine_stage, teach_stage
from bitmoji_jax.training.read_stage import read_stage
from bitmoji_jax.training.stage import Stage
from bitmoji_jax.training.translate_stage import translate_stage
from bitmoji_jax.training.transport import fit_transport


def stage_names(config: ExperimentConfig) -> list[str]:
    """Lists the stages of an experiment: translate, read, refine, teach, invert2, ...; those that have images."""
    pairs = [name for name in PAIR_STAGES if getattr(config, name).images]
    first = [name for name in pairs if name != "invert"]  # which needs a student
    later = [f"{name}{number}" for number in range(2, config.train.rounds + 1) for name in pairs]
    return ["translate", *(["read"] if config.read.images else []), *first, *later]


def stage_section(name: str) -> str:
    """Returns the section of the configuration that holds the schedule of a stage: "train" for translate."""
    return "train" if name == "translate" else name.rstrip("0123456789")


def stage_folder(run: Path, name: str) -> Path:
    """Returns where a stage keeps its files: the first in the run's folder, as runs of one stage do."""
    return run if name == "translate" else run / name


def make_stage(config: ExperimentConfig, name: str, networks: Mapping[str, Params], dataset: Dataset) -> Stage:
    """Makes the stage `name`; `networks` are the newest that the stages before have trained."""
    epoch_images = dataset.epoch_images
    if name == "translate":
        return translate_stage(config, epoch_images)
    if name == "read":
        hats = functools.partial(fit_hats, dataset, config.data.image_size)
        fits = {"t": functools.partial(fit_transport, dataset), "h": hats}
        return read_stage(config, networks, epoch_images, fits)
    kind = stage_section(name)
    number = int(name.removeprefix(kind) or 1)
    stages = {"invert": invert_stage, "refine": refine_stage, "teach": teach_stage}
    return stages[kind](config, networks, epoch_images, number)
