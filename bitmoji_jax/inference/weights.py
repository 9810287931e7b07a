"""Trained networks, in one file or in a run's checkpoint, and the configuration they were trained with.

The file is safetensors: named arrays, and text. Reading it runs no code, so it need not be trusted.
"""

import dataclasses
import difflib
import importlib.metadata
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import safetensors
import safetensors.numpy

from bitmoji_jax.config import ExperimentConfig, from_json, to_json, without_folders
from bitmoji_jax.console import one_line
from bitmoji_jax.errors import InputError
from bitmoji_jax.files import write_atomic
from bitmoji_jax.inference.guard import Guard, guard_from_arrays
from bitmoji_jax.models.networks import Params, avatar_size, helpers, network_shapes

BEST = "best.safetensors"
"""Name of the file in a run's folder that holds the weights with the lowest KID."""

_STAGE = re.compile(r"(read|invert|refine|teach)([1-9][0-9]*)?")
"""Folders of later stages, with the round from the second on; the files of the first stage are in the run's folder."""

_GUARD, _CRITICS = "guard/", "critics/"  # prefixes of the names of their arrays

_FOLDER = Path(__file__).parent
PRETRAINED = {
    "bitmoji": _FOLDER / "bitmoji.safetensors",
    "res5": _FOLDER / "res5.safetensors",
}
"""The files of weights in the package by name, the default first; their model card is MODEL_CARD.md beside them."""


@dataclasses.dataclass(frozen=True, eq=False)
class Weights:
    """The networks that a stage passes on (moving averages), and where they come from."""

    config: ExperimentConfig
    images: int
    """Images of each domain seen in the last stage."""
    networks: dict[str, Params]
    """By name: g or s, perhaps r, a or t, and f; float32. `models/networks.py` says what they are."""
    guard: Guard | None = None
    """None for a checkpoint, and for weights of an earlier version."""
    critics: dict[str, Params] = dataclasses.field(default_factory=dict)
    """The discriminators of the stage by name, so that fine-tuning does not begin with blind ones; float32.

    Empty for a checkpoint, for the weights in the package, and for weights of an earlier version.
    """


def save_weights(path: Path, weights: Weights, dtype: Any = jnp.float32) -> None:
    """Writes one file, whole or not at all; the networks as `dtype` (bfloat16 halves the file), critics as bfloat16."""
    names = flax.traverse_util.flatten_dict(weights.networks, sep="/")
    arrays = {name: np.asarray(array).astype(dtype) for name, array in names.items()}
    if weights.guard is not None:
        arrays |= {_GUARD + name: array for name, array in weights.guard.arrays().items()}
    critics = flax.traverse_util.flatten_dict(weights.critics, sep="/")
    arrays |= {_CRITICS + name: np.asarray(array).astype(jnp.bfloat16) for name, array in critics.items()}
    metadata = {"config": to_json(weights.config), "images": str(weights.images)}
    write_atomic(path, safetensors.numpy.save(arrays, metadata))  # save_file would deny all others to read it


def export_metadata(weights: Weights) -> dict[str, str]:
    """Returns what an exported file says of its weights.

    These are `config` (JSON), `images`, `input_size` and `output_size` (sides of photos and avatars in pixels), and
    `version` of this package. Of paths only the last part is left: the rest names a machine and its user.
    """
    return {
        "config": to_json(without_folders(weights.config)),
        "images": str(weights.images),
        "input_size": str(weights.config.data.image_size),
        "output_size": str(avatar_size(weights.config, weights.networks)),
        "version": importlib.metadata.version("bitmoji-jax"),
    }


def load_weights(path: Path) -> Weights:
    """Reads what `save_weights` wrote; InputError if the file is missing or damaged, or unlike its configuration."""
    if not path.is_file():
        raise InputError(f"{path}: no such file of weights")
    try:
        # As NumPy arrays: JAX would compile a program for each shape, seconds in all.
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        config, images = from_json(metadata["config"]), int(metadata["images"])
        of_guard, of_critics = (
            {n.removeprefix(prefix): arrays.pop(n) for n in list(arrays) if n.startswith(prefix)}
            for prefix in (_GUARD, _CRITICS)
        )
        guard = guard_from_arrays(of_guard) if of_guard else None
        networks, critics = (
            flax.traverse_util.unflatten_dict({n: a.astype(np.float32) for n, a in named.items()}, sep="/")
            for named in (arrays, of_critics)
        )
        known = networks.keys() <= set("gfrastlh") and networks.keys() & {"g", "s"}
        expected = array_shapes({name: network_shapes(config, name) for name in networks}) if known else {}
    except OSError:
        raise
    except Exception as error:  # many kinds, for damaged files and for sizes that no network has
        why = f"{type(error).__name__}: {one_line(str(error), 300)}"
        raise InputError(f"{path} holds no weights of this package, or is damaged: {why}") from error
    if not expected or array_shapes(networks) != expected:
        raise InputError(f"{path} holds other arrays than its configuration: was it made by another version?")
    return Weights(config, images, networks, guard, critics)


