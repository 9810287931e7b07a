"""The configuration of a run: frozen dataclasses with a JSON round trip.

Time is counted in images: one image means one photo *and* one avatar (an unpaired pair), so a schedule keeps its
meaning when the batch or the number of devices changes. An epoch is max(|X|, |Y|) images.
"""

import dataclasses
import json
import math
import reprlib
import types
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from bitmoji_jax.console import one_line


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where images come from and how they are augmented."""

    dir: str | None = None
    """A dataset made by `python -m bitmoji_jax prepare`; with `name`, the TFDS data directory.
    None: the built-in synthetic set."""
    name: str | None = None
    """A TFDS dataset with splits trainA and trainB, already prepared, such as cycle_gan/horse2zebra."""
    image_size: int = 128
    """Side of the training images in pixels; a multiple of 4."""
    crop_margin: float = 30 / 256
    """Images are resized to (1 + crop_margin) * image_size, then cropped at random (286 to 256 px in the paper)."""
    flip: bool = True
    """Mirror half of the images, left to right."""
    cut_out: bool = True
    """Whether training photos show people cut out, on white: a photo to translate is then cut out first."""
    balance_skin: bool = False
    """Draw photos of dark skin more often: up to eight times as often, until they are a quarter of the draws."""
    read_threads: int = 4
    """Threads a process that read and decode images."""


@dataclasses.dataclass(frozen=True)
class GeneratorConfig:
    """G: X -> Y and F: Y -> X, two networks of this one shape."""

    features: int = 64
    """Channels after the first convolution; doubled twice on the way down."""
    res_blocks: int = 5
    """Residual blocks in the latent space."""
    skips: bool = False
    """U-Net skip connections from the way down to the way up."""
    upsample: Literal["transpose", "nearest", "subpixel"] = "transpose"
    """Transposed convolution, nearest-neighbour resize + convolution, or convolution + depth-to-space."""


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig:
    """D_X and D_Y, two 70x70 PatchGANs of this one shape."""

    features: int = 64
    """Channels after the first convolution; doubled three times."""


@dataclasses.dataclass(frozen=True)
class RefinerConfig:
    """R: rough avatars of `data.image_size` to clean ones. The student draws with a network of the same shape."""

    output_size: int = 256
    """Side in pixels of the avatars that it draws: a power of 2, at least 32."""
    features: int = 32
    """Channels of its finest map, a multiple of 8; doubled twice on the way down."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Losses, optimization and schedule."""

    batch_size: int = 1
    """Images of each domain per update, over all devices and accumulation steps."""
    accumulation_steps: int = 1
    """Parts a device's batch is cut into; gradients are averaged over them. Saves memory, changes rounding only."""
    constant_epochs: float = 100.0
    """Epochs at the full learning rate."""
    decay_epochs: float = 100.0
    """Epochs after those, in which the learning rate falls linearly to 0."""
    learning_rate: float = 2e-4
    """Adam step size, for both pairs of networks."""
    beta1: float = 0.5
    """Adam's decay of the first moment."""
    beta2: float = 0.999
    """Adam's decay of the second moment."""
    cycle_weight: float = 10.0
    """Weight of both cycle-consistency losses."""
    cycle: Literal["pixels", "cells"] = "pixels"
    """What has to come back: every pixel, or the mean colours of 16 x 16 cells, and that from an image with noise: no
    code can hide in it, and G need not keep textures."""
    identity_weight: float = 5.0
    """Weight of both identity losses; 0 leaves their computation out."""
    pool_size: int = 50
    """Generated images of each domain kept on each device for the discriminators; 0 shows them the newest only."""
    ema_halflife: float = 2000.0
    """Images after which a weight's share in the exponential moving average has halved."""
    compute_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the convolutions; auto is bfloat16 on accelerators and float32 on a CPU.
    Parameters, norms and losses are always float32."""
    seed: int = 0
    """Of initialisation, data order, augmentation and pools."""
    rounds: int = 1
    """How often refine and teach follow each other; from the second round on, the student takes the place of G."""
    init_from: str | None = None
    """A run's folder, a file of weights, or "pretrained": networks of the same names start from these weights."""

    def total_images(self, epoch_images: int) -> int:
        """Images seen by the end of the schedule: whole batches, for epochs of `epoch_images`."""
        epochs = self.constant_epochs + self.decay_epochs
        return math.ceil(epochs * epoch_images / self.batch_size) * self.batch_size


