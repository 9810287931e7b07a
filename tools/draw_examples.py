"""Draws the example photos of the web page, and the icons of the page that can be installed.

The photos are of the synthetic set's test split, by their numbers; the icons show the avatar of the first.

python -m tools.draw_examples
"""

from pathlib import Path

from PIL import Image

import bitmoji_jax.web
from bitmoji_jax.data.synthetic.avatar import render_avatar
from bitmoji_jax.data.synthetic.jobs import list_jobs, render_job
from bitmoji_jax.inference.picture import transparent
from bitmoji_jax.web.page import EXAMPLES

_SIZE = 256
_SEED = 0
_ICON_SIZES = (192, 512)
_ICON_COLOUR = "#f2b544"
_ICON_SHARE = 0.8  # of the icon that is shown where it is cut to a circle

if __name__ == "__main__":
    jobs = list_jobs(train_images=0, test_images=1 + max(map(int, EXAMPLES)), seed=_SEED)
    folder = Path(bitmoji_jax.web.__path__[0])
    for name in EXAMPLES:
        picture = Image.fromarray(render_job(jobs[int(name)], _SIZE))
        picture.save(folder / f"examples/{name}.jpg", quality=88, optimize=True)
    for size in _ICON_SIZES:
        side = round(_ICON_SHARE * size)
        avatar = Image.fromarray(transparent(render_avatar(jobs[int(next(iter(EXAMPLES)))].spec, side)))
        icon = Image.new("RGB", (size, size), _ICON_COLOUR)
        icon.paste(avatar, ((size - side) // 2, size - side), avatar)
        icon.quantize(128).save(folder / f"browser/icon-{size}.png", optimize=True)
