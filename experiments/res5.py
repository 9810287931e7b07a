"""The article's best system: U-Net generators with five residual blocks in the latent space, 128 px, 30 epochs.

python launch.py --exp res5 --data.dir data/NAME

Source: "Generate Bitmoji from face using GAN" (2021). It gives no learning rates, weights or batch: those are
CycleGAN's (arXiv 1703.10593). Nor does it say how to upsample: here by nearest-neighbour resize + convolution, which
starts without a checkerboard. 30 epochs are split as CycleGAN splits its 200, half constant, half decaying.

Tried so far at 64 px and half width only (`--data.image-size 64 --generator.features 32 --discriminator.features 32
--train.constant-epochs 1.5 --train.decay-epochs 1`) on 4,638 photos and 3,255 bitmojis: after 11,595 images, at up to 7
images/s on two cores of an AMD EPYC (2026-11-22), avatars have bitmoji outlines, eyes and flat colours on white
backgrounds; photos with a dark background or a covered eye fail. KID x 1000 352, of blurred images 46 (untouched photos
351 and 180); gender kept 85 %; skin dE 9.9 (experiments/results/res5_64px.json).
"""

from bitmoji_jax.config import DataConfig, DiscriminatorConfig, ExperimentConfig, GeneratorConfig, TrainConfig


def get_experiment(res_blocks: int = 5) -> ExperimentConfig:
    """Returns the article's recipe; its depth study varies `res_blocks`."""
    return ExperimentConfig(
        data=DataConfig(image_size=128),
        generator=GeneratorConfig(features=64, res_blocks=res_blocks, skips=True, upsample="nearest"),
        discriminator=DiscriminatorConfig(features=64),
        train=TrainConfig(batch_size=1, constant_epochs=15, decay_epochs=15),
    )
