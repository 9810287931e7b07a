"""Train steps a second, ours and PyTorch's: the same networks, losses and pools, at the same time on the same cores.

    python -m benchmarks.train_step [--best]

prints a table as it goes, and on stdout a line of JSON. Cells are experiment × size × batch; in each, ours, PyTorch
eager (`peer_pytorch.py`) and, with --best, PyTorch with channels_last, automatic mixed precision in bfloat16 and
`torch.compile` take turns (`sides.py`), with matrix products of float32, whose rate is the unit for FLOP/s. Each step
starts from uint8 images in NumPy arrays. Ours also augments them and keeps moving averages; the peer does neither.

FLOP of a step are XLA's count for the program before its optimization, with every convolution as one operation (as
traced for accelerators) and transposed ones without the zeros between pixels: the operations of the model, not those of
the compiled program. The shares of all sides refer to this figure.
"""

import dataclasses
import importlib
import importlib.util
import json
from typing import Any, Literal

import numpy as np
import rich.console
import tyro

from benchmarks.sides import CORES, Side, Work, closing, machine, results, show, start_matmul, take_turns
from bitmoji_jax.config import ExperimentConfig


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    exps: tuple[str, ...] = ("res5", "cyclegan")
    """Whose networks and losses."""
    sizes: tuple[int, ...] = (64, 128)
    """Sides of the images in pixels."""
    batches: tuple[int, ...] = (1, 4)
    features: int = 64
    """Width of generators and discriminators."""
    best: bool = False
    """Also PyTorch with all of its optimizations."""
    rounds: int = 5
    """Turns of each side."""
    turn_s: float = 2.0
    """Seconds a turn takes, about."""
    threads: int = CORES
    """Cores for each side; fewer than all only on Linux."""
    short: bool = False
    """Tiny networks, one round: a check that this runs; the times mean nothing."""


def cell_config(exp: str, size: int, batch: int, features: int) -> ExperimentConfig:
    """Returns the experiment with another size, batch and width."""
    config: ExperimentConfig = importlib.import_module(f"experiments.{exp}").get_experiment()
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, image_size=size),
        generator=dataclasses.replace(config.generator, features=features),
        discriminator=dataclasses.replace(config.discriminator, features=features),
        train=dataclasses.replace(config.train, batch_size=batch),
    )


def noise(config: ExperimentConfig) -> dict[str, np.ndarray]:
    """Returns uint8 [B, size, size, 3] for x and y; speed does not depend on the content."""
    rng = np.random.default_rng(0)
    shape = (config.train.batch_size, config.data.image_size, config.data.image_size, 3)
    return {domain: rng.integers(0, 256, shape, dtype=np.uint8) for domain in ("x", "y")}


def batch_of(config: ExperimentConfig) -> Any:
    """Returns the batch that our step takes."""
    return {
        domain: {"image": images[None], "landmarks": np.full((1, len(images), 5, 2), np.nan, np.float32)}
        for domain, images in noise(config).items()
    }


def start_ours(config: ExperimentConfig) -> tuple[Work, float]:
    """Starts the step of `training/train_step.py`, on the first device."""
    import jax

    from bitmoji_jax.parallel import make_mesh
    from bitmoji_jax.training.train_state import create_train_state
    from bitmoji_jax.training.train_step import make_train_step
    from bitmoji_jax.training.translate_stage import translate_stage

    state, pools = create_train_state(translate_stage(config, 1000), make_mesh())
    batch = batch_of(config)
    flop = count_flop(config, state, pools)
    step = make_train_step(translate_stage(config, epoch_images=1000))

    def work(steps: int) -> float:
        nonlocal state, pools
        for _ in range(steps):
            state, pools, metrics = step(state, pools, batch)
        jax.block_until_ready(state)
        return float(metrics["loss_generators"])

    return work, flop


def count_flop(config: ExperimentConfig, state: Any, pools: Any) -> float:
    """Returns the FLOP of a step, as defined above."""
    from bitmoji_jax.ops.platform import tracing_for
    from bitmoji_jax.training.train_step import make_train_step
    from bitmoji_jax.training.translate_stage import translate_stage

    with tracing_for("tpu"):
        step: Any = make_train_step(translate_stage(config, epoch_images=1000))
        return step.lower(state, pools, batch_of(config)).cost_analysis()["flops"]


def start_pytorch(config: ExperimentConfig, mode: Literal["eager", "best"], threads: int) -> tuple[Work, float]:
    """Starts the peer's step."""
    import torch

    from benchmarks.peer_pytorch import CycleGAN

    torch.set_num_threads(threads)
    peer = CycleGAN(config, mode)
    batch = noise(config)

    def work(steps: int) -> float:
        for _ in range(steps):
            losses = peer.step(peer.to_device(batch["x"]), peer.to_device(batch["y"]))
        return float(losses["loss_generators"])

    return work, 0


def measure_cell(config: ExperimentConfig, modes: tuple[Literal["eager", "best"], ...], options: Options) -> dict:
    """Measures all sides in turn."""
    common: Any = {"threads": options.threads, "turn_s": options.turn_s}
    with closing([]) as sides:
        sides.append(Side("ours", start_ours, config, **common))
        for mode in modes:
            sides.append(Side(f"PyTorch {mode}", start_pytorch, config, mode, options.threads, **common))
        sides.append(Side("matmul", start_matmul, 128 if options.short else 2048, **common))
        take_turns(sides, options.rounds)
        return results(sides[:-1], sides[-1], config.train.batch_size)


def measure(options: Options, console: rich.console.Console) -> dict[str, Any]:
    """Measures all cells and prints a table after each."""
    if options.short:
        options = dataclasses.replace(
            options, exps=options.exps[:1], sizes=(32,), batches=(2,), features=4, rounds=1, turn_s=0
        )
    modes: tuple[Literal["eager", "best"], ...] = ("eager", "best") if options.best else ("eager",)
    if importlib.util.find_spec("torch") is None:
        console.print("PyTorch is not installed (pip install -e '.[bench]'): only our step is measured")
        modes = ()
    cells = []
    for exp in options.exps:
        for size in options.sizes:
            for batch in options.batches:
                config = cell_config(exp, size, batch, options.features)
                if options.short:
                    config = dataclasses.replace(config, generator=dataclasses.replace(config.generator, res_blocks=0))
                where = {"exp": exp, "size": size, "batch": batch, "features": options.features}
                cells.append(where | machine(options.threads) | measure_cell(config, modes, options))
                show(f"{exp}, {size} px, batch {batch}, width {options.features}", cells[-1], console)
    return {"cells": cells}


if __name__ == "__main__":
    outcome = measure(tyro.cli(Options), rich.console.Console(stderr=True, width=160))
    print(json.dumps(outcome))
