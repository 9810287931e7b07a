"""Whether training is the same with the convolutions of `bitmoji_jax.ops` as with XLA's own.

    python -m benchmarks.same_losses

trains the same steps from the same state on the same images: with XLA's convolutions (as networks are traced for
accelerators, in float32), with ours, and several times with XLA's from a state whose weights are changed by a rounding
error. Differences of any cause grow as training goes on, so ours are compared with these, step for step. If both have
the same size, our convolutions change the rounding only. Prints a table, and on stdout a line of JSON.
"""

import dataclasses
import importlib
import itertools
import json
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import rich.console
import rich.progress
import rich.table
import tyro

from bitmoji_jax.config import ExperimentConfig
from bitmoji_jax.data.pipeline import Dataset, open_dataset, train_batches
from bitmoji_jax.ops.platform import tracing_for
from bitmoji_jax.parallel import make_mesh
from bitmoji_jax.training.train_state import create_train_state
from bitmoji_jax.training.train_step import make_train_step
from bitmoji_jax.training.translate_stage import translate_stage

_LOSSES = ("loss_generators", "loss_d_x", "loss_d_y", "cycle_x", "cycle_y")
_ROUNDING = 2.0**-24  # of a float32, relative


@dataclasses.dataclass(frozen=True)
class Options:
    """What to compare."""

    exp: str = "demo"
    """The experiment with the networks, losses and schedule."""
    data: Path | None = None
    """A dataset; the built-in one unless given."""
    batch_size: int = 1
    steps: int = 200
    disturbed: int = 3
    """Runs from a state with rounding errors."""
    short: bool = False
    """A few steps of a tiny network: a check that this runs."""


def losses(
    config: ExperimentConfig, dataset: Dataset, form: Literal["cpu", "tpu"], steps: int, disturb: int | None
) -> np.ndarray:
    """Returns float [steps, losses] of the first steps, computed in `form`; `disturb` seeds the rounding errors."""
    mesh = make_mesh()
    batches = train_batches(dataset, config.data, batch_size=config.train.batch_size, seed=config.train.seed, mesh=mesh)
    with tracing_for(form):
        state, pools = create_train_state(translate_stage(config, dataset.epoch_images), mesh)
        if disturb is not None:
            rng = np.random.default_rng(disturb)

            def with_rounding_error(a: Any) -> Any:
                return a * (1 + _ROUNDING * rng.choice([-1.0, 1.0], a.shape)).astype(a.dtype)

            state = dataclasses.replace(
                state,
                generators=jax.tree.map(with_rounding_error, state.generators),
                discriminators=jax.tree.map(with_rounding_error, state.discriminators),
            )
        step = make_train_step(translate_stage(config, dataset.epoch_images))
        rows = []
        for _ in range(steps):
            state, pools, metrics = step(state, pools, next(batches))
            rows.append([float(metrics[name]) for name in _LOSSES])
    return np.array(rows)


def compare(options: Options, console: rich.console.Console) -> dict[str, Any]:
    """Returns relative differences from XLA's own, as medians over losses and spans of steps, and the last losses."""
    config: ExperimentConfig = importlib.import_module(f"experiments.{options.exp}").get_experiment()
    train = dataclasses.replace(config.train, batch_size=options.batch_size, compute_dtype="float32")
    data = dataclasses.replace(config.data, dir=str(options.data) if options.data else None)
    config = dataclasses.replace(config, data=data, train=train)
    steps = options.steps
    if options.short:
        steps = 3
        config = dataclasses.replace(
            config,
            data=dataclasses.replace(config.data, image_size=32),
            generator=dataclasses.replace(config.generator, features=4, res_blocks=0),
            discriminator=dataclasses.replace(config.discriminator, features=4),
        )
    dataset = open_dataset(config.data)
    runs: list[tuple[str, Literal["cpu", "tpu"], int | None]] = [("XLA's", "tpu", None), ("ours", "cpu", None)]
    runs += [(f"XLA's, disturbed {i}", "tpu", i) for i in range(1 if options.short else options.disturbed)]
    found: dict[str, np.ndarray] = {}
    for name, form, disturb in rich.progress.track(runs, console=console):
        found[name] = losses(config, dataset, form, steps, disturb)
    plain = found["XLA's"]
    edges = [edge for edge in (0, 1, 3, 10, 30, 100) if edge < steps] + [steps]
    spans = list(itertools.pairwise(edges))
    last = slice(-min(50, steps), None)
    return {
        "exp": options.exp,
        "batch_size": config.train.batch_size,
        "spans": [f"{a + 1} to {b}" for a, b in spans],
        "difference": {
            name: [float(f"{np.median(np.abs(run / plain - 1)[a:b]):.2g}") for a, b in spans]
            for name, run in found.items()
            if run is not plain
        },
        "mean_of_last": {
            name: dict(zip(_LOSSES, run[last].mean(axis=0).round(4).tolist(), strict=True))
            for name, run in found.items()
        },
    }


def show(result: dict[str, Any], console: rich.console.Console) -> None:
    """Prints the tables."""
    table = rich.table.Table("steps", *result["difference"], title="Relative difference of losses from XLA's, median")
    for i, span in enumerate(result["spans"]):
        table.add_row(span, *(f"{row[i]:.1e}" for row in result["difference"].values()))
    console.print(table)
    table = rich.table.Table("run", *_LOSSES, title="Mean of the last 50 steps")
    for name, row in result["mean_of_last"].items():
        table.add_row(name, *(f"{value:.3f}" for value in row.values()))
    console.print(table)


if __name__ == "__main__":
    stderr = rich.console.Console(stderr=True, width=120)
    outcome = compare(tyro.cli(Options), stderr)
    show(outcome, stderr)
    print(json.dumps(outcome))
