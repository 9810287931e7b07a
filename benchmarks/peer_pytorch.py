"""CycleGAN in PyTorch, our own implementation: the program that bitmoji-jax is compared with.

It has the same networks, losses, image pools, optimizers and order of updates as `training/train_step.py`, written as
is usual in PyTorch: NCHW modules, `torch.optim.Adam`, discriminators frozen by `requires_grad_`, real and generated
images scored one after the other, a pool of tensors in a Python list. It has neither moving averages, which the
reference implementation lacks, nor augmentation, which that does in its loader's processes. Two modes: "eager" in
float32, and "best" with channels_last, automatic mixed precision in bfloat16 and `torch.compile`.

Only this file needs PyTorch: pip install -e '.[bench]'.
"""

import itertools
import random
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bitmoji_jax.config import DiscriminatorConfig, ExperimentConfig, GeneratorConfig

Mode = Literal["eager", "best"]


def norm(channels: int) -> nn.Module:
    """Returns instance norm as in the reference, without learned scale or shift."""
    return nn.InstanceNorm2d(channels)


class ResidualBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), both convolutions 3x3 and padded by reflection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), norm(channels), nn.ReLU(True),
            nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), norm(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def upsampling(channels: int, features: int, kind: str) -> nn.Module:
    """Returns layers that double height and width; `kind` is transpose (the reference) or nearest (res5)."""
    if kind == "transpose":
        return nn.ConvTranspose2d(channels, features, 3, stride=2, padding=1, output_padding=1)
    if kind == "nearest":
        return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(channels, features, 3, padding=1))
    raise ValueError(f"no peer for upsampling {kind!r}")


class Generator(nn.Module):
    """c7s1-k, d2k, d4k, R4k x res_blocks, u2k, uk, c7s1-3, tanh; with or without U-Net skips. NCHW."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        k, self.skips = config.features, config.skips
        self.stem = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(3, k, 7), norm(k), nn.ReLU(True))
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, 2 * c, 3, stride=2, padding=1), norm(2 * c), nn.ReLU(True)) for c in (k, 2 * k)
        )
        self.blocks = nn.Sequential(*(ResidualBlock(4 * k) for _ in range(config.res_blocks)))
        wide = 2 if self.skips else 1
        self.up = nn.ModuleList(
            nn.Sequential(upsampling(channels, features, config.upsample), norm(features), nn.ReLU(True))
            for channels, features in ((4 * k, 2 * k), (wide * 2 * k, k))
        )
        self.head = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(wide * k, 3, 7), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        full = self.stem(x)
        half = self.down[0](full)
        x = self.blocks(self.down[1](half))
        for stage, skip in zip(self.up, (half, full), strict=True):
            x = stage(x)
            if self.skips:
                x = torch.cat([x, skip], 1)
        return self.head(x)


class Discriminator(nn.Sequential):
    """The 70x70 PatchGAN. NCHW."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        k = config.features
        layers: list[nn.Module] = [nn.Conv2d(3, k, 4, 2, 1), nn.LeakyReLU(0.2, True)]
        for channels, stride in ((k, 2), (2 * k, 2), (4 * k, 1)):
            layers += [nn.Conv2d(channels, 2 * channels, 4, stride, 1), norm(2 * channels), nn.LeakyReLU(0.2, True)]
        super().__init__(*layers, nn.Conv2d(8 * k, 1, 4, 1, 1))


