"""What this machine offers. Worker processes import it: no JAX here."""

import os


def available_cores() -> int:
    """Cores that this process may use: fewer than the machine has under taskset, Slurm or in a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
