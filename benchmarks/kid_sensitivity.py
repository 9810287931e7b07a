"""What the scores of a set of avatars react to: real avatars with one fault at a time, scored as if they were outputs.

    python -m benchmarks.kid_sensitivity --data DIR

prints a table: by both feature networks, KID × 1000 as it is and after `low_pass`, nearest_neighbour_ratio and
coverage, then checkerboard, of each faulty set against the avatars of testB. The first two rows are the floor and the
ceiling of what outputs may score.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tyro
from PIL import Image
from rich.console import Console
from rich.progress import track
from scipy import ndimage

from bitmoji_jax.config import DataConfig
from bitmoji_jax.data.pipeline import Dataset, open_dataset
from bitmoji_jax.inference.translator import resized
from bitmoji_jax.metrics.checkerboard import checkerboard
from bitmoji_jax.metrics.diversity import coverage, nearest_neighbour_ratio
from bitmoji_jax.metrics.images import compress_jpeg
from bitmoji_jax.metrics.kid import kid, low_pass
from bitmoji_jax.models.efficientnet import load_efficientnet_lite0
from bitmoji_jax.models.features import Features
from bitmoji_jax.models.squeezenet import load_squeezenet


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    data: str | None = None
    """Folder of a prepared dataset; by default the built-in synthetic set."""
    size: int = 64
    """Width and height the images are resized to before anything else."""
    seed: int = 0
    """Of the sample of trainB and of the noise."""
    json: Path | None = None
    """A file for the figures."""


@dataclasses.dataclass(frozen=True)
class NetworkScores:
    """Scores by one network; both KIDs are times 1000, `coverage` is a percentage."""

    kid: float
    kid_low_pass: float
    neighbour_ratio: float
    coverage: float


@dataclasses.dataclass(frozen=True)
class Row:
    """A case and its scores."""

    case: str
    images: int
    networks: dict[str, NetworkScores]
    period_2: float
    period_4: float


def faults(seed: int = 0) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """What may be wrong with every output alike: each takes and gives uint8 [N, S, S, 3]."""
    rng = np.random.default_rng(seed)
    return {
        "noise, sigma 4": lambda images: noisy(images, 4, rng),
        "noise, sigma 8": lambda images: noisy(images, 8, rng),
        "blur, sigma 1 px": lambda images: blurred(images, 1),
        "blur, sigma 2 px": lambda images: blurred(images, 2),
        "JPEG of quality 30": lambda images: np.stack([compress_jpeg(image, 30) for image in images]),
        "checkerboard +-4, period 2": lambda images: checkered(images, 4, 2),
        "checkerboard +-8, period 4": lambda images: checkered(images, 8, 4),
        "hues turned by 20 degrees": lambda images: hue_turned(images, 20),
        "saturation halved": lambda images: saturated(images, 0.5),
        "25 grey levels darker": lambda images: clipped(images - 25.0),
        "8 % narrower": lambda images: narrower(images, 0.08),
    }


def modes_lost(images: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs without a fault of their own, but fewer of them: uint8 [N, S, S, 3] as `images`."""
    half = images[: (len(images) + 1) // 2]
    return {
        "half of them, twice": np.concatenate([half, half])[: len(images)],
        "the mean image N times": np.repeat(clipped(images.mean(axis=0, keepdims=True)), len(images), axis=0),
    }


def noisy(images: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """White noise of its own in each channel, clipped to 0 to 255."""
    return clipped(images + rng.normal(0, sigma, images.shape))


def blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur, σ in pixels."""
    return clipped(ndimage.gaussian_filter(images.astype(np.float32), (0, sigma, sigma, 0)))


def checkered(images: np.ndarray, amplitude: float, period: int) -> np.ndarray:
    """A checkerboard of ±amplitude grey levels, the same on all images, in squares of half a period."""
    squares = np.arange(images.shape[1]) // (period // 2)
    sign = 1 - 2 * ((squares[:, None] + squares) % 2)
    return clipped(images + amplitude * sign[..., None])


def hue_turned(images: np.ndarray, degrees: float) -> np.ndarray:
    """Hues of HSV turned; greys stay."""
    results = []
    for image in images:
        hsv = np.array(Image.fromarray(image).convert("HSV"))
        hsv[..., 0] += np.uint8(round(degrees / 360 * 256) % 256)
        results.append(np.asarray(Image.fromarray(hsv, "HSV").convert("RGB")))
    return np.stack(results)


def saturated(images: np.ndarray, share: float) -> np.ndarray:
    """Colours nearer to the grey of the same luma (ITU-R BT.601)."""
    grey = (images @ np.array([0.299, 0.587, 0.114]))[..., None]
    return clipped(grey + share * (images - grey))


def narrower(images: np.ndarray, share: float) -> np.ndarray:
    """Squeezed sideways about the middle; the border's pixels go on outwards."""
    size = images.shape[1]
    columns = (np.arange(size) - (size - 1) / 2) / (1 - share) + (size - 1) / 2
    columns = columns.clip(0, size - 1)
    left = np.floor(columns).astype(int)
    right = np.minimum(left + 1, size - 1)
    weight = (columns - left)[:, None]
    return clipped(images[:, :, left] * (1 - weight) + images[:, :, right] * weight)


def clipped(values: np.ndarray) -> np.ndarray:
    """Rounded to uint8."""
    return np.rint(values).clip(0, 255).astype(np.uint8)


def read(dataset: Dataset, split: str, size: int, indices: np.ndarray | None = None) -> np.ndarray:
    """Images of a split, uint8 [N, size, size, 3], resized as training does."""
    if indices is None:
        indices = np.arange(len(dataset.splits[split]))
    return resized(np.stack([dataset.read(split, int(i))["image"] for i in indices]), size)


def cases(dataset: Dataset, size: int, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The avatars of testB and, by name, the sets that stand for outputs: uint8 [N, size, size, 3].

    Faults are put into avatars of trainB, as many as testB has, so that no output is a copy of a reference.
    """
    reals = read(dataset, "testB", size)
    order = np.random.default_rng(seed).permutation(len(dataset.splits["trainB"]))
    chosen = order[: len(reals)]
    fresh = read(dataset, "trainB", size, chosen)
    sets = {"other real avatars": fresh, "untouched photos": read(dataset, "testA", size)}
    sets |= {name: fault(fresh) for name, fault in faults(seed).items()}

    rows = [dataset.read("trainB", int(i)) for i in order]
    kept = {f"{gender} only": [row["gender"] == gender for row in rows] for gender in ("female", "male")}
    glasses = [row["attributes"].get("glasses", np.nan) for row in rows]
    if any(value == 1 for value in glasses):
        kept["no glasses"] = [value == 0 for value in glasses]
    for name, wanted in kept.items():
        indices = order[np.array(wanted)][: len(reals)]
        if len(indices) > 1:
            sets[name] = read(dataset, "trainB", size, indices)
    return reals, sets | modes_lost(fresh)


def measure(reals: np.ndarray, sets: Mapping[str, np.ndarray], networks: Mapping[str, Features]) -> list[Row]:
    """A row for each set against `reals`."""
    real_features = {name: (features(reals), features(low_pass(reals))) for name, features in networks.items()}

    def score(network: str, images: np.ndarray) -> NetworkScores:
        own, blurred = networks[network](images), networks[network](low_pass(images))
        real, real_blurred = real_features[network]
        return NetworkScores(
            1000 * kid(own, real).mean,
            1000 * kid(blurred, real_blurred).mean,
            nearest_neighbour_ratio(own, real),
            100 * coverage(own, real),
        )

    rows = []
    for case, images in track(sets.items(), console=Console(stderr=True), description="Scoring", transient=True):
        spectrum = checkerboard(images)
        scores = {network: score(network, images) for network in networks}
        rows.append(Row(case, len(images), scores, spectrum.period_2, spectrum.period_4))
    return rows


def table(rows: list[Row]) -> str:
    """Plain text in columns."""
    columns = f"{'KID':>8}{'low-pass':>9}{'neighb.':>8}{'cover %':>8}"
    lines = [
        " " * 34 + "".join(f"{name:>{len(columns)}}" for name in rows[0].networks),
        f"{'':27}{'images':>7}" + columns * len(rows[0].networks) + f"{'per. 2':>8}{'per. 4':>8}",
    ]
    for row in rows:
        scores = "".join(
            f"{s.kid:8.1f}{s.kid_low_pass:9.1f}{s.neighbour_ratio:8.2f}{s.coverage:8.1f}" for s in row.networks.values()
        )
        lines.append(f"{row.case:27}{row.images:7}{scores}{row.period_2:8.2f}{row.period_4:8.2f}")
    return "\n".join(lines)


def main(options: Options) -> None:
    """Measures, prints and writes."""
    dataset = open_dataset(DataConfig(dir=options.data, image_size=options.size))
    networks = {"EfficientNet-Lite0": load_efficientnet_lite0(), "SqueezeNet": load_squeezenet()}
    rows = measure(*cases(dataset, options.size, options.seed), networks)
    print(table(rows))
    if options.json is not None:
        figures = {
            "data": "synthetic" if options.data is None else options.data,
            "size": options.size,
            "seed": options.seed,
            "rows": [dataclasses.asdict(row) for row in rows],
        }
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
