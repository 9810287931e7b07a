"""A folder of every kind of file that people have among their photos, and what should become of each."""

import base64
import dataclasses
import io
import os
import random
import socket
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms

SIZE = 48

Colours = tuple[tuple[int, ...], ...]


@dataclasses.dataclass(frozen=True)
class Fate:
    """What should become of a file: its colours in the dataset, or the reason why it is not there.

    Attributes:
        colours: Top left, top right, bottom left, bottom right.
        reason: As in the report; None for a file that is accepted.
        tolerance: Of the colours.
    """

    colours: Colours = ()
    reason: str | None = None
    tolerance: int = 8


def quadrants(colours: Colours, height: int = 60, width: int = 60) -> np.ndarray:
    """An image of four plain quarters: uint8 [height, width, 3]."""
    rgb = np.empty((height, width, 3), np.uint8)
    halves = (
        (slice(None, height // 2), slice(height // 2, None)),
        (slice(None, width // 2), slice(width // 2, None)),
    )
    for index, colour in enumerate(colours):
        rgb[halves[0][index // 2], halves[1][index % 2]] = colour
    return rgb


def stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels that an EXIF orientation turns into `upright`."""
    swapped = np.swapaxes(upright, 0, 1)
    return {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: swapped,
        6: swapped[::-1],
        7: swapped[::-1, ::-1],
        8: swapped[:, ::-1],
    }[orientation]


def orientation_exif(orientation: int) -> Image.Exif:
    """EXIF that holds an orientation."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def png(pixels: np.ndarray, bits: int, colour_type: int) -> bytes:
    """Writes the PNG kinds that Pillow cannot."""
    height, width = pixels.shape[:2]
    raw = pixels.astype(">u2" if bits == 16 else "u1").reshape(height, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in raw)
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


def swapped_profile() -> bytes:
    """An ICC profile that is sRGB but for red and green, which are swapped."""
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for one, other in ((b"rXYZ", b"?XYZ"), (b"gXYZ", b"rXYZ"), (b"?XYZ", b"gXYZ")):
        icc = icc.replace(one, other, 1)
    return icc.replace("sRGB".encode("utf-16-be"), "oRGB".encode("utf-16-be"))


class _Corpus:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fates: dict[str, Fate] = {}

    def path(self, name: str, fate: Fate) -> Path:
        assert name not in self.fates
        self.fates[name] = fate
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def colours(self) -> Colours:
        """Four colours, unlike those before."""
        count = len(self.fates)
        return (200, 40, 40), (40, 180, 40), (50, 60, 190), (count * 37 % 250, count * 59 % 250, count)

    def greys(self) -> Colours:
        count = len(self.fates)
        return tuple((value,) * 3 for value in (20 + 5 * (count % 9), 90, 160, 2 * count))

    def image(
        self,
        name: str,
        convert: Callable[[Image.Image], Image.Image] = lambda image: image,
        *,
        grey: bool = False,
        tolerance: int = 8,
        **save: Any,
    ) -> bytes:
        colours = self.greys() if grey else self.colours()
        path = self.path(name, Fate(colours, tolerance=tolerance))
        convert(Image.fromarray(quadrants(colours))).save(path, **save)
        return path.read_bytes()

    def file(self, name: str, content: bytes, reason: str) -> None:
        self.path(name, Fate(reason=reason)).write_bytes(content)


def write_corpus(folder: Path, outside: Path) -> Mapping[str, Fate]:
    """Fills `folder`, and `outside` with what it links to.

    Returns:
        The fate of each file at `SIZE`, by its name in the report and in the dataset.
    """
    corpus = _Corpus(folder)
    folder.mkdir()
    outside.mkdir()
    _formats(corpus)
    _colour_kinds(corpus)
    _transparency(corpus)
    _animations(corpus)
    _orientations(corpus)
    _names_and_links(corpus, outside)
    _broken(corpus)
    _unfit(corpus)
    _no_images(corpus)
    return corpus.fates


# Four quarters as `quadrants` paints them, 64 px: there is no HEIC encoder among the dependencies.
_HEIC_COLOURS = ((200, 40, 40), (40, 180, 40), (50, 60, 190), (120, 130, 10))
_HEIC = base64.b85decode(
    "0000SW^{RQXk}?*00000ZE0pPXk}?*ZE0a<00042ZDn*}000000000XXk=`10000000000aA{+700000000000000000000B57=IV*mgE07O6l0RRC200"
    "001dH?|c00000002G!001LtX>Mi!000000RR916=`l}WdZ;I000310BCk&F#rGn01j|zbZr0t000010002iX>f9I0002DX>en20001ZXm(>m0RwOV0058"
    "x000009`FGC{rLC*01pFT0096PKmiN^|NjGU00093kN^M!000939=ZZRVE_RDD?$MQ18@KU0|1Z!00RI30{|YNAb|yz>PacCZUPz%2mk;B0LTCU0{{p>V"
    "gLaE2SfqEa<C#m0000JV{dG7ZewhC0096E00w{n000zeb8uw<00000002M$002M$000nhX?SS>000032nYxO000+haBX1#00000000310R({p0|Wp707h"
    "+OVRQfh06HiEuL<BGIdxzE{AoY``}z+d`vn<io_%x=pYxF)|HS;9C;!LfKz{xf-}~>B$^Yg>m-2<8`klmp"
)


def _formats(corpus: _Corpus) -> None:
    corpus.path("phone.HEIC", Fate(_HEIC_COLOURS)).write_bytes(_HEIC)
    corpus.image("plain.jpg")
    corpus.image("progressive.jpeg", progressive=True)
    corpus.image("plain.png")
    corpus.image("lossy.webp")
    corpus.image("lossless.webp", lossless=True)
    corpus.image("plain.gif")
    corpus.image("plain.bmp")
    corpus.image("plain.tif")
    corpus.image("lzw.tiff", compression="tiff_lzw")
    corpus.image("plain.avif")
    corpus.image("png-called.jpg", format="PNG")
    corpus.image("jpeg-without-suffix", format="JPEG")
    corpus.image("LOUD.JPG", format="JPEG")
    corpus.image("jpeg-called.txt", format="JPEG")
    trailing = corpus.image("trailing-garbage.jpg")
    (corpus.folder / "trailing-garbage.jpg").write_bytes(trailing + b"\0" * 100)


def _colour_kinds(corpus: _Corpus) -> None:
    corpus.image("grey.jpg", lambda image: image.convert("L"), grey=True)
    corpus.image("grey.png", lambda image: image.convert("L"), grey=True)
    corpus.image("palette.png", lambda image: image.quantize(16))
    corpus.image("palette.bmp", lambda image: image.quantize(16))
    corpus.image("cmyk.jpg", lambda image: image.convert("CMYK"))
    corpus.image("cmyk.tif", lambda image: image.convert("CMYK"))
    corpus.image("lab.tif", _to_lab, tolerance=20)
    black_or_white = ((0,) * 3, (255,) * 3, (255,) * 3, (0,) * 3)
    one_bit = Image.fromarray(quadrants(black_or_white)).convert("1")
    one_bit.save(corpus.path("one-bit.png", Fate(black_or_white)))

    def deep(name: str, to_pixels: Callable[[np.ndarray], np.ndarray]) -> None:
        colours = corpus.greys()
        path = corpus.path(name, Fate(colours))
        Image.fromarray(to_pixels(quadrants(colours)[..., 0].astype(np.float64))).save(path)

    deep("grey-16-bit.png", lambda grey: (grey * 257).astype(np.uint16))
    deep("grey-16-bit.tif", lambda grey: (grey * 257).astype(np.uint16))
    deep("grey-32-bit.tif", lambda grey: (grey * 257).astype(np.int32))
    deep("grey-float-to-1.tif", lambda grey: (grey / 255).astype(np.float32))
    deep("grey-float-to-255.tif", lambda grey: grey.astype(np.float32))
    colours = corpus.colours()
    rgb_16 = quadrants(colours).astype(np.uint16) * 257
    corpus.path("rgb-16-bit.png", Fate(colours)).write_bytes(png(rgb_16, 16, 2))

    # Stored with red and green swapped, and a profile that says so.
    colours = corpus.colours()
    rgb = Image.fromarray(quadrants(colours)[..., [1, 0, 2]])
    rgb.save(corpus.path("icc.png", Fate(colours, tolerance=12)), icc_profile=swapped_profile())
    corpus.image("icc-broken.jpg", icc_profile=b"no profile")
    corpus.image("icc-of-rgb-on-cmyk.jpg", lambda image: image.convert("CMYK"), icc_profile=swapped_profile())


def _to_lab(image: Image.Image) -> Image.Image:
    lab = ImageCms.profileToProfile(
        image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    return lab


def _transparency(corpus: _Corpus) -> None:
    """The top right quarter is transparent, and green beneath."""

    def transparent(name: str, convert: Callable[[Image.Image], Image.Image], grey: bool = False) -> None:
        colours = corpus.greys() if grey else corpus.colours()
        on_white = (colours[0], (255, 255, 255), *colours[2:])
        rgba = np.dstack([quadrants(colours), np.full((60, 60), 255, np.uint8)])
        rgba[:30, 30:, 3] = 0
        path = corpus.path(name, Fate(on_white))
        convert(Image.fromarray(rgba)).save(path, **({"lossless": True} if path.suffix == ".webp" else {}))

    transparent("alpha.png", lambda image: image)
    transparent("alpha.webp", lambda image: image)
    transparent("alpha.gif", lambda image: image)
    transparent("alpha.tif", lambda image: image)
    transparent("alpha-palette.png", lambda image: image.quantize(16))
    transparent("alpha-grey.png", lambda image: image.convert("LA"), grey=True)

    colours = corpus.greys()
    grey = Image.fromarray(quadrants(colours)[..., 0])
    white = (colours[0], (255,) * 3, *colours[2:])
    grey.save(corpus.path("colour-key.png", Fate(white, tolerance=20)), transparency=colours[1][0])


def _animations(corpus: _Corpus) -> None:
    for suffix in ("gif", "webp", "png", "tif"):
        second = Image.new("RGB", (60, 60), "white")
        corpus.image(
            f"animated.{suffix}",
            save_all=True,
            append_images=[second],
            **({"duration": 9} if suffix != "tif" else {}),
        )


def _orientations(corpus: _Corpus) -> None:
    def oriented(name: str, orientation: int, **save: Any) -> None:
        colours = corpus.colours()
        # Wider than high, so that a turn that is forgotten cuts off another part.
        pixels = np.ascontiguousarray(stored(quadrants(colours, 60, 96), orientation))
        path = corpus.path(name, Fate(colours))
        Image.fromarray(pixels).save(path, exif=orientation_exif(orientation), **save)

    for orientation in range(1, 9):
        oriented(f"orientation-{orientation}.jpg", orientation, quality=95)
    oriented("orientation-6.png", 6)
    oriented("orientation-6.webp", 6, lossless=True)
    oriented("orientation-6.tif", 6)
    oriented("orientation-8.tif", 8)
    corpus.image("orientation-0.jpg", exif=orientation_exif(0))
    corpus.image("exif-broken.jpg", exif=b"Exif\0\0MM\0*\0\0\xff\xff garbage")


def _names_and_links(corpus: _Corpus, outside: Path) -> None:
    corpus.image("zażółć 🙂.png")
    corpus.image("with\nnewline.png")
    corpus.image("-o spaces .png")
    corpus.image("nested/deeper/plain.png")
    corpus.image("nested/plain.png")
    corpus.image("directory.jpg/plain.png")
    colours = corpus.colours()
    with open(os.fsencode(corpus.folder) + b"/latin-\xe9.png", "wb") as file:
        Image.fromarray(quadrants(colours)).save(file, "PNG")
    corpus.fates["latin-\\xe9.png"] = Fate(colours)

    for name, target in (
        ("link-to-file.png", "file.png"),
        ("link-to-folder/inside.png", "folder/inside.png"),
    ):
        colours = corpus.colours()
        corpus.fates[name] = Fate(colours)
        (outside / target).parent.mkdir(exist_ok=True)
        Image.fromarray(quadrants(colours)).save(outside / target)
    (corpus.folder / "link-to-file.png").symlink_to(outside / "file.png")
    (corpus.folder / "link-to-folder").symlink_to(outside / "folder")

    corpus.path("broken-link.jpg", Fate(reason="broken link")).symlink_to("nowhere.jpg")
    corpus.path("self-link.jpg", Fate(reason="broken link")).symlink_to("self-link.jpg")
    corpus.path("nested/loop", Fate(reason="folder read already")).symlink_to("..")
    os.mkfifo(corpus.path("fifo.jpg", Fate(reason="not a file")))
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(corpus.folder)  # The path of a socket is short.
        listener.bind("socket.jpg")
        os.chdir(here)
    corpus.fates["socket.jpg"] = Fate(reason="not a file")


def _broken(corpus: _Corpus) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)

    def encoded(kind: str, **save: Any) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, kind, **save)
        return buffer.getvalue()

    for suffix in ("jpeg", "png", "gif", "bmp", "webp"):
        whole = encoded(suffix)
        corpus.file(f"half.{suffix}", whole[: len(whole) // 2], "truncated")
    whole = encoded("tiff", compression="tiff_lzw")
    corpus.file("half.tiff", whole[: len(whole) // 2], "truncated")
    corpus.file("header-only.jpg", encoded("jpeg")[:25], "truncated")
    flipped = bytearray(encoded("png"))
    flipped[len(flipped) // 2] ^= 0xFF
    corpus.file("flipped-bit.png", bytes(flipped), "unreadable")
    corpus.file("empty.jpg", b"", "unreadable")
    corpus.file("page.jpg", b"<!DOCTYPE html><html><body>404</body></html>", "unreadable")
    corpus.file("random.png", random.Random(0).randbytes(3000), "unreadable")
    corpus.file("half-a-phone.heic", _HEIC[:300], "unreadable")
    corpus.file("no-phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100, "unreadable")
    corpus.file("runs-programs.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 60 60\n", "unreadable")


def _unfit(corpus: _Corpus) -> None:
    least = SIZE // 2
    colours = corpus.colours()
    Image.fromarray(quadrants(colours, least, least)).save(corpus.path("just-enough.png", Fate(colours, tolerance=12)))
    tiny = Image.fromarray(quadrants(corpus.colours(), least - 1, 500))
    tiny.save(corpus.path("too-small.png", Fate(reason="too small")))
    corpus.file("bomb.png", _bomb(), "too large")
    copy = (corpus.folder / "plain.jpg").read_bytes()
    corpus.file("plain2.jpg", copy, "duplicate")
    corpus.file("zz/same-as-plain.jpg", copy, "duplicate")
    with Image.open(corpus.folder / "plain.jpg") as image:
        image.save(corpus.path("plain3-of-other-format.png", Fate(reason="duplicate")))
        turned = Image.fromarray(np.ascontiguousarray(stored(np.asarray(image), 6)))
        turned.save(corpus.path("plain4-turned.png", Fate(reason="duplicate")), exif=orientation_exif(6))


def _bomb() -> bytes:
    """A PNG of 400 million pixels in 50 kB."""
    compressor = zlib.compressobj(9)
    row = bytes(1 + 20_000 // 8)
    body = b"".join(compressor.compress(row) for _ in range(20_000)) + compressor.flush()
    whole = png(np.zeros((1, 1)), 1, 0)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)),
        (b"IDAT", body),
        (b"IEND", b""),
    )
    return whole[:8] + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def _no_images(corpus: _Corpus) -> None:
    corpus.file("notes.txt", b"a list of names", "not an image")
    corpus.file("Thumbs.db", b"\xd0\xcf\x11\xe0" * 100, "not an image")
    corpus.file("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image")
    corpus.file("clip.mp4", b"\0\0\0\x18ftypmp42" + b"\0" * 100, "not an image")
    corpus.file(".DS_Store", b"\0\0\0\x01Bud1", "hidden")
    corpus.file("._plain.jpg", b"\0\5\x16\7", "hidden")
    hidden = corpus.path(".thumbnails", Fate(reason="hidden"))
    hidden.mkdir()
    Image.new("RGB", (60, 60)).save(hidden / "thumb.png")
