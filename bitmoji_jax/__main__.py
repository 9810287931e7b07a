"""Runs `python -m bitmoji_jax`."""

import sys

from bitmoji_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
