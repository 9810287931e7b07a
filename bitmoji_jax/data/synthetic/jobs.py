"""The images of the synthetic set: which there are, and the rendering of one. Worker processes import it: no TFDS."""

from typing import NamedTuple

import numpy as np

from bitmoji_jax.data.images import encode_image
from bitmoji_jax.data.synthetic.avatar import avatar_landmarks, render_avatar
from bitmoji_jax.data.synthetic.photo import render_photo
from bitmoji_jax.data.synthetic.pose import photo_landmarks
from bitmoji_jax.data.synthetic.spec import AvatarSpec, Nuisance, sample_nuisance, sample_spec


class Job(NamedTuple):
    """One image of the set: a photo where there is a nuisance, else an avatar."""

    split: str
    number: int
    spec: AvatarSpec
    nuisance: Nuisance | None


def list_jobs(train_images: int, test_images: int, seed: int) -> list[Job]:
    """Lists all images of a set. Specs are distinct except in test pairs, which do not depend on `train_images`."""
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
    """Renders uint8 [size, size, 3]."""
    if job.nuisance is None:
        return render_avatar(job.spec, size)
    return render_photo(job.spec, job.nuisance, size)


def encode_job(job: Job, size: int) -> tuple[bytes, np.ndarray]:
    """Renders and encodes an image; also returns its landmarks, float32 [5, 2] as fractions of it."""
    landmarks = photo_landmarks(job.spec, job.nuisance) if job.nuisance else avatar_landmarks(job.spec)
    return encode_image(render_job(job, size)), landmarks