def pretrained_weights(name: str | None = None) -> Weights:
    """Loads weights in the package: those of this name in `PRETRAINED`, or its first; InputError for another name."""
    if name is None:
        name = next(iter(PRETRAINED))
    if name not in PRETRAINED:
        nearest = difflib.get_close_matches(name, PRETRAINED, n=1, cutoff=0)[0]
        raise InputError(f"the package has no weights {name!r}; the nearest name is {nearest!r}")
    return load_weights(PRETRAINED[name])


def run_weights(run: Path, checkpoint: str | int | None = None) -> tuple[Weights, str]:
    """Loads the averaged networks of the last stage that a run has begun and can be loaded, or of a stage's folder.

    `checkpoint` is "best" (lowest KID), "latest", or the images seen at a checkpoint that still exists; None: the best,
    or the latest where KID was not computed. Returns the weights, and which they are: "best", "latest" or the number.

    Raises:
      InputError: there is no run, or it does not have this checkpoint.
    """
    return stage_weights(next(reversed(begun_stages(run)), run), checkpoint)


def stage_weights(folder: Path, checkpoint: str | int | None = None) -> tuple[Weights, str]:
    """Loads the averaged networks of one stage, as `run_weights` does; of the first where `folder` is a run's."""
    config = run_config(folder)
    if checkpoint is None:
        checkpoint = "best" if (folder / BEST).exists() else "latest"
    if checkpoint == "best":
        if not (folder / BEST).exists():
            raise InputError(f"{folder} has no best weights: KID was not computed in training. Use the latest")
        return load_weights(folder / BEST), "best"
    steps = _steps(folder)
    if not steps:
        raise InputError(f"{folder} has no checkpoint yet")
    step = steps[-1] if checkpoint == "latest" else checkpoint
    if step not in steps:
        raise InputError(f"{folder} has no checkpoint {checkpoint}; there are: latest, {', '.join(map(str, steps))}")
    return _restore(config, folder / "checkpoints" / str(step) / "state"), str(checkpoint)


def stage_folders(run: Path) -> list[Path]:
    """Lists the folders of a run's stages in their order, the run's own first."""
    later = [(match, path) for path in run.iterdir() if (match := _later_stage(path))] if run.is_dir() else []
    return [run, *(path for _, path in sorted(later, key=lambda each: (int(each[0][2] or 1), each[0][1])))]


def begun_stages(run: Path) -> list[Path]:
    """Lists those of `stage_folders` that have weights."""
    return [folder for folder in stage_folders(run) if (folder / BEST).exists() or _steps(folder)]


def run_of_stage(folder: Path) -> Path:
    """Returns the folder of the run that a stage's folder is of; a run's own is that of its first stage."""
    return folder.parent if _later_stage(folder) else folder


def _later_stage(folder: Path) -> re.Match[str] | None:
    """Matches the name of a later stage's folder; None for a run's own, which has a configuration and any name."""
    return None if (folder / "config.json").exists() else _STAGE.fullmatch(folder.name)


def run_config(run: Path) -> ExperimentConfig:
    """Reads the configuration of a run, or of a stage's folder; InputError if there is none, or it cannot be read."""
    path = run_of_stage(run) / "config.json"
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{run} holds no run: it has no config.json") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from error


def _steps(folder: Path) -> list[int]:
    """The images seen at the checkpoints of a stage; one has a longer name until it is completely written."""
    checkpoints = folder / "checkpoints"
    names = [path.name for path in checkpoints.iterdir()] if checkpoints.is_dir() else []
    return sorted(int(name) for name in names if name.isdigit())


def array_shapes(networks: Mapping[str, Params]) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the arrays of networks, by names such as "g/params/Conv_0/bias"."""
    return {name: array.shape for name, array in flax.traverse_util.flatten_dict(dict(networks), sep="/").items()}


def _passed_on(config: ExperimentConfig, folder: Path) -> tuple[str, str]:
    """The networks that weights hold of those that the stage of a folder trains, and of those that it has frozen."""
    match = _later_stage(folder)
    made = "".join(helpers(config.read)) if config.read.images else ""
    if match is None:
        return "gf", ""
    if match[1] == "read":
        return "a" + made, "gf"
    if match[1] == "invert":
        return "f", "s" + made
    if match[1] == "teach":
        return "s", "f" + made
    return "r", ("sf" if match[2] else "gf") + made


def _restore(config: ExperimentConfig, folder: Path) -> Weights:
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    trained, frozen = _passed_on(config, folder.parents[2])
    shapes: dict[str, Any] = {"images": jax.ShapeDtypeStruct((), jnp.int32)}
    for field, names in (("ema", trained), ("frozen", frozen)):
        if names:
            shapes[field] = {name: network_shapes(config, name) for name in names}
    item = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=device), shapes)
    try:
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            restore_args = ocp.checkpoint_utils.construct_restore_args(item)
            args = ocp.args.PyTreeRestore(item=item, restore_args=restore_args, partial_restore=True)
            restored = checkpointer.restore(folder.resolve(), args=args)
    except Exception as error:  # Orbax, TensorStore and JSON raise many kinds for a damaged file
        raise InputError(f"the checkpoint in {folder.parent} cannot be read: {error}") from error
    return Weights(config, int(restored["images"]), restored["ema"] | restored.get("frozen", {}))
