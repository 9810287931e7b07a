"""The person in a crop, separated from the background, by MediaPipe's selfie segmentation.

The network has MobileNetV3 blocks, and a decoder with gated skips.
"""

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from scipy import ndimage

from bitmoji_jax.faces.layers import Layer, Params, conv, depthwise, for_one_image, pointwise
from bitmoji_jax.faces.resample import apply, inside, warp

SIZE = 256
"""Side of the network's input in pixels."""

# Probabilities between which the matte goes from background to person. Without, doubtful pixels stay as grey clouds:
# the mean difference from 97 hand-drawn masks of CelebAMask-HQ is 0.067 then, and 0.061 with these.
_BACKGROUND, _PERSON = 0.4, 0.8
# Side of the network's view, in sides of the crop: shoulders are found better with more of the surroundings. But where
# the photo ends with the crop, as in those masks, the difference is 0.068 with this margin, and 0.061 without.
_WIDE = 1.3
_ENOUGH_INSIDE = 0.8  # least share of the wide view inside the photo; the crop is 0.59 of it
_FACE = 0.2  # half the side of the square about the centre that is surely face, in sides of the crop


def person_matte(photo: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Computes how much of each pixel of a crop is the person in its middle: float32 [size, size] in [0, 1].

    `matrix` maps the crop, `size` pixels a side, to the photo, uint8 [H, W, 3].
    """
    share_inside = inside(_view(matrix, size, _WIDE, 32), 32, photo.shape[1], photo.shape[0]).mean()
    margin = _WIDE if share_inside > _ENOUGH_INSIDE else 1.0
    image = warp(photo, _view(matrix, size, margin, SIZE), SIZE, draft=True)
    share = np.clip((segment(image) - _BACKGROUND) / (_PERSON - _BACKGROUND), 0, 1)
    matte = _connected_to_face(share * share * (3 - 2 * share))
    edge = SIZE * (1 - 1 / margin) / 2
    box = (edge, edge, SIZE - edge, SIZE - edge)
    return np.clip(np.asarray(Image.fromarray(matte).resize((size, size), Image.Resampling.BILINEAR, box)), 0, 1)


def _view(matrix: np.ndarray, size: int, margin: float, pixels: int) -> np.ndarray:
    """The matrix of a square of `pixels` with the centre of a crop of `size`, and `margin` times its side."""
    turn = matrix[:, :2] * (margin * size / pixels)
    centre = apply(matrix, np.full(2, size / 2))
    return np.column_stack([turn, centre - turn @ np.full(2, pixels / 2)])


def _connected_to_face(matte: np.ndarray) -> np.ndarray:
    """Sets to 0 what is not connected to the face in the middle: other people, and mistakes."""
    parts, _ = ndimage.label(matte > 0)
    low, high = (round(len(matte) * (0.5 + offset * _FACE)) for offset in (-1, 1))
    face = np.unique(parts[low:high, low:high])
    return np.where(np.isin(parts, face[face > 0]), matte, 0).astype(np.float32)


# Stride; whether the activation is hard swish (or ReLU), gated by squeeze and excitation, residual.
_BLOCKS = (
    (2, False, True, False),
    (2, False, False, False),
    (1, False, False, True),
    (2, True, True, False),
    *[(1, True, True, True)] * 4,
)
_SKIPS = (0, 2)  # blocks whose output goes to the decoder, besides the stem's


def segmentation(params: Params, images: jax.Array) -> jax.Array:
    """Images float [N, 256, 256, 3] in [0, 1] -> each pixel's probability of a person, [N, 256, 256]."""
    x = jax.nn.hard_swish(conv(images, params["stem"], 2))
    skips = [x]
    for i, block in enumerate(_BLOCKS):
        x = _inverted_residual(x, params, f"block{i}", *block)
        if i in _SKIPS:
            skips.append(x)
    gate = jax.nn.sigmoid(pointwise(x.mean(axis=(1, 2), keepdims=True), params["pool.gate"]))
    x = jax.nn.relu(pointwise(x, params["pool"])) * gate
    for i, skip in enumerate(reversed(skips)):
        x = _decode(x, skip, params, f"decode{i}")
    return jax.nn.sigmoid(_double(x, params["out"]))


def _inverted_residual(
    x: jax.Array, params: Params, name: str, stride: int, hard_swish: bool, gated: bool, residual: bool
) -> jax.Array:
    """MobileNetV3's block (arXiv 1905.02244, figure 4), with a plain sigmoid as its gate."""
    activation = jax.nn.hard_swish if hard_swish else jax.nn.relu
    y = activation(pointwise(x, params[f"{name}.expand"]))
    y = activation(depthwise(y, params[f"{name}.depthwise"], stride))
    if gated:
        y = y * _gate(y, params, name)
    y = pointwise(y, params[f"{name}.project"])
    return x + y if residual else y


def _decode(x: jax.Array, skip: jax.Array, params: Params, name: str) -> jax.Array:
    """Doubles the resolution and adds the encoder's features of that size, gated by the sum of both."""
    n, height, width, channels = x.shape
    x = jax.image.resize(x, (n, 2 * height, 2 * width, channels), "bilinear")
    x = pointwise(x, params[f"{name}.narrow"])
    x = x + skip * _gate(x + skip, params, name)
    x = jax.nn.relu(pointwise(x, params[f"{name}.mix"]))
    return x + jax.nn.relu(depthwise(x, params[f"{name}.depthwise"], 1))


def _gate(x: jax.Array, params: Params, name: str) -> jax.Array:
    """Computes a factor in [0, 1] for each channel, [N, 1, 1, C] (squeeze and excitation, arXiv 1709.01507)."""
    squeezed = jax.nn.relu(pointwise(x.mean(axis=(1, 2), keepdims=True), params[f"{name}.squeeze"]))
    return jax.nn.sigmoid(pointwise(squeezed, params[f"{name}.excite"]))


def _double(x: jax.Array, layer: Layer) -> jax.Array:
    """Transposed convolution of 2x2 at stride 2 to one channel: each pixel becomes four, [N, 2H, 2W]."""
    n, height, width, _ = x.shape
    four = jnp.einsum("nhwc,ijc->nhiwj", x, layer["kernel"][..., 0])
    return four.reshape(n, 2 * height, 2 * width) + layer["bias"]


segment = for_one_image(segmentation, "segmentation")
