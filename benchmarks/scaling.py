"""The cost of data parallelism on 8, 64 and 256 devices, computed from the bytes that the compiled step all-reduces.

    python -m benchmarks.scaling --exp res5 --step-ms 50

compiles the experiment's step for two virtual CPU devices, reads its all-reduces from the program, and compares their
time with the time of a step. Prints a table, and on stdout a line of JSON. The bytes are those of the parameters and do
not depend on the size of the images, so it compiles for 32 px.

Assumptions:
- A ring: each device sends 2 (N − 1) / N of the bytes over its link, and waits 2 (N − 1) times for `latency_us`.
- Beyond `node` devices every link of the ring is as slow as the one between nodes.
- Each device has as much work as alone (weak scaling), all are equally fast, and the input never waits.
- With overlap the gradients of G and F are sent while D_X and D_Y are updated, which does not depend on them (their
  images were made before the update): `critic_share` of the step. The gradients of D_X and D_Y overlap with nothing.

Rates, one way and for each device: NVLink 4, 900 GB/s both ways (H100 data sheet); InfiniBand NDR, 400 Gb/s a GPU
(DGX H100); Ethernet, 100 Gb/s shared by 8 GPUs; ICI of TPU v5e, 1,600 Gb/s a chip in all (Cloud TPU documentation), of
which a ring uses half, both ways.
"""

import dataclasses
import importlib
import json
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import rich.console
import rich.table
import tyro

from bitmoji_jax.config import DiscriminatorConfig, ExperimentConfig, GeneratorConfig
from bitmoji_jax.parallel import make_mesh
from bitmoji_jax.training.train_state import create_train_state
from bitmoji_jax.training.train_step import make_train_step
from bitmoji_jax.training.translate_stage import translate_stage

_BYTES = {"f64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2}
_SIZE = 32
_COUNTS = (8, 64, 256)


@dataclasses.dataclass(frozen=True)
class Network:
    """Links of a cluster, in GB/s one way for each device."""

    in_node: float
    node: int
    """Devices connected by the fast links."""
    between: float


NETWORKS = {
    "NVLink + InfiniBand NDR": Network(450, 8, 50),
    "NVLink + 100 Gb/s Ethernet": Network(450, 8, 12.5 / 8),
    "TPU v5e, ICI": Network(50, 256, 50),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """What to compile and to assume."""

    exp: str = "res5"
    """The experiment with the networks."""
    step_ms: float = 50.0
    """Time of a step on one device, with its share of the batch."""
    critic_share: float = 0.2
    """Share of the step that updating D_X and D_Y takes."""
    latency_us: float = 5.0
    """Latency of one hop of the ring."""
    short: bool = False
    """Tiny networks: a check that this runs."""


def all_reduces(program: str) -> list[int]:
    """Returns the bytes of each all-reduce in optimized HLO."""
    return [
        sum(_BYTES[kind] * math.prod(int(n) for n in shape.split(",") if n) for kind, shape in _shapes(match[1]))
        for match in re.finditer(r"= (\([^=]*?\)|\S+) all-reduce(?:-start)?\(", re.sub(r"/\*.*?\*/", "", program))
    ]


def _shapes(text: str) -> list[tuple[str, str]]:
    return re.findall(r"(\w+)\[([\d,]*)\]", text)


def compiled_step(config: ExperimentConfig) -> tuple[str, str, dict[str, int]]:
    """Returns the step before and after XLA's optimization, and the bytes of the parameters."""
    mesh = make_mesh()
    state, pools = create_train_state(translate_stage(config, 1), mesh)
    batch = {
        domain: {
            "image": jnp.zeros((mesh.size, 1, _SIZE, _SIZE, 3), jnp.uint8),
            "landmarks": jnp.zeros((mesh.size, 1, 5, 2)),
        }
        for domain in ("x", "y")
    }
    step: Any = make_train_step(translate_stage(config, epoch_images=1))
    lowered = step.lower(state, pools, batch)
    sizes = {
        name: sum(leaf.nbytes for leaf in jax.tree.leaves(params))
        for name, params in (("generators", state.generators), ("discriminators", state.discriminators))
    }
    return lowered.as_text(), lowered.compile().as_text(), sizes


def ring_seconds(size: float, devices: int, network: Network, latency: float, collectives: int = 1) -> float:
    """Returns the seconds of ring all-reduces of `size` bytes in total."""
    rate = (network.in_node if devices <= network.node else network.between) * 1e9
    return 2 * (devices - 1) / devices * size / rate + collectives * 2 * (devices - 1) * latency


def efficiencies(options: Options, sizes: dict[str, int], network: Network, devices: int) -> dict[str, float]:
    """Returns images/s of all devices divided by `devices` times those of one: as it is, and with each improvement."""
    step, latency = options.step_ms / 1e3, options.latency_us / 1e6

    def exposed(scale: float, overlap: bool) -> float:
        g, d = (
            ring_seconds(sizes[name] * scale, devices, network, latency) for name in ("generators", "discriminators")
        )
        return (max(0.0, g - options.critic_share * step) if overlap else g) + d

    return {
        "plain": step / (step + exposed(1, False)),
        "overlap": step / (step + exposed(1, True)),
        "4 accumulation steps": 4 * step / (4 * step + exposed(1, False)),
        "bfloat16 gradients": step / (step + exposed(0.5, False)),
        "overlap, bfloat16": step / (step + exposed(0.5, True)),
    }


def measure(options: Options) -> dict[str, Any]:
    """Compiles the step, reads its all-reduces and computes the efficiencies."""
    config: ExperimentConfig = importlib.import_module(f"experiments.{options.exp}").get_experiment()
    train = dataclasses.replace(config.train, batch_size=2, accumulation_steps=1, pool_size=2, compute_dtype="float32")
    config = dataclasses.replace(config, train=train, data=dataclasses.replace(config.data, image_size=_SIZE))
    if options.short:
        config = dataclasses.replace(
            config, generator=GeneratorConfig(features=4, res_blocks=1), discriminator=DiscriminatorConfig(features=4)
        )
    before, after, sizes = compiled_step(config)
    found = all_reduces(after)
    return {
        "exp": options.exp,
        "step_ms": options.step_ms,
        "parameter_bytes": sizes,
        "all_reduced_bytes": sum(found),
        "all_reduces": {"before_xla": before.count("stablehlo.all_reduce"), "compiled": len(found)},
        "efficiency": {
            name: {
                devices: {k: round(v, 4) for k, v in efficiencies(options, sizes, network, devices).items()}
                for devices in _COUNTS
            }
            for name, network in NETWORKS.items()
        },
    }


def show(result: dict[str, Any]) -> None:
    """Prints the table on stderr."""
    improvements = list(next(iter(result["efficiency"].values()))[_COUNTS[0]])
    table = rich.table.Table("network", "devices", *improvements, title=f"Efficiency, step of {result['step_ms']:g} ms")
    for name, by_devices in result["efficiency"].items():
        for devices, values in by_devices.items():
            table.add_row(name, str(devices), *(f"{value:.1%}" for value in values.values()))
    console = rich.console.Console(stderr=True, width=120)
    console.print(table)
    console.print(
        f"{result['all_reduced_bytes'] / 1e6:.1f} MB a step in {result['all_reduces']['compiled']} all-reduces "
        f"({result['all_reduces']['before_xla']} before XLA)"
    )


if __name__ == "__main__":
    chosen = tyro.cli(Options)
    jax.config.update("jax_num_cpu_devices", 2)
    outcome = measure(chosen)
    show(outcome)
    print(json.dumps(outcome))
