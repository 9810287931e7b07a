"""The best system for real photos and avatars: CycleGAN, then a reader, a refiner, and a student of 256 px.

python launch.py --exp bitmoji --data.dir data/NAME

The dataset should have 256 px (`prepare --size 256`). The weights of the package had these stages, with
`--data.balance-skin` and `--init-from res5` (G and F of 11,595 pairs), on two cores of an AMD EPYC (2026-11-27), but
not as one run: the reader came after two rounds without it, then the student learned 32,000 pairs more, 9,000 with
the points of the face and 12,000 with marks of the mouth; what takes shadows out, what tells hats, and F's training
against the student came last (docs/results.md). Their critics were not told the gender. Refine takes 11 to 13 pairs a
second when nothing else runs, invert 8 to 9, teach 4 to 9, a round 40 to 60 minutes, read 14. KID x 1000 by SqueezeNet,
64 px: 30 (untouched photos 398; G alone 223); gender kept 95 %, mouth 90 %; skin dE 5.8, hair 5.7
(experiments/results/bitmoji_256px.json).
"""

from bitmoji_jax.config import (
    DataConfig,
    DiscriminatorConfig,
    ExperimentConfig,
    GeneratorConfig,
    InvertConfig,
    LogConfig,
    PairConfig,
    ReadConfig,
    TeachConfig,
    TrainConfig,
)


def get_experiment() -> ExperimentConfig:
    """Returns CycleGAN at 64 px and half width, and two rounds of stages that draw avatars of 256 px."""
    return ExperimentConfig(
        data=DataConfig(image_size=64, crop_margin=0.06),
        generator=GeneratorConfig(features=32, res_blocks=5, skips=True, upsample="nearest"),
        discriminator=DiscriminatorConfig(features=32),
        train=TrainConfig(batch_size=1, constant_epochs=1.5, decay_epochs=1, rounds=2),
        read=ReadConfig(images=80_000),
        invert=InvertConfig(images=6_000),
        refine=PairConfig(images=10_000),
        teach=TeachConfig(images=12_000, critic_weight=0.08, gender_weight=0.4),
        log=LogConfig(samples_every=4000, checkpoint_every=2000, scores_every=4000),
    )
