"""Resources of this machine. No JAX here: `prepare` starts without it."""

import os


def available_cores() -> int:
    """Counts the cores that this process may use: under taskset, Slurm or in a container, not all of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
