"""Draws docs/images/astronaut.png: NASA's portrait in scikit-image (public domain), as it is framed, and its avatar.

python -m tools.draw_astronaut OUT.png [--run RUN]
"""

import argparse
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from bitmoji_jax.inference.look import Look
from bitmoji_jax.inference.translator import Translator

_SIDE = 256  # pixels of each of the three pictures


def main() -> None:
    """Writes a row of the photo's middle, the framed face and the avatar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--run", type=Path, help="a run; by default the weights of the package")
    arguments = parser.parse_args()
    translator = Translator.pretrained() if arguments.run is None else Translator.from_run(arguments.run)
    photo = skimage.data.astronaut()
    portrait = translator.portraits(photo, look=Look("female") if translator.guided else None)[0]
    pictures = (photo[:400, 24:424], portrait.crop, portrait.avatar)
    row = [np.asarray(Image.fromarray(p).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)) for p in pictures]
    Image.fromarray(np.concatenate(row, axis=1)).save(arguments.out)


if __name__ == "__main__":
    main()