@dataclasses.dataclass(frozen=True)
class PairConfig:
    """A stage that trains a network on pairs which the run makes itself: its losses and schedule.

    Adam's decays are 0.5 and 0.99. The step size grows over the first 400 images, is constant, and falls linearly to 0
    over the last 40 %.
    """

    images: int = 0
    """Pairs seen by the end of the stage; 0 leaves the stage out."""
    batch_size: int = 2
    """Pairs per update, over all devices."""
    learning_rate: float = 8e-4
    """Largest step size, of the network and of half of it for its critics."""
    pixel_weight: float = 1.0
    """Weight of the absolute difference from the target."""
    colour_weight: float = 0.0
    """Weight of the difference from the target in the mean colours of 16 x 16 cells."""
    feature_weight: float = 0.25
    """Weight of the difference from the target in EfficientNet-Lite0's feature maps."""
    critic_weight: float = 0.1
    """Weight of the critic of patches, which sees the same feature maps; 0 leaves it out."""
    conditional_critic: bool = True
    """Tell that critic the gender of an image, where it is known: a man is then judged among men."""
    gender_weight: float = 0.1
    """Weight of the gender that a classifier sees in drawn avatars; it learns from real ones. 0 leaves it out."""
    ema_halflife: float = 700.0
    """Pairs after which a weight's share in the exponential moving average has halved."""


@dataclasses.dataclass(frozen=True)
class InvertConfig(PairConfig):
    """The stage that trains F on pairs of the student's avatars and their photos, from the second round on."""

    learning_rate: float = 4e-4
    colour_weight: float = 1.0


@dataclasses.dataclass(frozen=True)
class TeachConfig(PairConfig):
    """The stage that trains the student on such pairs."""

    learning_rate: float = 3e-4
    colour_weight: float = 3.0
    critic_weight: float = 0.04
    upright: bool = False
    """Draw everybody upright, as large and where the avatars of the dataset are, wherever the photo has the person. So
    the first student learns from avatars alone. For avatars that all have one pose; else they stay with the photo."""


PAIR_STAGES = ("invert", "refine", "teach")
"""The sections of a round's stages, in their order. The first round has no invert, which needs a student."""


@dataclasses.dataclass(frozen=True)
class ReadConfig:
    """The stage that trains the reader of a photo, which guides the student. Gender needs labels."""

    images: int = 0
    """Photos seen by the end of the stage, 0 leaves it out. The step size grows over the first tenth, then falls."""
    batch_size: int = 32
    """Photos per update, over all devices."""
    learning_rate: float = 2e-3
    """Adam's largest step size."""
    points: bool = True
    """Read also where the points of the face should be, and move those of the student's avatars there."""
    glasses: bool = True
    """Read also whether glasses are worn, and draw them over those avatars."""
    mouth: bool = True
    """Tell also whether the mouth is open, by the points of the face, and mark it in the student's photos."""
    shadows: bool = True
    """Learn also to take cast shadows out of photos, before anything else is done with them."""
    hats: bool = True
    """Tell also whether a hat is worn, as labelled photos show, and draw one over those avatars."""


