"""Draws the example photos of the web page: photos of the synthetic set's test split, by their numbers.

python -m tools.draw_examples
"""

from pathlib import Path

from PIL import Image

import bitmoji_jax.web
from bitmoji_jax.data.synthetic.jobs import list_jobs, render_job
from bitmoji_jax.web.page import EXAMPLES

_SIZE = 256
_SEED = 0

if __name__ == "__main__":
    jobs = list_jobs(train_images=0, test_images=1 + max(map(int, EXAMPLES)), seed=_SEED)
    folder = Path(bitmoji_jax.web.__path__[0]) / "examples"
    for name in EXAMPLES:
        picture = Image.fromarray(render_job(jobs[int(name)], _SIZE))
        picture.save(folder / f"{name}.jpg", quality=88, optimize=True)
