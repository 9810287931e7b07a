"""Draws the photos, the X domain of the synthetic set: soft-shaded renderings of the heads of avatars.

The layers of an avatar are laid over the relief of a head that is lit, shadowed and posed. Lengths are in canvas units
(the head is 112 wide), those of textures too, so that a photo looks the same at every size.
"""

import numpy as np
from scipy import ndimage

from bitmoji_jax.data.synthetic import layers
from bitmoji_jax.data.synthetic.face import EYE_LEFT, EYE_RIGHT, photo_features
from bitmoji_jax.data.synthetic.pose import SOURCE, VIEW, Canvas, Grain, canvas_of_pixels
from bitmoji_jax.data.synthetic.spec import AvatarSpec, Nuisance

_RELIEF = 50.0  # depth of the head
_CURLY = {"CURLY", "FRO", "SHORT_CURLY", "SHORT_DREADS_1", "SHORT_DREADS_2"}
_CROPPED = {"BUZZCUT", "CAESAR", "CAESAR_SIDE_PART", "SIDES"}
_BRIM = 76.0  # lower edge of hats


def render_photo(spec: AvatarSpec, nuisance: Nuisance, size: int) -> np.ndarray:
    """Draws a photo of a spec under some conditions: uint8 [size, size, 3]."""
    rng = np.random.default_rng(nuisance.texture)
    pixels = size * layers.oversampling(size)
    canvas = Canvas(*canvas_of_pixels(nuisance, pixels), pixels, Grain(rng))
    light = np.array(nuisance.light, np.float32)
    hair, beard = _hair(spec, nuisance, canvas), _beard(spec, canvas)

    image = _background(nuisance, rng, pixels)
    person, coverage, lambert = _body(spec, nuisance, canvas, hair)
    image = layers.over(image, person, coverage)
    if spec.facial_hair != "NONE":
        image = layers.over(image, _hair_colours(spec, beard, nuisance, canvas, curly=True), beard[0])
    image = layers.over(image, _hair_colours(spec, hair, nuisance, canvas, curly=spec.hair in _CURLY), hair[0])
    if spec.glasses != "NONE":
        glasses = canvas.sample(layers.glasses_layer(spec.glasses, SOURCE, pixels))
        fallen = ndimage.shift(glasses[3], (2.5 / canvas.unit, -2.0 * light[0] / canvas.unit), order=1)
        image *= (1 - 0.3 * ndimage.gaussian_filter(fallen, 1.5 / canvas.unit) * coverage)[..., None]
        frame = 0.9 * np.moveaxis(glasses[:3], 0, -1) + 0.1 * np.clip(lambert, 0, 1)[..., None]
        image = layers.over(image, frame, 0.95 * glasses[3])
    if nuisance.hat != "NONE":
        image = _put_on_hat(image, nuisance, canvas)
    if nuisance.shadow:
        image *= _cast_shadow(nuisance, canvas, np.clip(coverage + hair[0] + beard[0], 0, 1))
    return _photograph(image, nuisance, rng, size)


