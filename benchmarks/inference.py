"""Avatars a second, ours, PyTorch's and ONNX Runtime's: one generator, the same weights, on the same cores.

    python -m benchmarks.inference

prints a table as it goes, and on stdout a line of JSON. Cells are size × batch; in each `Translator.x2y`, the peer's
generator (`peer_pytorch.py`, eager, in inference mode) and the exported ONNX file in ONNX Runtime take turns
(`sides.py`), with matrix products of float32, whose rate is the unit for FLOP/s. All go from uint8 images to uint8
images in NumPy arrays, and must give the same avatars to within a grey level; otherwise the benchmark fails. ONNX
Runtime's threads do not spin while they wait (`session.intra_op.allow_spinning`).

FLOP are counted as in `train_step.py`. Weights are random: speed does not depend on them.
"""

import dataclasses
import importlib.util
import json
import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import rich.console
import tyro

from benchmarks.sides import CORES, Side, Start, Work, closing, machine, results, show, start_matmul, take_turns
from bitmoji_jax.config import DataConfig, DiscriminatorConfig, ExperimentConfig, GeneratorConfig

_GENERATOR = GeneratorConfig(features=64, res_blocks=5, skips=True, upsample="nearest")
_PARAMS, _ONNX = "params.pickle", "generator.onnx"


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    sizes: tuple[int, ...] = (64, 128, 256)
    """Sides of the images in pixels."""
    batches: tuple[int, ...] = (1, 16)
    generator: GeneratorConfig = _GENERATOR
    rounds: int = 7
    """Turns of each side."""
    turn_s: float = 1.0
    """Seconds a turn takes, about."""
    threads: int = CORES
    """Cores for each side; fewer than all only on Linux."""
    short: bool = False
    """A tiny network, one round: a check that this runs; the times mean nothing."""


def photos(config: ExperimentConfig, batch: int) -> np.ndarray:
    """uint8 [batch, size, size, 3]."""
    size = config.data.image_size
    return np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8)


def work_of(translate: Any, images: np.ndarray, folder: Path) -> Work:
    """Returns the work of translating `images`; the first side saves its avatars, and the others must make the same."""
    expected = folder / "avatars.npy"
    avatars = translate(images)
    if not expected.exists():
        np.save(expected, avatars)
    assert avatars.dtype == np.uint8
    difference = np.abs(avatars.astype(int) - np.load(expected).astype(int)).max()
    if difference > 1:
        raise ValueError(f"avatars differ by {difference} grey levels")

    def work(steps: int) -> float:
        for _ in range(steps):
            avatars = translate(images)
        return float(avatars[0, 0, 0, 0])

    return work


def start_ours(config: ExperimentConfig, batch: int, folder: Path) -> tuple[Work, float]:
    """Starts `Translator.x2y`, and saves the weights for the other sides."""
    import jax
    import jax.numpy as jnp

    from bitmoji_jax.inference.translator import Translator
    from bitmoji_jax.inference.weights import Weights
    from bitmoji_jax.models.networks import make_network
    from bitmoji_jax.ops.platform import tracing_for
    from bitmoji_jax.parallel import make_mesh
    from bitmoji_jax.training.train_state import create_train_state
    from bitmoji_jax.training.translate_stage import translate_stage

    state, _ = create_train_state(translate_stage(config, 1), make_mesh())
    params = jax.device_get(state.generators | state.discriminators)
    weights = Weights(config, 0, {name: params[name] for name in ("g", "f")})
    del state
    (folder / _PARAMS).write_bytes(pickle.dumps(params))
    if importlib.util.find_spec("onnx"):
        from bitmoji_jax.inference.export_onnx import to_onnx

        (folder / _ONNX).write_bytes(to_onnx(weights))
    size = config.data.image_size
    with tracing_for("tpu"):
        plain = jax.jit(make_network(config, "g").apply)
        lowered: Any = plain.lower(params["g"], jnp.zeros((batch, size, size, 3)))
    flop = lowered.cost_analysis()["flops"]
    return work_of(Translator.from_weights(weights).x2y, photos(config, batch), folder), flop


def start_pytorch(config: ExperimentConfig, batch: int, folder: Path, threads: int) -> tuple[Work, float]:
    """Starts the peer's G."""
    import torch

    from benchmarks.peer_pytorch import CycleGAN

    torch.set_num_threads(threads)
    peer = CycleGAN(config)
    peer.load(pickle.loads((folder / _PARAMS).read_bytes()))

    def translate(images: np.ndarray) -> np.ndarray:
        avatars = peer.translate(peer.to_device(images))
        grey = ((avatars + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return grey.permute(0, 2, 3, 1).contiguous().numpy()

    return work_of(translate, photos(config, batch), folder), 0


def start_onnx(config: ExperimentConfig, batch: int, folder: Path, threads: int) -> tuple[Work, float]:
    """Starts the exported file in ONNX Runtime, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(folder / _ONNX, options, providers=["CPUExecutionProvider"])
    return work_of(lambda images: session.run(None, {"photos": images})[0], photos(config, batch), folder), 0


def measure_cell(size: int, batch: int, peers: dict[str, Start], options: Options) -> dict[str, Any]:
    """Measures all sides in turn."""
    config = ExperimentConfig(
        data=DataConfig(image_size=size), generator=options.generator, discriminator=DiscriminatorConfig(features=1)
    )
    common: Any = {"threads": options.threads, "turn_s": options.turn_s}
    with tempfile.TemporaryDirectory() as name, closing([]) as sides:
        cell = (config, batch, Path(name))
        sides.append(Side("ours", start_ours, *cell, **common))
        for peer, start in peers.items():
            sides.append(Side(peer, start, *cell, options.threads, **common))
        sides.append(Side("matmul", start_matmul, 128 if options.short else 2048, **common))
        take_turns(sides, options.rounds)
        return results(sides[:-1], sides[-1], batch)


def measure(options: Options, console: rich.console.Console) -> dict[str, Any]:
    """Measures all cells and prints a table after each."""
    if options.short:
        generator = dataclasses.replace(options.generator, features=4, res_blocks=1)
        options = dataclasses.replace(options, sizes=(32,), batches=(2,), generator=generator, rounds=1, turn_s=0)
    peers: dict[str, Start] = {}
    if importlib.util.find_spec("torch"):
        peers["PyTorch eager"] = start_pytorch
    else:
        console.print("PyTorch is not installed (pip install -e '.[bench]'): it is left out")
    if importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime"):
        peers["ONNX Runtime"] = start_onnx
    else:
        console.print("ONNX Runtime is not installed (pip install -e '.[dev]'): it is left out")
    cells = []
    for size in options.sizes:
        for batch in options.batches:
            where = {"size": size, "batch": batch, "generator": dataclasses.asdict(options.generator)}
            cells.append(where | machine(options.threads) | measure_cell(size, batch, peers, options))
            show(f"{size} px, batch {batch}, width {options.generator.features}", cells[-1], console)
    return {"cells": cells}


if __name__ == "__main__":
    outcome = measure(tyro.cli(Options), rich.console.Console(stderr=True, width=160))
    print(json.dumps(outcome))