REFINE_IMAGES, TEACH_IMAGES = 20_000, 20_000
"""Pairs of the stages that `launch.py --refine` adds to an experiment without them."""


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """What a run writes, and when. These fields may change when a run is continued."""

    metrics_every: int = 200
    """Images between rows of metrics.jsonl."""
    samples_every: int = 5_000
    """Images between sample grids."""
    sample_images: int = 8
    """Test images of each domain in a grid."""
    checkpoint_every: int = 5_000
    """Images between checkpoints."""
    keep_checkpoints: int = 2
    """Checkpoints kept; two, so that a damaged newest one loses little."""
    scores_every: int = 5_000
    """Images between validations: KID, and alarms for inverted colours and for avatars that equal their photos."""


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """Everything a run is made from."""

    data: DataConfig = DataConfig()
    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    refiner: RefinerConfig = RefinerConfig()
    train: TrainConfig = TrainConfig()
    read: ReadConfig = ReadConfig()
    """The stage of the reader A, which learns gender and colours from labelled photos x, and of L, which takes shadows
    out."""
    invert: InvertConfig = InvertConfig()
    """The stage of F in later rounds, which learns from pairs (S(x), x) of photos x."""
    refine: PairConfig = PairConfig()
    """The stage of the refiner R, which learns from avatars y alone, as pairs (G(F(y)), y)."""
    teach: TeachConfig = TeachConfig()
    """The stage of the student S, which learns from pairs (x, R(G(x))), where x is disturbed and its target is not."""
    log: LogConfig = LogConfig()

    def __post_init__(self) -> None:
        data, train, log = self.data, self.train, self.log
        # Each must hold; written so that NaN fails.
        rules = {
            "data.image_size must be a multiple of 4 and from 32 to 8192": data.image_size % 4 == 0
            and 32 <= data.image_size <= 8192,
            "data.crop_margin must be from 0 to 1": 0 <= data.crop_margin <= 1,
            "data.read_threads must be at least 1": data.read_threads >= 1,
            "generator.features must be at least 1": self.generator.features >= 1,
            "generator.res_blocks must be from 0 to 100": 0 <= self.generator.res_blocks <= 100,
            "discriminator.features must be at least 1": self.discriminator.features >= 1,
            "train.batch_size must be at least 1": train.batch_size >= 1,
            "train.accumulation_steps must be at least 1": train.accumulation_steps >= 1,
            "train.constant_epochs must be from 0 to 1e9": 0 <= train.constant_epochs <= 1e9,
            "train.decay_epochs must be from 0 to 1e9": 0 <= train.decay_epochs <= 1e9,
            "train.constant_epochs + train.decay_epochs must be above 0, or train.init_from be given": (
                train.constant_epochs + train.decay_epochs != 0 or train.init_from is not None
            ),
            "train.learning_rate must be above 0": 0 < train.learning_rate < math.inf,
            "train.beta1 must be from 0 to below 1": 0 <= train.beta1 < 1,
            "train.beta2 must be from 0 to below 1": 0 <= train.beta2 < 1,
            "train.cycle_weight must not be negative": 0 <= train.cycle_weight < math.inf,
            "train.cycle can be cells if data.image_size is a multiple of 16": train.cycle == "pixels"
            or data.image_size % 16 == 0,
            "train.identity_weight must not be negative": 0 <= train.identity_weight < math.inf,
            "train.pool_size must not be negative": train.pool_size >= 0,
            "train.ema_halflife must be above 0": 0 < train.ema_halflife < math.inf,
            "train.seed must be from 0 to 2**32 - 1": 0 <= train.seed < 2**32,
            "train.rounds must be at least 1, and 1 without teach": train.rounds >= 1
            and (train.rounds == 1 or self.teach.images > 0),
            "log.metrics_every must be at least 1": log.metrics_every >= 1,
            "log.samples_every must be at least 1": log.samples_every >= 1,
            "log.sample_images must be at least 1": log.sample_images >= 1,
            "log.checkpoint_every must be at least 1": log.checkpoint_every >= 1,
            "log.keep_checkpoints must be at least 1": log.keep_checkpoints >= 1,
            "log.scores_every must be at least 1": log.scores_every >= 1,
        }
        if self.refine.images:
            for name, size in (("data.image_size", data.image_size), ("refiner.output_size", self.refiner.output_size)):
                rules[f"{name} must be a power of 2 and at least 32, with a refiner"] = _is_power_of_2(size, 32)
            smallest = min(data.image_size, 64)
            rules[f"refiner.output_size must be at least {smallest}"] = self.refiner.output_size >= smallest
        elif self.read.images and self.read.shadows:
            fits = _is_power_of_2(data.image_size, 32)
            rules["data.image_size must be a power of 2 and at least 32, with read.shadows"] = fits
        rules["refiner.features must be a multiple of 8"] = self.refiner.features >= 8 and not self.refiner.features % 8
        for name in PAIR_STAGES:
            rules |= {f"{name}.{rule}": holds for rule, holds in _pair_rules(getattr(self, name)).items()}
        rules |= {f"read.{rule}": holds for rule, holds in _stage_rules(self.read).items()}
        rules["read.mouth needs read.glasses"] = self.read.glasses or not self.read.mouth
        rules["read.hats needs read.mouth"] = self.read.mouth or not self.read.hats
        rules["teach needs refine: set refine.images"] = self.refine.images > 0 or self.teach.images == 0
        if problems := [rule for rule, holds in rules.items() if not holds]:
            raise ValueError("; ".join(problems))


def _is_power_of_2(number: int, least: int) -> bool:
    return number >= least and number & (number - 1) == 0


def _stage_rules(config: ReadConfig | PairConfig) -> dict[str, bool]:
    return {
        "images must not be negative": config.images >= 0,
        "batch_size must be at least 1": config.batch_size >= 1,
        "learning_rate must be above 0": 0 < config.learning_rate < math.inf,
    }


