"""Layers of a head: the parts of `python_avatars`, each group rasterised by `resvg` in key colours of its own.

Lengths are in units of the canvas of the avataaars design (by Pablo Stanley), 264 by 280: the head is 112 wide, around
x = 132.
"""

import functools
import io
import xml.etree.ElementTree as ET
from typing import NamedTuple

import numpy as np
import python_avatars as pa
import resvg_py
from PIL import Image

# The library places eyes low and mouths high; these offsets give the proportions of a bitmoji.
_PLACES = {"Eyebrow": (0, -4), "Mouth": (2, 54), "Accessory": (62, 81), "Facial-Hair": (49, 75)}


class View(NamedTuple):
    """A square window on the canvas."""

    x: float
    y: float
    side: float


class Body(NamedTuple):
    """Coverages in [0, 1], each float32 [N, N]; `shade` is the darkening of the neck by the head."""

    skin: np.ndarray
    clothing: np.ndarray
    shade: np.ndarray


class Hair(NamedTuple):
    """Each float32 [N, N] in [0, 1]."""

    coverage: np.ndarray
    tone: np.ndarray  # 1 where it has its full colour, 0 where it is black
    light: np.ndarray  # white strands
    shade: np.ndarray  # darkening of what is behind


def rasterise(svg: str, view: View, pixels: int) -> np.ndarray:
    """Rasterises the inside of an SVG: float32 [pixels, pixels, 4] in [0, 1], alpha not premultiplied."""
    document = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{pixels}" height="{pixels}" viewBox="{view.x} {view.y} {view.side} {view.side}">{svg}</svg>'
    )
    png = resvg_py.svg_to_bytes(svg_string=document, width=pixels, height=pixels, skip_system_fonts=True)
    return np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGBA"), np.float32) / 255


@functools.lru_cache(maxsize=256)
def library_part(group: str, top: str = "NONE", **parts: str) -> str:
    """Returns the SVG of a group of an avatar: Body, Clothing, Mouth, Eyebrow, or Top (hair, facial hair, glasses).

    The skin is red, clothing blue, hair green. Every field is given, because the library's defaults are random.
    """
    avatar = pa.Avatar(
        style=pa.AvatarStyle.TRANSPARENT,
        top=pa.HairType[top],
        hat_color="#ffffff",
        eyebrows=pa.EyebrowType[parts["brows"]] if "brows" in parts else None,
        eyes=None,
        nose=None,
        mouth=pa.MouthType[parts["mouth"]] if "mouth" in parts else None,
        facial_hair=pa.FacialHairType[parts.get("facial_hair", "NONE")],
        skin_color="#ff0000",
        hair_color="#00ff00",
        facial_hair_color="#00ff00",
        accessory=pa.AccessoryType[parts.get("glasses", "NONE")],
        clothing=pa.ClothingType[parts["clothing"]] if "clothing" in parts else None,
        clothing_color="#0000ff",
    )
    root = ET.fromstring(avatar.render())
    # The library prefixes ids with the name of the file they come from.
    named = {element.get("id"): element for element in root.iter() if element.get("id")}
    for name, (x, y) in _PLACES.items():
        for owner in ("transparent", pa.HairType[top].value):
            if (element := named.get(f"{owner}_{name}")) is not None:
                element.set("transform", f"translate({x}, {y})")
    kept = [e for e in root if e.tag.endswith("}defs")] + [named[f"transparent_{group}"]]
    inside = "".join(ET.tostring(element, encoding="unicode") for element in kept)
    if group in ("Mouth", "Eyebrow"):  # both lie in the group of the face
        return f'<g transform="translate(76, 82)">{inside}</g>'
    return f'<g fill="none" fill-rule="evenodd">{inside}</g>'


@functools.lru_cache(maxsize=64)
def body_layer(clothing: str, view: View, pixels: int) -> Body:
    rgba = rasterise(library_part("Body") + library_part("Clothing", clothing=clothing), view, pixels)
    alpha = rgba[..., 3]
    total = np.maximum(rgba[..., 0] + rgba[..., 2], 1e-3)
    shade = alpha * (1 - np.minimum(total, 1))
    return Body(alpha * rgba[..., 0] / total, alpha * rgba[..., 2] / total, shade)


@functools.lru_cache(maxsize=128)
def hair_layer(hair: str, facial_hair: str, view: View, pixels: int) -> Hair:
    """Returns the layer of a hair style or, where that is "NONE", of facial hair."""
    rgba = rasterise(library_part("Top", hair, facial_hair=facial_hair), view, pixels)
    alpha, green = rgba[..., 3], rgba[..., 1]
    # Translucent black is shade on what is behind; any green is hair, and white over it a strand.
    coverage = alpha * np.minimum(4 * green, 1)
    return Hair(coverage, green, np.minimum(rgba[..., 0], rgba[..., 2]) * coverage, alpha - coverage)


@functools.lru_cache(maxsize=16)
def glasses_layer(glasses: str, view: View, pixels: int) -> np.ndarray:
    """Returns float32 [pixels, pixels, 4], see `rasterise`."""
    return rasterise(library_part("Top", glasses=glasses), view, pixels)


def canvas_grid(view: View, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the canvas coordinates of the pixels' centres: x as float32 [1, pixels], y as [pixels, 1]."""
    steps = (np.arange(pixels, dtype=np.float32) + 0.5) * np.float32(view.side / pixels)
    return (view.x + steps)[None, :], (view.y + steps)[:, None]


def head_distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns the distance to the axis of the head, a stadium of radius 56."""
    return np.hypot(x - 132, y - np.clip(y, 92, 130))


def oversampling(size: int) -> int:
    """Returns how many times finer an image is drawn: small ones have lines thinner than a pixel."""
    return 2 if size < 128 else 1


def over(image: np.ndarray, colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Lays a colour, [3] or [N, N, 3], over an image [N, N, 3] with coverage [N, N]."""
    return image + (colour - image) * alpha[..., None]


def shrink(image: np.ndarray, size: int) -> np.ndarray:
    """Averages whole blocks: [k * size, k * size, C] to [size, size, C]."""
    factor = image.shape[0] // size
    return image.reshape(size, factor, size, factor, -1).mean((1, 3))


def to_uint8(image: np.ndarray) -> np.ndarray:
    return np.clip(np.round(image * 255), 0, 255).astype(np.uint8)
