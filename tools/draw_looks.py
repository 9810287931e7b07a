"""Draws docs/images/looks.png: avatars of NASA's portrait in scikit-image (public domain) with looks that were chosen.

python -m tools.draw_looks OUT.png
"""

import argparse
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from bitmoji_jax.inference.look import Look
from bitmoji_jax.inference.translator import Translator

_SIDE = 192  # pixels of each avatar
_LOOKS = (
    Look("female"),
    Look("female", mouth="closed"),
    Look("female", mouth="closed", glasses=True),
    Look("female", hat=True),
    Look("female", hair=(190, 70, 40)),
    Look("female", skin=(120, 78, 52), hair=(40, 30, 28)),
    Look("male"),
)


def main() -> None:
    """Writes a row of the avatars, the first as the photo says but for its gender."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    translator = Translator.pretrained()
    faces = translator.align(skimage.data.astronaut())
    avatars = [translator.translate_faces(faces, look)[0].avatar for look in _LOOKS]
    row = [np.asarray(Image.fromarray(a).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)) for a in avatars]
    Image.fromarray(np.concatenate(row, axis=1)).save(arguments.out)


if __name__ == "__main__":
    main()
