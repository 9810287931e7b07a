"""The devices of a run in one row, and where arrays live on them."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bitmoji_jax.forks import check_not_forked

DATA_AXIS = "data"
REPLICATED, SHARDED = PartitionSpec(), PartitionSpec(DATA_AXIS)


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """All devices of the run, those of other processes too, or `devices`, in one row."""
    check_not_forked()
    return Mesh(np.array(jax.devices() if devices is None else devices), (DATA_AXIS,))


def abstract(tree: Any, mesh: Mesh, spec: PartitionSpec) -> Any:
    """Shapes and types of `tree`, placed on `mesh`, as `jax.ShapeDtypeStruct`s."""
    sharding = NamedSharding(mesh, spec)
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), tree)


def local(tree: Any) -> Any:
    """What is replicated over `make_mesh()`, as arrays of this process's devices alone; nothing is copied."""
    if jax.process_count() == 1:
        return tree
    return multihost_utils.global_array_to_host_local_array(tree, make_mesh(), REPLICATED)
