"""Draws the examples."""

from pathlib import Path

from PIL import Image

from bitmoji_jax.data.synthetic.jobs import list_jobs, render_job
from bitmoji_jax.web.examples import EXAMPLES

_SIZE = 256
_SEED = 0

if __name__ == "__main__":
    jobs = list_jobs(train_images=0, test_images=1 + max(map(int, EXAMPLES)), seed=_SEED)
    for name in EXAMPLES:
        picture = Image.fromarray(render_job(jobs[int(name)], _SIZE))
        picture.save(Path(__file__).parent / f"{name}.jpg", quality=88, optimize=True)
