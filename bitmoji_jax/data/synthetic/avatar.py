"""Draws the avatars, the Y domain of the synthetic set: flat colours, dark outline, white background."""

import numpy as np
from scipy import ndimage

from bitmoji_jax.data.synthetic import layers
from bitmoji_jax.data.synthetic.face import LINE, avatar_features, landmarks_on_canvas
from bitmoji_jax.data.synthetic.spec import AvatarSpec

_VIEW = layers.View(39.5, 15.5, 185.0)


def render_avatar(spec: AvatarSpec, size: int) -> np.ndarray:
    """Draws the avatar of a spec: uint8 [size, size, 3]. Avatars wear no hats."""
    pixels, view = size * layers.oversampling(size), _VIEW
    skin, hair_colour = np.array(spec.skin, np.float32) / 255, np.array(spec.hair_colour, np.float32) / 255
    line = np.array(LINE, np.float32) / 255
    body = layers.body_layer(spec.clothing, view, pixels)
    image = np.ones((pixels, pixels, 3), np.float32)
    image = layers.over(image, skin, body.skin)
    # One flat shade: on the side of the face away from the light, and on the neck.
    x, y = layers.canvas_grid(view, pixels)
    in_head = np.clip(57 - layers.head_distance(x, y), 0, 1)
    far_side = np.clip((layers.head_distance(x + 9, y + 4) - 55) / 2, 0, 1)
    shade = 2.2 * body.shade + 0.11 * far_side * in_head + 0.12 * (1 - in_head) * (y > 150)
    image *= 1 - np.clip(shade, 0, 0.4)[..., None] * body.skin[..., None] * (1 - 0.35 * skin[::-1])
    image = layers.over(image, np.array(spec.clothing_colour, np.float32) / 255, body.clothing)
    image = layers.over(image, line, np.maximum(_outline(body.skin + body.clothing), _outline(body.clothing)))
    features = layers.rasterise(avatar_features(spec), view, pixels)
    image = layers.over(image, features[..., :3], features[..., 3])
    if spec.facial_hair != "NONE":
        image = _lay_hair(image, layers.hair_layer("NONE", spec.facial_hair, view, pixels), hair_colour, line)
    image = _lay_hair(image, layers.hair_layer(spec.hair, "NONE", view, pixels), hair_colour, line)
    if spec.glasses != "NONE":
        glasses = layers.glasses_layer(spec.glasses, view, pixels)
        image = layers.over(image, glasses[..., :3], glasses[..., 3])
    return layers.to_uint8(layers.shrink(image, size))


def avatar_landmarks(spec: AvatarSpec) -> np.ndarray:
    """Returns eyes, nose, mouth corners, image-left first: float32 [5, 2], (x, y) as fractions of the image."""
    points = landmarks_on_canvas(spec, photo=False)
    return (points - np.array(_VIEW[:2], np.float32)) / np.float32(_VIEW.side)


def _outline(coverage: np.ndarray) -> np.ndarray:
    """Returns the coverage of a line of even width along the edge of a coverage."""
    soft = ndimage.gaussian_filter(coverage, 0.011 * coverage.shape[0], truncate=3)
    return np.clip(6.4 * soft * (1 - soft) - 0.55, 0, 1)


def _lay_hair(image: np.ndarray, hair: layers.Hair, colour: np.ndarray, line: np.ndarray) -> np.ndarray:
    image = image * (1 - hair.shade[..., None])
    toned = colour * (0.35 + 0.65 * hair.tone[..., None])
    toned = toned + (1 - toned) * 0.35 * hair.light[..., None]
    image = layers.over(image, toned, hair.coverage)
    return layers.over(image, line, _outline(hair.coverage))
