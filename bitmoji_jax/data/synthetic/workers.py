"""Renders the synthetic set in worker processes, in an order that does not depend on their number.

The workers are plain child processes that write pixels to a pipe. A `multiprocessing` pool would have each
import the caller's main module, and JAX with it, and would need that module to guard against being imported.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from typing import NamedTuple

import numpy as np

from bitmoji_jax.data.synthetic.avatar import render_avatar
from bitmoji_jax.data.synthetic.photo import render_photo
from bitmoji_jax.data.synthetic.spec import AvatarSpec, Nuisance, sample_nuisance, sample_spec


class Job(NamedTuple):
    """One image of the set: a photo where there is a nuisance, else an avatar."""

    split: str
    number: int
    spec: AvatarSpec
    nuisance: Nuisance | None


def list_jobs(train_images: int, test_images: int, seed: int) -> list[Job]:
    """All images of a set. No spec comes twice, but for test pairs; these do not depend on `train_images`."""
    specs, nuisances = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
    seen: set[AvatarSpec] = set()

    def new_spec() -> AvatarSpec:
        while (spec := sample_spec(specs)) in seen:
            pass
        seen.add(spec)
        return spec

    test = [(new_spec(), sample_nuisance(nuisances)) for _ in range(test_images)]
    jobs = [Job("testA", i, spec, nuisance) for i, (spec, nuisance) in enumerate(test)]
    jobs += [Job("testB", i, spec, None) for i, (spec, _) in enumerate(test)]
    jobs += [Job("trainA", i, new_spec(), sample_nuisance(nuisances)) for i in range(train_images)]
    return jobs + [Job("trainB", i, new_spec(), None) for i in range(train_images)]


def render_job(job: Job, size: int) -> np.ndarray:
    """uint8 [size, size, 3]."""
    if job.nuisance is None:
        return render_avatar(job.spec, size)
    return render_photo(job.spec, job.nuisance, size)


def render_all(
    size: int, train_images: int, test_images: int, seed: int, workers: int
) -> Generator[np.ndarray, None, None]:
    """Yields the image of every job of `list_jobs`, in its order.

    Raises:
        RuntimeError: a worker died.
    """
    count = 2 * (train_images + test_images)
    frame = size * size * 3
    # One thread each: the arrays are small, and the sums come out the same everywhere.
    environment = {
        **os.environ,
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    with contextlib.ExitStack() as stack:
        pipes = []
        for worker in range(workers):
            arguments = f"{size}, {train_images}, {test_images}, {seed}, {worker}, {workers}"
            process = subprocess.Popen(
                [sys.executable, "-c", f"from {__name__} import serve; serve({arguments})"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                env=environment,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout is not None
            pipes.append(process.stdout)
        for index in range(count):
            pixels = pipes[index % workers].read(frame)
            if len(pixels) < frame:
                raise RuntimeError(f"a process that renders the synthetic set died (image {index} of {count})")
            yield np.frombuffer(pixels, np.uint8).reshape(size, size, 3)


def serve(size: int, train_images: int, test_images: int, seed: int, worker: int, workers: int) -> None:
    """A worker: writes every `workers`-th image to standard output as raw bytes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # die quietly with the parent
    for job in list_jobs(train_images, test_images, seed)[worker::workers]:
        sys.stdout.buffer.write(render_job(job, size).tobytes())
        sys.stdout.buffer.flush()
