"""Draws docs/images/moved.png: avatars whose mouth was chosen, and the points of whose face were moved by hand.

    python -m tools.draw_moved OUT.png

Rows: NASA's portrait in scikit-image (public domain), then drawn faces of the page. Columns: the photo; its avatar;
with a closed mouth; with an open one; with the head turned to the left, to the right; with raised brows; with a wide
mouth.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import skimage.data
from PIL import Image

import bitmoji_jax.web
from bitmoji_jax.inference.translator import Translator
from bitmoji_jax.inference.weights import Weights, pretrained_weights
from bitmoji_jax.models.equal_eyes import equal_eyes
from bitmoji_jax.models.face_points import POINTS, measure
from bitmoji_jax.models.networks import Params, as_seen, photo_to_avatar, read_guide
from bitmoji_jax.models.reader import MOUTH, taken_off
from bitmoji_jax.models.reshape_face import reshape_faces
from bitmoji_jax.ops.image import to_float, to_uint8

_SIDE = 128  # pixels of each picture
_DRAWN = ("1", "22", "28")  # examples of the page
# Of the points of a face (models/face_points.py).
_NOSE, _LEFT_CORNER, _RIGHT_CORNER, _MOUTH, _CHIN, _JAW, _BROWS = 2, 3, 4, slice(3, 7), 7, slice(8, 10), slice(10, 12)


def moves() -> list[np.ndarray]:
    """Returns what is added to the points [POINTS, 2] in each of the last columns, as fractions of the side."""
    turned, brows, wide = (np.zeros((POINTS, 2), np.float32) for _ in range(3))
    # What is nearer to the camera than the eyes goes farther.
    for part, share in ((_NOSE, 1.0), (_MOUTH, 0.7), (_CHIN, 0.5), (_JAW, 0.2)):
        turned[part, 0] = 0.05 * share
    brows[_BROWS, 1] = -0.03
    wide[_LEFT_CORNER, 0], wide[_RIGHT_CORNER, 0] = -0.04, 0.04
    return [-turned, turned, brows, wide]


def drawing(weights: Weights) -> Callable[[np.ndarray], jax.Array]:
    """Returns the function from a photo [H, H, 3] to its avatars [7, S, S, 3], uint8 both."""
    config, transport, shifts = weights.config, weights.networks["t"], moves()
    networks: dict[str, Params] = {name: params for name, params in weights.networks.items() if name not in ("f", "t")}

    @jax.jit
    def draw(photo: jax.Array) -> jax.Array:
        seen = to_float(photo)[None]
        guide = taken_off(read_guide(config, networks, seen))
        shut, opened = (guide.at[:, MOUTH].set(said) for said in (-1.0, 1.0))
        mouths = [photo_to_avatar(config, networks, seen, said) for said in (guide, shut, opened)]
        points = measure(as_seen(config, networks, seen))
        avatars = jnp.concatenate(mouths + [mouths[0]] * len(shifts))
        wanted = jnp.concatenate([points] * len(mouths) + [points + shift for shift in shifts])
        avatars, points = reshape_faces(avatars, wanted, transport)
        return to_uint8(equal_eyes(avatars, points[:, :2]))

    return draw


def main() -> None:
    """Writes the grid."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    weights = pretrained_weights()
    translator, draw = Translator.from_weights(weights), drawing(weights)
    folder = Path(bitmoji_jax.web.__path__[0])
    drawn = [np.asarray(Image.open(folder / f"examples/{name}.jpg")) for name in _DRAWN]
    rows = []
    for photo in (skimage.data.astronaut(), *drawn):
        crop = translator.align(photo)[0].image
        pictures = [
            Image.fromarray(each).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
            for each in (crop, *np.asarray(draw(crop)))
        ]
        rows.append(np.concatenate([np.asarray(picture) for picture in pictures], axis=1))
    Image.fromarray(np.concatenate(rows)).quantize(256).save(arguments.out, optimize=True)


if __name__ == "__main__":
    main()