def _pair_rules(config: PairConfig) -> dict[str, bool]:
    weights = ("pixel_weight", "colour_weight", "feature_weight", "critic_weight", "gender_weight")
    rules = _stage_rules(config) | {"ema_halflife must be above 0": 0 < config.ema_halflife < math.inf}
    return rules | {f"{name} must not be negative": 0 <= getattr(config, name) < math.inf for name in weights}


def without_folders(config: ExperimentConfig) -> ExperimentConfig:
    """Returns the configuration with the last part only of each path: the rest names a machine and its user."""
    data = dataclasses.replace(config.data, dir=config.data.dir and Path(config.data.dir).name)
    train = dataclasses.replace(config.train, init_from=config.train.init_from and Path(config.train.init_from).name)
    return dataclasses.replace(config, data=data, train=train)


def to_json(config: ExperimentConfig) -> str:
    """The configuration as indented JSON; `from_json` reads it back."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


ADDED_FIELDS: dict[str, dict[str, Any]] = {
    "data": {"cut_out": True, "balance_skin": False},
    "train": {"init_from": None, "rounds": 1, "cycle": "pixels"},
    "refiner": dataclasses.asdict(RefinerConfig()),
    "read": dataclasses.asdict(ReadConfig(points=False, glasses=False, mouth=False, shadows=False, hats=False)),
    "invert": dataclasses.asdict(InvertConfig(conditional_critic=False)),
    "refine": dataclasses.asdict(PairConfig(conditional_critic=False)),
    "teach": dataclasses.asdict(TeachConfig(conditional_critic=False)),
    "log": dataclasses.asdict(LogConfig()),
}
"""For each field added after the first version, by section: what its absence from a file means.

That is how runs behaved before the field was there, which need not be its default now. Every field of `log` is listed,
since any run may change those.
"""

RENAMED_FIELDS: dict[str, dict[str, str]] = {}
"""For each field whose name has changed, by section: old name -> new name."""

_LARGEST_INT = 2**53  # which floats and JSON hold exactly


def from_json(text: str) -> ExperimentConfig:
    """Reads what `to_json` wrote, in this or any earlier version (`ADDED_FIELDS`, `RENAMED_FIELDS`).

    Raises:
      ValueError: the text is not JSON, or a field is unknown, missing, of another type or out of range.
    """
    try:
        values = json.loads(text)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    if isinstance(values, dict):
        values = {name: _upgrade(name, section) for name, section in values.items()}
        # A section that was added later is made of its added fields alone.
        sections = get_type_hints(ExperimentConfig)
        later = {n: added for n, added in ADDED_FIELDS.items() if len(added) == len(dataclasses.fields(sections[n]))}
        values |= {name: dict(added) for name, added in later.items() if name not in values}
    return _build(ExperimentConfig, values, "config")


def _upgrade(name: str, section: Any) -> Any:
    """A section of an earlier version's file, with the names and fields of this version."""
    if not isinstance(section, dict):
        return section
    renamed = RENAMED_FIELDS.get(name, {})
    return ADDED_FIELDS.get(name, {}) | {renamed.get(field, field): value for field, value in section.items()}


def _build(cls: Any, values: Any, where: str) -> Any:
    names = {field.name for field in dataclasses.fields(cls)}
    if not isinstance(values, dict) or set(values) != names:
        found = set(values) if isinstance(values, dict) else set()
        unknown = reprlib.repr(sorted(found - names))  # as short as what is in the file may be long
        raise ValueError(f"{where}: unknown {unknown}, missing {sorted(names - found)}")
    hints = get_type_hints(cls)
    for name, value in values.items():
        if not dataclasses.is_dataclass(hints[name]) and not _fits(value, hints[name]):
            shown = one_line(reprlib.repr(value), 100)  # the one limits depth, the other length
            raise ValueError(f"{where}.{name}: {shown} is no {hints[name]}")
    return cls(
        **{
            name: _build(hints[name], value, f"{where}.{name}") if dataclasses.is_dataclass(hints[name]) else value
            for name, value in values.items()
        }
    )


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value is of a field's type: a Literal, X | None, bool, int, float or str."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is types.UnionType:
        return any(_fits(value, option) for option in get_args(hint))
    if type(value) is int and abs(value) > _LARGEST_INT:
        return False
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint  # a bool is no int here
