"""The discriminators of a run, as the objective sees them: each scores the images of one domain."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from bitmoji_jax.config import ExperimentConfig
from bitmoji_jax.models.networks import Params, make_discriminator
from bitmoji_jax.training.losses import discriminator_loss, generator_loss
from bitmoji_jax.training.sample import Sample


def _image(frozen: Params, sample: Sample) -> jax.Array:
    del frozen
    return sample.image


@dataclasses.dataclass(frozen=True, eq=False)
class Critic:
    """A discriminator: its module, what the module sees of a sample, and the losses on its scores."""

    name: str
    """Of its parameters in `TrainState.discriminators`, and of its loss, `loss_NAME`, in metrics.jsonl."""
    domain: str
    """Of the images it scores: x or y."""
    metric: str
    """Name of the term that the generators minimise."""
    module: nn.Module
    inputs: Callable[[Params, Sample], Any] = _image
    """inputs(frozen, sample): what the module sees: the image, or what a network in `TrainState.frozen` makes of it."""
    weight: float = 1.0
    """Of the term that the generators minimise."""
    generator_loss: Callable[[Any], jax.Array] = generator_loss
    """Of the scores of generated images."""
    discriminator_loss: Callable[[Any, Any], jax.Array] = discriminator_loss
    """Of the scores of real and of generated images."""


def make_critics(config: ExperimentConfig) -> tuple[Critic, ...]:
    """Returns D_Y and D_X. To add a critic, append it here, and what it sees images through to `frozen_params`."""
    discriminator = make_discriminator(config)
    return (
        Critic(name="d_y", domain="y", metric="adversarial_g", module=discriminator),
        Critic(name="d_x", domain="x", metric="adversarial_f", module=discriminator),
    )


def frozen_params(config: ExperimentConfig) -> dict[str, Params]:
    """Returns the parameters that a run uses and never changes, by network: none so far."""
    del config
    return {}
