import functools
import os
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from bitmoji_jax.config import (
    DataConfig,
    DiscriminatorConfig,
    ExperimentConfig,
    GeneratorConfig,
    LogConfig,
    TrainConfig,
)
from bitmoji_jax.data.builder import Example, encode_image, write_dataset
from bitmoji_jax.models import face_networks as networks
from bitmoji_jax.models import features
from tests.tiny_images import COUNTS, SIZE, tiny_image, tiny_landmarks

# Set before anything starts JAX, as the collection of some files does. Most of the time goes into compiling what then
# runs for a moment: a tiny step takes 4.1 s instead of 11.8. An empty XLA_FLAGS compiles everything as for users.
# Programs are not cut into parts, since compiling many parts at once takes more time of the processors in all.
_FLAGS = ["--xla_backend_optimization_level=0", "--xla_cpu_parallel_codegen_split_count=1"]
if jax.__version_info__ < (0, 11):  # later versions have this emitter only, and stop at a flag they do not know
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("XLA_FLAGS", " ".join(_FLAGS))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts files with slow tests first, so that no worker is left with a long file when the others have finished."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compiled programs are shared by the tests of a session and the processes they start, and by nothing else."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    session = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        session = session.parent  # that of all workers
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(session / "xla")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    jax.config.update("jax_compilation_cache_dir", str(session / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


@pytest.fixture(scope="session", autouse=True)
def _fast_networks() -> Iterator[None]:
    """The networks for faces and for KID are called often: one level higher they run ten times as fast."""
    jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 1})
    with pytest.MonkeyPatch.context() as patch:
        for module in (networks, features):
            patch.setattr(module, "jax", types.SimpleNamespace(**(vars(jax) | {"jit": jit})))
        yield


@pytest.fixture(autouse=True)
def _own_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts back what a command sets for its whole process."""
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared dataset: image `index` of a split is `tiny_image(split, index)`, its id "000", "001", ..."""
    folder = tmp_path_factory.mktemp("data") / "tiny"
    splits = {
        split: [
            Example(
                id=f"{index:03}",
                image=encode_image(tiny_image(split, index)),
                gender=("male", "female", "unknown")[index % 3],
                landmarks=tiny_landmarks(index),
            )
            for index in range(count)
        ]
        for split, count in COUNTS.items()
    }
    write_dataset(folder, splits, size=SIZE, attributes={}, description="tests")
    return folder


@pytest.fixture(scope="session")
def tiny_config(tiny_dataset: Path) -> ExperimentConfig:
    """The smallest networks, batch 2, two epochs of `tiny_dataset` (24 images, 12 steps)."""
    return ExperimentConfig(
        data=DataConfig(dir=str(tiny_dataset), image_size=SIZE, read_threads=1),
        generator=GeneratorConfig(features=4, res_blocks=1),
        discriminator=DiscriminatorConfig(features=4),
        train=TrainConfig(batch_size=2, constant_epochs=1, decay_epochs=1, pool_size=4, compute_dtype="float32"),
        log=LogConfig(metrics_every=4, samples_every=12, sample_images=2, checkpoint_every=12),
    )
