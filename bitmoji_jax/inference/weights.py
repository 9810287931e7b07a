"""Trained generators, in one file or in a run's checkpoint: G, F and the configuration they were trained with.

The file is safetensors: named arrays, and text. Reading it runs no code, so it need not be trusted.
"""

import dataclasses
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import safetensors
import safetensors.numpy

from bitmoji_jax.config import ExperimentConfig, from_json, to_json
from bitmoji_jax.errors import InputError
from bitmoji_jax.files import write_atomic
from bitmoji_jax.inference.guard import Guard, guard_from_arrays
from bitmoji_jax.models.networks import Params, generator_shapes

BEST = "best.safetensors"
"""Name of the file in a run's folder that holds the weights with the lowest KID."""

_GUARD = "guard/"  # prefix of the names of its arrays
_PRETRAINED = Path(__file__).parent / "pretrained.safetensors"


@dataclasses.dataclass(frozen=True, eq=False)
class Weights:
    """Both generators (moving averages), and where they come from."""

    config: ExperimentConfig
    images: int
    """Images of each domain seen in training."""
    generators: dict[str, Params]
    """g, f; float32."""
    guard: Guard | None = None
    """None for a checkpoint, and for weights of an earlier version."""


def save_weights(path: Path, weights: Weights, dtype: Any = jnp.float32) -> None:
    """Writes one file, whole or not at all; the generators as `dtype` (bfloat16 halves the file)."""
    names = flax.traverse_util.flatten_dict(weights.generators, sep="/")
    arrays = {name: np.asarray(array).astype(dtype) for name, array in names.items()}
    if weights.guard is not None:
        arrays |= {_GUARD + name: array for name, array in weights.guard.arrays().items()}
    metadata = {"config": to_json(weights.config), "images": str(weights.images)}
    write_atomic(path, safetensors.numpy.save(arrays, metadata))  # save_file would deny all others to read it


def export_metadata(weights: Weights) -> dict[str, str]:
    """Returns what an exported file says of its weights: `config` (JSON), `images`, and `version` of this package.

    Of the dataset's path only the last part is left: the rest names a machine and its user.
    """
    data = weights.config.data
    data = dataclasses.replace(data, dir=data.dir and Path(data.dir).name)
    config = to_json(dataclasses.replace(weights.config, data=data))
    return {"config": config, "images": str(weights.images), "version": importlib.metadata.version("bitmoji-jax")}


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
        of_guard = {n.removeprefix(_GUARD): arrays.pop(n) for n in list(arrays) if n.startswith(_GUARD)}
        guard = guard_from_arrays(of_guard) if of_guard else None
    except (safetensors.SafetensorError, KeyError, ValueError, json.JSONDecodeError) as error:
        raise InputError(f"{path} holds no weights of this package, or is damaged: {error!r}") from error
    expected = flax.traverse_util.flatten_dict(generator_shapes(config), sep="/")
    if {n: a.shape for n, a in arrays.items()} != {n: a.shape for n, a in expected.items()}:
        raise InputError(f"{path} holds other arrays than its configuration: was it made by another version?")
    generators = {name: array.astype(np.float32) for name, array in arrays.items()}
    return Weights(config, images, flax.traverse_util.unflatten_dict(generators, sep="/"), guard)


def pretrained_weights() -> Weights:
    """Loads the weights in the package; their model card is MODEL_CARD.md beside them."""
    return load_weights(_PRETRAINED)


def run_weights(run: Path, checkpoint: str | int | None = None) -> tuple[Weights, str]:
    """Loads the averaged generators of a run.

    `checkpoint` is "best" (lowest KID), "latest", or the images seen at a checkpoint that still exists; None: the best,
    or the latest where KID was not computed. Returns the weights, and which they are: "best", "latest" or the number.

    Raises:
      InputError: there is no run, or it does not have this checkpoint.
    """
    try:
        config = from_json((run / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{run} holds no run: it has no config.json") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {run / 'config.json'}: {error}") from error
    if checkpoint is None:
        checkpoint = "best" if (run / BEST).exists() else "latest"
    if checkpoint == "best":
        if not (run / BEST).exists():
            raise InputError(f"{run} has no best weights: KID was not computed in training. Use the latest")
        return load_weights(run / BEST), "best"
    folder = run / "checkpoints"
    # A checkpoint has a longer name until it is completely written.
    steps = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit()) if folder.is_dir() else []
    if not steps:
        raise InputError(f"{run} has no checkpoint yet")
    step = steps[-1] if checkpoint == "latest" else checkpoint
    if step not in steps:
        raise InputError(f"{run} has no checkpoint {checkpoint}; there are: latest, {', '.join(map(str, steps))}")
    return _restore(config, folder / str(step) / "state"), str(checkpoint)


def _restore(config: ExperimentConfig, folder: Path) -> Weights:
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    shapes = {"images": jax.ShapeDtypeStruct((), jnp.int32), "ema": generator_shapes(config)}
    item = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=device), shapes)
    try:
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            restore_args = ocp.checkpoint_utils.construct_restore_args(item)
            args = ocp.args.PyTreeRestore(item=item, restore_args=restore_args, partial_restore=True)
            restored = checkpointer.restore(folder.resolve(), args=args)
    except Exception as error:  # Orbax, TensorStore and JSON raise many kinds for a damaged file
        raise InputError(f"the checkpoint in {folder.parent} cannot be read: {error}") from error
    return Weights(config, int(restored["images"]), restored["ema"])