class ImagePool:
    """A pool of past images: full, it returns with probability 0.5 an old image, which the new one replaces."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: list[Tensor] = []

    def query(self, images: Tensor) -> Tensor:
        """Takes and returns [N, 3, H, W]."""
        if self.size == 0:
            return images
        chosen = []
        for image in images.detach():
            if len(self.images) < self.size:
                self.images.append(image.clone())
                chosen.append(image)
            elif random.random() < 0.5:
                slot = random.randrange(self.size)
                chosen.append(self.images[slot])
                self.images[slot] = image.clone()
            else:
                chosen.append(image)
        return torch.stack(chosen)


class CycleGAN:
    """Networks, optimizers and image pools."""

    def __init__(self, config: ExperimentConfig, mode: Mode = "eager", device: str = "cpu") -> None:
        """Initialises random weights; `load` copies those of a JAX run."""
        self.config, self.mode, self.device = config, mode, torch.device(device)
        memory_format = torch.channels_last if mode == "best" else torch.contiguous_format
        self.memory_format = memory_format
        self.g, self.f = Generator(config.generator), Generator(config.generator)
        self.d_x, self.d_y = Discriminator(config.discriminator), Discriminator(config.discriminator)
        for network in self.networks.values():
            network.to(self.device, memory_format=memory_format)
            for parameter in network.parameters():
                nn.init.normal_(parameter, 0, 0.02) if parameter.ndim == 4 else nn.init.zeros_(parameter)
        train = config.train
        self.generator_optimizer, self.discriminator_optimizer = (
            torch.optim.Adam(
                itertools.chain(a.parameters(), b.parameters()), train.learning_rate, (train.beta1, train.beta2)
            )
            for a, b in ((self.g, self.f), (self.d_x, self.d_y))
        )
        self.pool_x, self.pool_y = ImagePool(train.pool_size), ImagePool(train.pool_size)
        self._run: Callable[[nn.Module, Tensor], Tensor] = lambda network, x: network(x)
        if mode == "best":
            compiled = {id(network): torch.compile(network) for network in self.networks.values()}
            self._run = lambda network, x: compiled[id(network)](x)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks g, f, d_x and d_y by name."""
        return {"g": self.g, "f": self.f, "d_x": self.d_x, "d_y": self.d_y}

    def to_device(self, images: np.ndarray) -> Tensor:
        """Converts uint8 [N, H, W, 3] to float32 [N, 3, H, W] in [-1, 1]."""
        tensor = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2)
        return (tensor.float() / 127.5 - 1).contiguous(memory_format=self.memory_format)

    def autocast(self) -> torch.autocast:
        """Returns the context for bfloat16 where AMP allows it, in mode "best"."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.mode == "best")

    def translate(self, images: Tensor) -> Tensor:
        """Applies G to [N, 3, H, W] for inference."""
        with torch.inference_mode(), self.autocast():
            return self._run(self.g, images).float()

    def step(self, real_x: Tensor, real_y: Tensor) -> dict[str, Tensor]:
        """Updates G and F, then D_X and D_Y; returns the losses before the update without waiting for them."""
        losses, fake_x, fake_y = self.generator_losses(real_x, real_y)
        self.generator_optimizer.zero_grad()
        losses["loss_generators"].backward()
        self.generator_optimizer.step()
        critic_losses = self.discriminator_losses(
            real_x, real_y, self.pool_x.query(fake_x.detach()), self.pool_y.query(fake_y.detach())
        )
        self.discriminator_optimizer.zero_grad()
        (critic_losses["loss_d_x"] + critic_losses["loss_d_y"]).backward()
        self.discriminator_optimizer.step()
        return {name: loss.detach() for name, loss in (losses | critic_losses).items()}

    def generator_losses(self, real_x: Tensor, real_y: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Returns the losses of G and F with the discriminators frozen, fake_x and fake_y."""
        self._freeze_discriminators(True)
        train, g, f, run = self.config.train, self.g, self.f, self._run
        with self.autocast():
            fake_y, fake_x = run(g, real_x), run(f, real_y)
            rec_x, rec_y = run(f, fake_y), run(g, fake_x)
            scores_y, scores_x = run(self.d_y, fake_y), run(self.d_x, fake_x)
            identities = (run(f, real_x), run(g, real_y)) if train.identity_weight else None
        losses = {
            "adversarial_g": (scores_y.float() - 1).square().mean(),
            "adversarial_f": (scores_x.float() - 1).square().mean(),
            "cycle_x": functional.l1_loss(rec_x.float(), real_x),
            "cycle_y": functional.l1_loss(rec_y.float(), real_y),
        }
        total = losses["adversarial_g"] + losses["adversarial_f"]
        total = total + train.cycle_weight * (losses["cycle_x"] + losses["cycle_y"])
        if identities is not None:
            losses["identity_x"] = functional.l1_loss(identities[0].float(), real_x)
            losses["identity_y"] = functional.l1_loss(identities[1].float(), real_y)
            total = total + train.identity_weight * (losses["identity_x"] + losses["identity_y"])
        losses["loss_generators"] = total
        return losses, fake_x.float(), fake_y.float()

    def discriminator_losses(
        self, real_x: Tensor, real_y: Tensor, pooled_x: Tensor, pooled_y: Tensor
    ) -> dict[str, Tensor]:
        """Returns the losses of D_X and D_Y on real images and images from the pools."""
        self._freeze_discriminators(False)
        losses = {}
        for name, network, real, pooled in (
            ("loss_d_x", self.d_x, real_x, pooled_x),
            ("loss_d_y", self.d_y, real_y, pooled_y),
        ):
            with self.autocast():
                scores_real, scores_pooled = self._run(network, real), self._run(network, pooled)
            losses[name] = 0.5 * ((scores_real.float() - 1).square().mean() + scores_pooled.float().square().mean())
        return losses

    def _freeze_discriminators(self, frozen: bool) -> None:
        for parameter in itertools.chain(self.d_x.parameters(), self.d_y.parameters()):
            parameter.requires_grad_(not frozen)

    def load(self, params: dict[str, Any]) -> None:
        """Copies parameters of the JAX networks: {"g": ..., "f": ..., "d_x": ..., "d_y": ...}."""
        for name, network in self.networks.items():
            _copy_parameters(params[name]["params"], network)


def _copy_parameters(ours: dict[str, Any], network: nn.Module) -> None:
    """Copies a Flax tree into a network of this file, whose convolutions are in the same order."""
    if isinstance(network, Generator):
        blocks = [ours[f"ResidualBlock_{i}"][f"Conv_{j}"] for i in range(len(network.blocks)) for j in (0, 1)]
        ups = [next(iter(ours[f"Upsample_{i}"].values())) for i in (0, 1)]
        sources = [*(ours[f"Conv_{i}"] for i in range(3)), *blocks, *ups, ours["Conv_3"]]
    else:
        sources = [ours[f"Conv_{i}"] for i in range(5)]
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    for layer, source in zip(layers, sources, strict=True):
        kernel, bias = np.asarray(source["kernel"]), np.asarray(source["bias"])
        # Flax rotates the kernel of a transposed convolution by 180 degrees relative to PyTorch.
        transposed = isinstance(layer, nn.ConvTranspose2d)
        kernel = kernel[::-1, ::-1].transpose(2, 3, 0, 1) if transposed else kernel.transpose(3, 2, 0, 1)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(kernel.copy()))
            assert layer.bias is not None
            layer.bias.copy_(torch.from_numpy(bias.copy()))
