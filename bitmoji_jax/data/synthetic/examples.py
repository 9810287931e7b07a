"""Draws the images of the built-in dataset.

Apart from `synthetic`, because what draws is slow to import, and a set that is in the cache needs none of it.
"""

import contextlib

import numpy as np
from rich.console import Console
from rich.progress import track

from bitmoji_jax.data.builder import SPLITS, Example, encode_image
from bitmoji_jax.data.synthetic.avatar import avatar_landmarks
from bitmoji_jax.data.synthetic.pose import photo_landmarks
from bitmoji_jax.data.synthetic.workers import Job, list_jobs, render_all


def draw_examples(
    size: int, train_images: int, test_images: int, seed: int, *, workers: int, console: Console
) -> dict[str, list[Example]]:
    """Renders all images of each split in `workers` processes, with a bar on `console`; arguments as for
    `synthetic.synthetic_dataset`."""
    jobs = list_jobs(train_images, test_images, seed)
    splits: dict[str, list[Example]] = {split: [] for split in SPLITS}
    images = render_all(size, train_images, test_images, seed, workers)
    with contextlib.closing(images):
        progress = track(jobs, description="Rendering", console=console, transient=True)
        for job, image in zip(progress, images, strict=True):
            splits[job.split].append(_example(job, image))
    return splits


def _example(job: Job, image: np.ndarray) -> Example:
    spec, nuisance = job.spec, job.nuisance
    kind = "head" if job.split.startswith("test") else "photo" if nuisance else "avatar"
    return Example(
        id=f"{kind}-{job.number:05d}",
        image=encode_image(image),
        gender=spec.gender,
        landmarks=photo_landmarks(spec, nuisance) if nuisance else avatar_landmarks(spec),
        attributes={
            "glasses": float(spec.has_glasses),
            "hat": float(nuisance is not None and nuisance.hat != "NONE"),
            "shadow": float(nuisance is not None and nuisance.shadow),
            **{f"skin_{channel}": float(value) for channel, value in zip("rgb", spec.skin, strict=True)},
            **{f"hair_{channel}": float(value) for channel, value in zip("rgb", spec.hair_colour, strict=True)},
        },
    )
