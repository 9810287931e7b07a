"""The command line with two workers that decode eight photos and then wait for ever, for tests that end it half-way."""

import signal
import sys
import threading
from typing import Any

from bitmoji_jax.data.framing import Job, encode


def decode_or_wait(job: Job, size: int) -> Any:
    """Decodes 000.png to 007.png, one chunk for a worker."""
    if int(job.path.stem) >= 8:
        threading.Event().wait()
    return encode(job, size)


if __name__ == "__main__":
    from bitmoji_jax import cli
    from bitmoji_jax.data import prepare
    from tests import stuck_prepare

    # A shell starts what runs in its background with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    prepare.encode = stuck_prepare.decode_or_wait
    prepare.available_cores = lambda: 2
    sys.exit(cli.main())
