"""The article's depth study: res5 with 9 residual blocks.

python launch.py --exp res9 --data.dir data/NAME

Tried at 64 px and width 16 only, 6,030 pairs, two seeds: KID x 1000 of blurred images 58 and 56 (untouched photos
180), no different from the other depths; 7 pairs/s on one core of an AMD EPYC (2026-11-23,
experiments/results/depth.json).
"""

from bitmoji_jax.config import ExperimentConfig

from . import res5


def get_experiment() -> ExperimentConfig:
    """Returns res5 with 9 residual blocks."""
    return res5.get_experiment(res_blocks=9)
