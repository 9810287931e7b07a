"""What the face mesh gives: one short round of `bitmoji`, to compare with its twin without the mesh.

python launch.py --exp mesh --data.dir data/NAME --init-from res5 --train.constant-epochs 0 --train.decay-epochs 0
python launch.py --exp mesh ... --read.no-points --read.no-mouth --read.no-hats

FIGURES
"""

import dataclasses

from bitmoji_jax.config import ExperimentConfig

from . import bitmoji


def get_experiment() -> ExperimentConfig:
    """Returns `bitmoji` with one round of short stages."""
    config = bitmoji.get_experiment()
    return dataclasses.replace(
        config,
        train=dataclasses.replace(config.train, rounds=1),
        refine=dataclasses.replace(config.refine, images=6_000),
        teach=dataclasses.replace(config.teach, images=3_600),
    )
