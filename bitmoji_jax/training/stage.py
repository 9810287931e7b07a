"""A stage of a run: which networks it trains, on what, and for what. The loop and the step are the same for all."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from bitmoji_jax.models.networks import Params
from bitmoji_jax.training.critics import Critic
from bitmoji_jax.training.objective import Score, Term
from bitmoji_jax.training.sample import Pair, Sample

Batch = dict[str, dict[str, jax.Array]]
"""{"x": {"image": uint8, "landmarks": float32, "gender": int32, "glasses": float32}, "y": ...}, see
`data.pipeline.read_pair`."""


class Schedule(NamedTuple):
    """How long and how fast a stage learns; time is counted in images."""

    total: int  # images by the end of the stage, whole batches
    epoch_images: int
    batch_size: int  # over all devices
    parts: int | None  # a device's batch is cut into, None: single images; gradients are averaged over them
    rate: Callable[[jax.Array], jax.Array]  # images seen -> Adam's step size of the networks
    critic_rate: float  # step size of the critics, over that of the networks
    beta1: float
    beta2: float
    ema_halflife: float


Columns = Callable[[Mapping[str, Params], Mapping[str, Params], Mapping[str, jax.Array]], Sequence[jax.Array]]


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
    """What is trained, and what for."""

    name: str
    """translate, refine, teach, invert2, ..."""
    seed: int
    """Of the data's order."""
    key: jax.Array
    """Of initialisation, augmentation and pools."""
    schedule: Schedule
    best_from: int
    """Images from which its weights may count as the best: before, KID may be low while much is still to be learned."""
    domain: str
    """Of the images whose KID chooses its best weights: y, or x where photos are what it learns to draw."""
    networks: Mapping[str, tuple[nn.Module, Sequence[Any]]]
    """The networks that are trained, by name: module and example inputs."""
    start: Callable[[], Mapping[str, Params]]
    """Gives parameters that some of them start from, by name; the others start from noise."""
    critics: Sequence[Critic]
    generated: Mapping[str, Sample]
    """Zeros in the shape of one generated image, as critics and pools take it, by domain."""
    frozen: Mapping[str, Params]
    """Networks that are used and not trained, by name."""
    pool_size: int
    """Generated images of each domain kept on each device for the critics."""
    draw: Callable[[Mapping[str, Params], Batch, jax.Array], Pair]
    """draw(frozen, batch, keys [N, 2]): what a step learns from, float32; one key for each domain's image."""
    generator_terms: Callable[[Mapping[str, Params], Mapping[str, Params], Pair, Score], tuple[list[Term], Pair]]
    """generator_terms(params, frozen, drawn, score): what the networks minimise, and the images they made."""
    discriminator_terms: Callable[[Pair, Pair, Score], list[Term]]
    """discriminator_terms(drawn, shown, score): what the critics minimise; `shown` has passed through the pools."""
    column_names: Sequence[str]
    """Of a sample grid."""
    columns: Columns
    """columns(trained, frozen, images by domain): those of a sample grid, [N, S, S, 3] in [-1, 1], any S."""
    passed_on: Sequence[str]
    """Names of the networks, trained or frozen, that weights files of the stage hold and the next stage may use."""

    def networks_of(self, trained: Mapping[str, Params], frozen: Mapping[str, Params]) -> dict[str, Params]:
        """Returns the networks that are passed on: the trained ones, such as moving averages, and the frozen ones."""
        return {name: trained[name] if name in trained else frozen[name] for name in self.passed_on}
