"""The 2017 reference recipe, exactly: CycleGAN at 256 px with nine residual blocks.

python launch.py --exp cyclegan --data.name cycle_gan/horse2zebra

Source: arXiv 1703.10593, sections 4 and 7, and the authors' implementation: 286 to 256 px random crops, flips, batch 1,
identity weight 0.5 × cycle weight, 100 epochs at 2e-4 and 100 to 0, pools of 50. The moving average of the weights is
kept beside them and does not affect training.
"""

from bitmoji_jax.config import DataConfig, DiscriminatorConfig, ExperimentConfig, GeneratorConfig, TrainConfig


def get_experiment() -> ExperimentConfig:
    """Returns the recipe, with defaults written out too."""
    return ExperimentConfig(
        data=DataConfig(image_size=256, crop_margin=30 / 256, flip=True),
        generator=GeneratorConfig(features=64, res_blocks=9, skips=False, upsample="transpose"),
        discriminator=DiscriminatorConfig(features=64),
        train=TrainConfig(
            batch_size=1,
            constant_epochs=100,
            decay_epochs=100,
            learning_rate=2e-4,
            beta1=0.5,
            beta2=0.999,
            cycle_weight=10.0,
            identity_weight=5.0,
            pool_size=50,
        ),
    )
