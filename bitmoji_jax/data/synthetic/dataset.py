"""The built-in dataset: synthetic, so that training and scores can be tried without any pictures.

Nobody in it exists. Y holds avatars assembled from the parts of `python-avatars`, drawn in the manner of a bitmoji;
X holds photo-like renderings of such heads: lit, posed, out of focus, in front of a background. The training splits
share no head. In the test splits the photo and the avatar with the same id are the same head, so that the error of a
translation can be measured exactly. A score on this set says nothing about photos of people.
"""

import atexit
import contextlib
import functools
import hashlib
import importlib.metadata
import shutil
import tempfile
from pathlib import Path

import rich.console

from bitmoji_jax.cache import cache_folder
from bitmoji_jax.console import make_console
from bitmoji_jax.data.builder import SPLITS, Example, write_dataset
from bitmoji_jax.data.workers import map_in_workers
from bitmoji_jax.errors import InputError
from bitmoji_jax.files import make_folder
from bitmoji_jax.host import available_cores
from bitmoji_jax.progress import progress_bar

ATTRIBUTES: dict[str, type] = dict.fromkeys(
    ("glasses", "hat", "shadow", "skin_r", "skin_g", "skin_b", "hair_r", "hair_g", "hair_b"), float
)
_DESCRIPTION = "Synthetic: avatars of python-avatars, and photo-like renderings of such heads. No real person is shown."


def synthetic_dataset(
    size: int,
    *,
    train_images: int = 1500,
    test_images: int = 200,
    seed: int = 0,
    cache_dir: Path | None = None,
    workers: int | None = None,
) -> Path:
    """Renders the synthetic set, or finds it in the cache. The number of workers does not change a byte.

    Args:
        size: Side of the images, in pixels.
        train_images: Images in each of trainA and trainB.
        test_images: Pairs in testA and testB.
        seed: Seed of everything that is drawn.
        cache_dir: Parent of the dataset's folder; None means the cache folder, or without one a temporary folder that
            this process removes when it ends.
        workers: Processes; None means one per available core.

    Returns:
        The folder of a TFDS dataset with the splits of `builder.SPLITS`. Of its `ATTRIBUTES`, `glasses`, `hat` and
        `shadow` are 0 or 1, as the image shows; the colours, 0 to 255, are the head's own, before lighting.

    Raises:
        InputError: the cache cannot be written to, or a number is out of range.
    """
    if size < 16 or train_images < 1 or test_images < 1 or seed < 0:
        given = f"{size=}, {train_images=}, {test_images=}, {seed=}"
        raise InputError(f"want size >= 16, images >= 1, seed >= 0: got {given}")
    cache = Path(cache_dir) if cache_dir is not None else cache_folder() or _temporary_folder()
    out = cache / f"synthetic-{size}px-{train_images}+{test_images}-seed{seed}-{_renderer_digest()}"
    if _is_complete(out):
        return out
    make_folder(cache, "the folder for the synthetic dataset,")
    console = make_console(stderr=True)
    console.print(
        f"The built-in dataset is synthetic, drawn heads and not photos of people: "
        f"rendering {2 * (train_images + test_images):,} images of {size} px, once, into {cache}"
    )
    splits = _render(size, train_images, test_images, seed, workers or available_cores(), console)
    try:
        write_dataset(out, splits, size=size, attributes=ATTRIBUTES, description=_DESCRIPTION)
    except InputError:
        if not _is_complete(out):  # else another process was faster and has written the same bytes
            raise
    return out


def _render(
    size: int, train_images: int, test_images: int, seed: int, workers: int, console: rich.console.Console
) -> dict[str, list[Example]]:
    """Renders the examples of each split."""
    # 0.7 s of imports that a set in the cache does not need.
    from bitmoji_jax.data.synthetic.jobs import encode_job, list_jobs

    jobs = list_jobs(train_images, test_images, seed)
    encoded = map_in_workers(functools.partial(encode_job, size=size), jobs, workers)
    splits: dict[str, list[Example]] = {split: [] for split in SPLITS}
    with contextlib.closing(encoded), progress_bar("rendering", len(jobs), console) as advance:
        for job, (image, landmarks) in zip(jobs, encoded, strict=True):
            advance()
            spec, nuisance = job.spec, job.nuisance
            kind = "head" if job.split.startswith("test") else "photo" if nuisance else "avatar"
            hat, shadow = (nuisance.hat != "NONE", nuisance.shadow) if nuisance else (False, False)
            values = (spec.glasses != "NONE", hat, shadow, *spec.skin, *spec.hair_colour)
            attributes = dict(zip(ATTRIBUTES, map(float, values), strict=True))
            splits[job.split].append(Example(f"{kind}-{job.number:05d}", image, spec.gender, landmarks, attributes))
    return splits


@functools.cache
def _temporary_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="bitmoji_jax-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _renderer_digest() -> str:
    """Changes with the code and the libraries that draw, so that a cached set is never out of date."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    for library in ("python-avatars", "resvg-py"):
        digest.update(importlib.metadata.version(library).encode())
    return digest.hexdigest()[:8]


def _is_complete(folder: Path) -> bool:
    return (folder / "dataset_info.json").is_file()  # datasets are renamed into place whole
