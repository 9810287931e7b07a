"""`python -m bitmoji_jax`."""

import sys

# Worker processes import this module too, under another name, and need nothing of it.
if __name__ == "__main__":
    from bitmoji_jax.cli import main

    sys.exit(main())
