"""What the face mesh gives: one short round of `bitmoji`, to compare with its twin without the mesh.

python launch.py --exp mesh --data.dir data/NAME --init-from res5 --train.constant-epochs 0 --train.decay-epochs 0
python launch.py --exp mesh ... --read.no-points --read.no-mouth --read.no-hats

In so short a round the mesh loses, with two seeds: mouths are kept open or closed in 49 and 53 % with it and in 62 and
63 % without, KID x 1000 by SqueezeNet at 64 px is 52 and 51 with it and 47 and 47 without; A and L were those of the
package, R was the same for both. It gains where the student has learned without it before, as that of the package has
(docs/results.md). On two cores of an AMD EPYC beside other work (2026-11-28) refine takes 4 to 5 pairs a second, teach
3 to 4.
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
