"""A first result in minutes on a 2-core CPU, from the built-in synthetic faces.

python launch.py --exp demo
"""

from bitmoji_jax.config import (
    DataConfig,
    DiscriminatorConfig,
    ExperimentConfig,
    GeneratorConfig,
    LogConfig,
    TrainConfig,
)


def get_experiment() -> ExperimentConfig:
    """64 px, a quarter of the article's width, three residual blocks."""
    return ExperimentConfig(
        data=DataConfig(image_size=64, crop_margin=0.06),
        generator=GeneratorConfig(features=16, res_blocks=3, skips=True, upsample="nearest"),
        discriminator=DiscriminatorConfig(features=32),
        train=TrainConfig(batch_size=4, learning_rate=3e-4, constant_epochs=2.5, decay_epochs=3, ema_halflife=200),
        log=LogConfig(samples_every=1500, checkpoint_every=1500),
    )
