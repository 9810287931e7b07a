"""The devices of a run, and whether they can share its batches."""

import math

import jax
from jax.sharding import Mesh

from bitmoji_jax.config import PAIR_STAGES, ExperimentConfig
from bitmoji_jax.errors import InputError
from bitmoji_jax.parallel import make_mesh
from bitmoji_jax.training.stages import stage_names, stage_section


def mesh_of(devices: int | None) -> Mesh:
    """Returns all devices of the run or, of one process, the first `devices`; InputError if there are not as many."""
    if devices is None:
        return make_mesh()
    if jax.process_count() > 1:
        raise InputError("--devices is for a run of one process: start fewer processes, or hide devices from them")
    if not 1 <= devices <= jax.device_count():
        raise InputError(f"--devices {devices}: this machine has {jax.device_count()}")
    return make_mesh(jax.devices()[:devices])


def check_batches(config: ExperimentConfig, devices: int) -> None:
    """Raises InputError, with what would do, unless `devices` can share the batches of every stage evenly."""
    train = config.train
    sizes = {name: (getattr(config, name).batch_size, 1) for name in ("read", *PAIR_STAGES)}
    sizes["train"] = (train.batch_size, train.accumulation_steps)
    used = {stage_section(name): sizes[stage_section(name)] for name in stage_names(config)}
    for section, (batch_size, parts) in used.items():
        if batch_size % (devices * parts):
            steps = f" × {parts} accumulation steps" if parts > 1 else ""
            larger = math.ceil(batch_size / (devices * parts)) * devices * parts
            mend = f"make it {larger} or another multiple of {devices * parts}"
            fewer = (n for n in range(devices - 1, 0, -1) if not any(size % (n * of) for size, of in used.values()))
            if jax.process_count() == 1 and (enough := next(fewer, None)):
                mend += f", or use fewer devices: --devices {enough}"
            raise InputError(f"{section}.batch_size {batch_size} cannot be shared by {devices} devices{steps}: {mend}")
