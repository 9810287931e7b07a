"""The built-in dataset: synthetic, so that a bare machine has something honest to learn and to be judged by.

Nobody in it exists. Y holds avatars assembled from the parts of `python-avatars`, drawn in the manner of a
bitmoji; X holds photo-like renderings of such heads: lit, posed, out of focus, in front of something. The
training splits share no head. In the test splits the photo and the avatar with the same id are the same head,
so that the error of a translation can be measured exactly. A score on this set says nothing about photos of
people.
"""

import hashlib
import importlib.metadata
import tempfile
from pathlib import Path

from rich.console import Console

from bitmoji_jax.cache import cache_folder
from bitmoji_jax.data.builder import write_dataset
from bitmoji_jax.errors import InputError
from bitmoji_jax.host import available_cores

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
    """Renders the synthetic set, or finds it in the cache.

    The same arguments give the same bytes, whatever the number of workers.

    Args:
        size: Height and width of the images, in pixels.
        train_images: Images in each of trainA and trainB.
        test_images: Pairs in testA and testB.
        seed: Of all that is drawn.
        cache_dir: Where the dataset's folder goes; None means `bitmoji_jax` in $XDG_CACHE_HOME or ~/.cache.
        workers: Processes; None means one per available core.

    Returns:
        The folder of a TFDS dataset with the splits of `builder.SPLITS`. Of its attributes (`ATTRIBUTES`),
        `glasses`, `hat` and `shadow` are 0 or 1 and tell what the image shows; the colours, 0 to 255, are the
        head's own, before any light fell on it.

    Raises:
        InputError: the cache cannot be written to, or a number is out of range.
    """
    if size < 16 or train_images < 1 or test_images < 1 or seed < 0:
        raise InputError(
            f"want size >= 16, images >= 1, seed >= 0: got {size=}, {train_images=}, {test_images=}, {seed=}"
        )
    cache = Path(cache_dir) if cache_dir is not None else cache_folder()
    out = cache / f"synthetic-{size}px-{train_images}+{test_images}-seed{seed}-{_renderer_digest()}"
    if _is_complete(out):
        return out
    try:
        cache.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=cache).close()
    except OSError as error:
        raise InputError(
            f"cannot keep the synthetic dataset in {cache} ({error.strerror}): "
            "set XDG_CACHE_HOME to a folder that can be written to"
        ) from error
    from bitmoji_jax.data.synthetic.examples import draw_examples  # 0.7 s, which a set in the cache need not wait for

    console = Console(stderr=True, markup=False)
    console.print(
        f"The built-in dataset is synthetic, drawn heads and not photos of people: "
        f"rendering {2 * (train_images + test_images):,} images of {size} px, once, into {cache}"
    )
    splits = draw_examples(size, train_images, test_images, seed, workers=workers or available_cores(), console=console)
    try:
        write_dataset(out, splits, size=size, attributes=ATTRIBUTES, description=_DESCRIPTION)
    except InputError:
        # Another process was faster, and has written the same bytes.
        if not _is_complete(out):
            raise
    return out


def _renderer_digest() -> str:
    """Changes with the code that draws and the libraries it draws with, so that no cache goes stale."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    for library in ("python-avatars", "resvg-py"):
        digest.update(importlib.metadata.version(library).encode())
    return digest.hexdigest()[:8]


def _is_complete(folder: Path) -> bool:
    # Datasets are moved into place whole.
    return (folder / "dataset_info.json").is_file()