def _body(
    spec: AvatarSpec, nuisance: Nuisance, canvas: Canvas, hair: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws the lit body without hair: colours [N, N, 3], coverage [N, N], and n·l of the skin [N, N]."""
    x, y = canvas.x, canvas.y
    body = np.stack(layers.body_layer(spec.clothing, SOURCE, canvas.pixels), -1)
    skin_cover, clothing, neck_shade = canvas.sample(body)
    coverage = np.clip(skin_cover + clothing, 0, 1)
    features = canvas.sample(layers.rasterise(photo_features(spec), SOURCE, canvas.pixels))
    skin = np.array(spec.skin, np.float32) / 255
    albedo = layers.over(_skin_albedo(skin, canvas), np.moveaxis(features[:3], 0, -1), features[3])

    light = np.array(nuisance.light, np.float32)
    normal, head = _skin_normals(canvas)
    lambert = normal @ light
    # Light that scatters under the skin past the edge of a shadow is red; the light of the sky is blue.
    wrap = np.array([0.32, 0.22, 0.17], np.float32)
    diffuse = np.clip((lambert[..., None] + wrap) / (1 + wrap), 0, None)
    ambient = nuisance.ambient * (0.9 - 0.1 * normal[..., 1:2]) * np.array([0.97, 1, 1.05], np.float32)
    occlusion = _occlusion(hair[0], light, canvas)
    shading = ambient + 1.12 * (1.18 - nuisance.ambient) * diffuse
    shading *= 1 - 0.75 * occlusion[..., None] * np.array([0.87, 1, 1.03], np.float32)
    shading *= (1 - 1.2 * neck_shade)[..., None]
    half = light + np.array([0, 0, 1], np.float32)
    half /= np.linalg.norm(half)
    shine = 0.13 * np.clip(normal @ half, 0, 1) ** 28 * head * (1 - occlusion)
    person = albedo * shading + shine[..., None] * (0.6 + 0.4 * skin)

    cloth = np.array(spec.clothing_colour, np.float32) / 255
    folds = 0.62 + 0.3 * light[2] + 0.28 * (canvas.grain.smooth(x, y, 14.0) - 0.5) + 0.1 * light[0] * (x - 132) / 60
    return layers.over(person, cloth * folds[..., None], clothing / np.maximum(coverage, 1e-3)), coverage, lambert


def _skin_normals(canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """Returns unit normals [N, N, 3] of the head and of the neck, a cylinder; and the coverage [N, N] of the head."""
    distance = layers.head_distance(canvas.x, canvas.y)
    head = np.clip((58 - distance) / 2, 0, 1)
    across = np.clip((canvas.x - 132) / 34, -0.95, 0.95)
    neck = np.stack([across, np.zeros_like(across), np.sqrt(1 - across * across)], -1)
    below = ((1 - head) * (canvas.y > 150))[..., None]
    return _normals(_head_relief(distance, canvas), canvas.unit) * (1 - below) + neck * below, head


def _head_relief(distance: np.ndarray, canvas: Canvas) -> np.ndarray:
    """Returns the height of the face towards the camera: a rounded head, eye sockets, nose, cheeks, lips, chin."""
    bump = canvas.bump
    height = _RELIEF * np.sqrt(np.clip(1 - np.clip(distance / 62, 0, 1) ** 2.6, 0.02, 1))
    ridge = np.clip((canvas.y - 96) / 36, 0, 1) * np.clip((143 - canvas.y) / 10, 0, 1)
    height = height + 10 * ridge * np.exp(-(((canvas.x - 132) / 6.5) ** 2)) + 2.5 * bump(132, 133, 6, 5)
    for side in (-1, 1):
        height += 2.2 * bump(132 + side * 8.5, 136, 4, 4)  # nostril wings
        height -= 5.0 * bump(132 + side * 25, 106, 15, 9)  # eye sockets
        height += 2.0 * bump(132 + side * 26, 109, 9, 6)  # eyeballs
        height += 3.5 * bump(132 + side * 30, 130, 16, 12)  # cheekbones
        height -= 1.6 * bump(132 + side * 27, 150, 10, 12)  # hollows of the cheeks
    height += 2.5 * bump(132, 150, 20, 5) + 2.5 * bump(132, 160, 14, 4)  # lips
    return height - 2.0 * bump(132, 168, 14, 4) + 4.5 * bump(132, 177, 15, 7)  # chin


def _normals(height: np.ndarray, unit: float) -> np.ndarray:
    down, right = np.gradient(height, unit)
    normal = np.stack([-right, -down, np.ones_like(height)], -1)
    return normal / np.sqrt((normal * normal).sum(-1, keepdims=True))


def _skin_albedo(skin: np.ndarray, canvas: Canvas) -> np.ndarray:
    """Returns the colour of the skin: redder on cheeks, nose and ears, and mottled."""
    x, y, grain = canvas.x, canvas.y, canvas.grain
    flush = canvas.bump(100, 134, 16, 13) + canvas.bump(164, 134, 16, 13) + canvas.bump(132, 134, 9, 8)
    flush = flush + 0.9 * (np.abs(x - 132) > 57) * (y > 90) * (y < 140)
    tint = np.array([0.015, -0.05, -0.04], np.float32) * (0.4 + 0.6 * skin[0])
    mottle = 1 + 0.09 * (grain.smooth(x, y, 9.0) - 0.5) + 0.05 * (grain.fine(x, y, 1.3) - 0.5)
    return (skin + flush[..., None] * tint) * mottle[..., None]


def _beard(spec: AvatarSpec, canvas: Canvas) -> np.ndarray:
    """Returns the layers of facial hair, in the order of `_hair`, with frayed edges."""
    beard = np.zeros((4, *canvas.x.shape), np.float32)
    if spec.facial_hair != "NONE":
        layer = layers.hair_layer("NONE", spec.facial_hair, SOURCE, canvas.pixels).coverage
        soft = ndimage.gaussian_filter(layer, 1.6 * canvas.pixels / SOURCE.side)[..., None]
        fray_x, fray_y = canvas.grain.fine(canvas.x, canvas.y, 1.6), canvas.grain.fine(canvas.y, canvas.x, 1.6)
        beard[0] = 0.93 * np.clip(1.5 * canvas.sample(soft, 3.5 * (fray_x - 0.5), 3.5 * (fray_y - 0.5))[0] - 0.2, 0, 1)
        beard[1] = 1
    return beard


def _hair(spec: AvatarSpec, nuisance: Nuisance, canvas: Canvas) -> np.ndarray:
    """Returns coverage, tone, highlights and shade of the hair, [4, N, N], with edges of strands."""
    x, y, grain = canvas.x, canvas.y, canvas.grain
    layer = np.stack(layers.hair_layer(spec.hair, "NONE", SOURCE, canvas.pixels), -1)
    if spec.hair in _CURLY:
        reach, along = 7.0, grain.smooth(x, y, 3.0)
    else:
        reach, along = 4.5, grain.smooth(_strand(x, y) * 40, y, 2.0)
    hair = canvas.sample(layer, reach * (grain.smooth(x, y, 2.5) - 0.5), 1.5 * reach * (along - 0.5))
    if nuisance.hat != "NONE":
        hair = hair * np.clip((y - _BRIM) / 6 + 0.5, 0, 1)
    if spec.hair in _CROPPED:
        hair[0] *= 0.94 + 0.06 * grain.fine(x, y, 1.5)
    return hair


def _strand(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Numbers the strand of a point: strands fan out from the crown and hang straight down below the eyes."""
    return (x - 132) / (14 + 60 * np.sqrt(np.clip((y - 4) / 120, 0.01, 1)))


def _hair_colours(spec: AvatarSpec, hair: np.ndarray, nuisance: Nuisance, canvas: Canvas, *, curly: bool) -> np.ndarray:
    """Returns lit hair, [N, N, 3]: a soft volume, strands or curls, and a band of shine across them."""
    x, y, grain = canvas.x, canvas.y, canvas.grain
    coverage, tone, highlights, _ = hair
    if curly:
        texture = 0.25 + 0.25 * (grain.smooth(x, y, 3.0) + grain.smooth(x, y, 1.5))
    else:
        strand = _strand(x, y)
        strand = 60 * (strand + 0.05 * np.sin(y / 9 + 5 * strand))
        texture = 0.6 * grain.smooth(strand, y / 8, 1.6) + 0.4 * grain.smooth(strand, y / 5, 0.7)
    volume = ndimage.gaussian_filter(coverage, 7 / canvas.unit, truncate=2.5)
    normal = _normals(26 * volume + (5 if curly else 2) * texture, canvas.unit)
    light, ambient = np.array(nuisance.light, np.float32), nuisance.ambient
    diffuse = np.clip((normal @ light + 0.3) / 1.3, 0, 1)
    lit = (ambient + (1.12 - ambient) * diffuse) * (0.6 + 0.68 * texture) * (0.5 + 0.5 * tone)
    band = np.exp(-(((np.hypot(x - 132 - 30 * light[0], (y - 95) * 0.9) - 62) / 11) ** 2)) * (y < 110)
    shine = ((0.06 if curly else 0.16) * band + 0.12 * highlights) * np.clip(2.2 * texture - 0.6, 0, 1)
    shine = shine * np.clip(1.5 * diffuse, 0, 1)
    colour = np.array(spec.hair_colour, np.float32) / 255
    return colour * lit[..., None] + shine[..., None] * (0.35 + 0.65 * colour)


def _occlusion(hair: np.ndarray, light: np.ndarray, canvas: Canvas) -> np.ndarray:
    """Returns the share of the light that hair, brow, nose and chin keep from the skin, [N, N]."""
    bump = canvas.bump
    thrown = ndimage.shift(hair, (4.5 / canvas.unit, -5 * light[0] / canvas.unit), order=1, mode="nearest")
    shade = 0.55 * ndimage.gaussian_filter(thrown, 4.0 / canvas.unit, truncate=2.5)
    distance = layers.head_distance(canvas.x, canvas.y)
    below = np.clip((distance - 55) / 3, 0, 1) * (canvas.y > 150)
    shade = shade + 0.6 * below * np.exp(-np.clip(distance - 56, 0, None) / 16)
    shade += 0.26 * bump(132 - 6 * light[0], 142, 10, 4) + 0.22 * bump(132, 168, 15, 4)
    for eye_x, eye_y in (EYE_LEFT, EYE_RIGHT):
        shade += 0.3 * bump(eye_x, eye_y - 8, 15, 5) + 0.12 * bump(eye_x, eye_y + 10, 12, 3)
    return np.clip(shade, 0, 0.85)


def _cast_shadow(nuisance: Nuisance, canvas: Canvas, person: np.ndarray) -> np.ndarray:
    """Returns the factor [N, N, 3] by which an object outside of the picture darkens one side of the person."""
    x, y = canvas.x, canvas.y
    across = (x - 132) * np.cos(nuisance.shadow_angle) + (y - 118) * np.sin(nuisance.shadow_angle)
    wavy = across + 10 * (canvas.grain.smooth(x, y, 16.0) - 0.5) - nuisance.shadow_offset * VIEW.side
    dark = np.clip(wavy / 9 + 0.5, 0, 1)
    dark = dark * dark * (3 - 2 * dark) * person
    return 1 - dark[..., None] * np.array([0.48, 0.46, 0.41], np.float32)


def _put_on_hat(image: np.ndarray, nuisance: Nuisance, canvas: Canvas) -> np.ndarray:
    """Draws a woollen hat with a folded brim, or a cap with a visor."""
    x, y, grain = canvas.x, canvas.y, canvas.grain
    if nuisance.hat == "beanie":
        shape = (
            f'<path d="M62 {_BRIM + 6} C58 20 96 6 132 6 C168 6 206 20 202 {_BRIM + 6} '
            f'Q132 {_BRIM - 8} 62 {_BRIM + 6}Z" fill="#fff"/>'
        )
        weave = 0.85 + 0.3 * grain.smooth(_strand(x, y) * 50, y / 6, 1.5)
        weave = np.where(y > _BRIM - 22 + 8 * ((x - 132) / 66) ** 2, 0.82 * weave, weave)
    else:
        shape = (
            f'<path d="M70 {_BRIM} C66 22 98 10 132 10 C166 10 198 22 194 {_BRIM}Z" fill="#fff"/>'
            f'<path d="M66 {_BRIM + 8} Q132 {_BRIM - 34} 198 {_BRIM + 8} '
            f'Q132 {_BRIM + 4} 66 {_BRIM + 8}Z" fill="#fff"/>'
        )
        weave = 0.95 + 0.1 * grain.fine(x, y, 1.4)
        weave = np.where(y > _BRIM - 14 + 22 * ((x - 132) / 66) ** 2, 0.7 * weave, weave)
    cover = canvas.sample(layers.rasterise(shape, SOURCE, canvas.pixels)[..., 3:])[0]
    thrown = ndimage.shift(cover, (7 / canvas.unit, 0), order=1, mode="nearest")
    thrown = ndimage.gaussian_filter(thrown, 3 / canvas.unit)
    image = image * (1 - 0.45 * thrown * (y < 125))[..., None]
    normal = _normals(30 * ndimage.gaussian_filter(cover, 9 / canvas.unit, truncate=2.5), canvas.unit)
    diffuse = np.clip((normal @ np.array(nuisance.light, np.float32) + 0.25) / 1.25, 0, 1)
    lit = nuisance.ambient + (1.15 - nuisance.ambient) * diffuse
    return layers.over(image, np.array(nuisance.hat_colour, np.float32) / 255 * (lit * weave)[..., None], cover)


def _background(nuisance: Nuisance, rng: np.random.Generator, pixels: int) -> np.ndarray:
    """Draws two colours, blurred into each other, and large soft blobs of both."""
    ends = np.array(nuisance.backdrop, np.float32) / 255
    field = ndimage.zoom(
        rng.standard_normal((5, 5)).astype(np.float32), pixels / 5, order=3, mode="nearest", grid_mode=True
    )
    slope = np.linspace(-1, 1, pixels, dtype=np.float32)
    blend = 0.5 + 0.2 * field + rng.uniform(-0.4, 0.4) * slope[None, :] + rng.uniform(0, 0.5) * slope[:, None]
    blend = np.clip(blend, 0, 1)[..., None]
    return (ends[0] * (1 - blend) + ends[1] * blend) * np.float32(0.55 + 0.45 * rng.random() ** 0.5)


def _photograph(image: np.ndarray, nuisance: Nuisance, rng: np.random.Generator, size: int) -> np.ndarray:
    """Applies defocus, white balance, exposure, highlight compression and sensor noise: uint8 [size, size, 3]."""
    image = ndimage.gaussian_filter(image, (nuisance.blur * image.shape[0],) * 2 + (0,), truncate=2.5)
    image = layers.shrink(image, size)
    gain = nuisance.exposure * (1 + 0.06 * nuisance.warmth * np.array([1, 0.2, -1.0]))
    image = image * gain
    # Highlights are compressed by their brightest channel, so that bright skin and hair keep their hue.
    peak = np.maximum(image.max(-1, keepdims=True), 1e-3)
    image = image * np.where(peak > 0.7, 0.7 + 0.3 * np.tanh((peak - 0.7) / 0.3), peak) / peak
    grain = rng.standard_normal(image.shape).astype(np.float32)
    luma = grain.mean(-1, keepdims=True)
    return layers.to_uint8(image + nuisance.noise * (0.6 * grain + 1.1 * luma) * np.sqrt(0.25 + np.clip(image, 0, 1)))
