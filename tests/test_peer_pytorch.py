"""The PyTorch side of the benchmarks has the same networks and losses. Skipped without PyTorch."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is needed for the benchmarks only: pip install -e '.[bench]'")
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from benchmarks.peer_pytorch import CycleGAN, Discriminator, Generator  # noqa: E402
from benchmarks.train_step import cell_config, count_flop  # noqa: E402
from bitmoji_jax.config import ExperimentConfig, GeneratorConfig  # noqa: E402
from bitmoji_jax.parallel import make_mesh  # noqa: E402
from bitmoji_jax.training.train_state import create_train_state  # noqa: E402
from bitmoji_jax.training.train_step import make_train_step  # noqa: E402
from bitmoji_jax.training.translate_stage import translate_stage  # noqa: E402


def parameter_count(network: Any) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("blocks", "count"), [(5, 6_657_539), (9, 11_378_179)])
def test_parameter_counts_are_those_of_the_reference(blocks: int, count: int) -> None:
    assert parameter_count(Generator(GeneratorConfig(res_blocks=blocks))) == count
    assert parameter_count(Discriminator(ExperimentConfig().discriminator)) == 2_764_737


@pytest.mark.parametrize(("skips", "upsample"), [(False, "transpose"), (True, "nearest")])
def test_losses_from_copied_weights_are_equal(tiny_config: ExperimentConfig, skips: bool, upsample: Any) -> None:
    config = dataclasses.replace(
        tiny_config,
        data=dataclasses.replace(tiny_config.data, crop_margin=0.0, flip=False),
        generator=dataclasses.replace(tiny_config.generator, skips=skips, upsample=upsample),
    )
    stage = translate_stage(config, 12)
    state, pools = create_train_state(stage, make_mesh())
    peer = CycleGAN(config)
    peer.load(jax.device_get(state.generators | state.discriminators))
    rng = np.random.default_rng(0)
    size = config.data.image_size
    batch = {
        domain: {
            "image": rng.integers(0, 256, (1, 2, size, size, 3), dtype=np.uint8),
            "landmarks": np.full((1, 2, 5, 2), np.nan, np.float32),
            "gender": np.zeros((1, 2), np.int32),
        }
        for domain in ("x", "y")
    }
    step = make_train_step(stage)
    for _ in range(2):  # the second step sees the first update
        state, pools, ours = step(state, pools, batch)
        theirs = peer.step(*(peer.to_device(batch[domain]["image"][0]) for domain in ("x", "y")))
        for name, value in theirs.items():
            np.testing.assert_allclose(float(value), float(ours[name]), rtol=1e-3, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("exp", ["res5", "cyclegan"])
def test_flop_of_a_step_are_those_pytorch_counts(exp: str) -> None:
    config = cell_config(exp, size=32, batch=1, features=32)
    peer, images = CycleGAN(config), torch.zeros(1, 3, 32, 32)
    with FlopCounterMode(display=False) as counter:
        peer.step(images, images)
    # XLA counts norms and Adam, too, and leaves out products with padding.
    assert count_flop(config, *create_train_state(translate_stage(config, 12), make_mesh())) == pytest.approx(
        counter.get_total_flops(), rel=0.05
    )
