"""Trains an experiment: python launch.py --exp NAME [--workdir DIR] [--section.field VALUE ...].

`bitmoji train` is the same for those who have no checkout.
"""

import sys

import experiments
from bitmoji_jax.launcher import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], experiments, prog="launch.py"))
