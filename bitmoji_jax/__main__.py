"""Runs `python -m bitmoji_jax`."""

import sys

# Worker processes import this module under another name.
if __name__ == "__main__":
    from bitmoji_jax.cli import main

    sys.exit(main())
