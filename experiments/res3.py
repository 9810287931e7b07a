"""The article's depth study: res5 with 3 residual blocks.

python launch.py --exp res3 --data.dir data/NAME
"""

from bitmoji_jax.config import ExperimentConfig
from experiments import res5


def get_experiment() -> ExperimentConfig:
    """As res5, but for the depth."""
    return res5.get_experiment(res_blocks=3)
