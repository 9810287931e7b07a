"""Decodes image files of any kind to RGB, and encodes squares for a dataset. Worker processes import it: no TFDS."""

import contextlib
import dataclasses
import functools
import io
import math
import struct
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pi_heif
import simplejpeg
from PIL import ExifTags, Image, ImageCms, ImageFile, UnidentifiedImageError

from bitmoji_jax.errors import InputError

# Not all that Pillow reads: it would run Ghostscript on an EPS named a.jpg.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
pi_heif.register_heif_opener(thumbnails=False)  # the format of iPhones
_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif")

# 4:4:4, because chroma at half resolution blurs the sharp coloured outlines of an avatar.
_JPEG: dict[str, Any] = {"format": "JPEG", "quality": 90, "subsampling": 0, "optimize": True}

_PHOTO_SIDE = 2000  # longer side of a decoded photo: half of what phones take, so that JPEGs are decoded at half size

MAX_PIXELS = 300_000_000
"""Of a picture: the largest cameras of phones take 200 million. Pillow refuses a WebP of more than 178 million."""
_LARGE = 50_000_000  # pixels above which a picture is reduced while it is decoded, and has the memory to itself
_large_pictures = threading.Lock()
_BAND = 1 << 22  # pixels converted and reduced at a time

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnusableImageError(InputError):
    """A file that gives no image: it is unreadable, truncated, too small, too large or not an image."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


@dataclasses.dataclass(frozen=True, eq=False)
class Framing:
    """How a stored image becomes a square: turned upright by its EXIF orientation, 1 to 8, then cropped."""

    orientation: int
    matrix: np.ndarray
    """float64 [2, 3], from (x, y, 1) as fractions of the square to (x, y) as fractions of the upright image."""

    def apply(self, landmarks: np.ndarray) -> np.ndarray:
        """Converts landmarks float32 [5, 2] from fractions of the stored image to fractions of the square.

        Outside of the square they are < 0 or > 1. Where turning swaps left and right, the rows of the eyes and of the
        mouth corners are swapped, so that "left" stays the left of the image.
        """
        x, y = landmarks[:, 0].astype(np.float64), landmarks[:, 1].astype(np.float64)
        if self.orientation >= 5:
            x, y = y, x
        if self.orientation in (2, 3, 6, 7):
            x = 1 - x
        if self.orientation in (3, 4, 7, 8):
            y = 1 - y
        offsets = (x - self.matrix[0, 2], y - self.matrix[1, 2])
        inverse = np.linalg.inv(self.matrix[:, :2])
        # Without the factors that are 0: times an unknown coordinate, NaN, they would make the other one unknown.
        moved = np.stack([sum(k * v for k, v in zip(row, offsets, strict=True) if k) for row in inverse], axis=1)
        if self.orientation != 1 or inverse[0, 1] != 0:
            for one, other in ((0, 1), (3, 4)):
                if moved[one, 0] > moved[other, 0]:
                    moved[[one, other]] = moved[[other, one]]
        return moved.astype(np.float32)


def central_square(width: int, height: int) -> tuple[int, int, int]:
    """Returns left, top and side of the central square of an image, in pixels."""
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side


def encode_image(rgb: np.ndarray) -> bytes:
    """Encodes uint8 [S, S, 3] for a dataset: as JPEG 4:4:4, always to the same bytes."""
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[0] != rgb.shape[1] or rgb.shape[2] != 3:
        raise ValueError(f"want uint8 [S, S, 3], got {rgb.dtype} {list(rgb.shape)}")
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, **_JPEG)
    return buffer.getvalue()


def decode_image(encoded: bytes) -> np.ndarray:
    """Decodes the image of a dataset to uint8 [S, S, 3]."""
    if encoded.startswith(b"\xff\xd8"):
        # Pillow decodes what simplejpeg does not, such as CMYK, and raises the error if the file is damaged.
        with contextlib.suppress(ValueError):
            return simplejpeg.decode_jpeg(encoded, "RGB")
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image.convert("RGB"))


def load_square(path: Path, size: int) -> tuple[np.ndarray, Framing]:
    """Decodes the central square of an image file: upright, in sRGB, alpha on white, the first frame.

    Returns uint8 [size, size, 3], and how it was cut out of the file's image. Raises UnusableImageError where there is
    no usable image, or it has more than `MAX_PIXELS`.
    """
    with _opened(path) as image:
        if 2 * min(image.size) < size:
            detail = f"{image.width}x{image.height}, want at least {math.ceil(size / 2)} a side"
            raise UnusableImageError("too small", detail)
        orientation = _orientation(image)
        if _is_large(image):
            image.draft(None, (3 * size, 3 * size))
        upright, icc = _upright(image, min(image.size) / (3 * size))
        left, top, side = central_square(*upright.size)
        box = (left, top, left + side, top + side)
        # Colours are converted after resizing, where there are few pixels.
        resized = upright.resize((size, size), Image.Resampling.LANCZOS, box, reducing_gap=3.0)
        width, height = upright.size
        matrix = np.array([[side / width, 0, left / width], [0, side / height, top / height]])
        return _in_srgb(resized, icc), Framing(orientation, matrix)


def load_photo(source: Path | bytes | Image.Image, *, max_pixels: int | None = None) -> np.ndarray:
    """Decodes a whole photo: upright, in sRGB, alpha on white, the first frame.

    Args:
        source: A file, its contents, or an image that is open already.
        max_pixels: A limit below `MAX_PIXELS`, which always holds.

    Returns:
        uint8 [H, W, 3]; a longer side of more than 2,000 pixels is reduced to that.

    Raises:
        UnusableImageError: there is no usable image.
    """
    with _opened(source, max_pixels) as image:
        image.draft(None, (_PHOTO_SIDE, _PHOTO_SIDE))  # decodes a JPEG at a half or a quarter of its size, if large
        upright, icc = _upright(image, max(image.size) / (2 * _PHOTO_SIDE))
        # Not `thumbnail`, which changes an image that may be the caller's.
        if (scale := _PHOTO_SIDE / max(upright.size)) < 1:
            size = (max(1, round(upright.width * scale)), max(1, round(upright.height * scale)))
            upright = upright.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
        return _in_srgb(upright, icc)


def read_orientation(path: Path) -> int:
    """Reads the EXIF orientation of an image file, 1 to 8; `load_photo` has turned the image by it already."""
    with _opened(path) as image:
        return _orientation(image)


def quiet_decoders() -> None:
    """Ignores Pillow's warnings in this process: they are about files that can be used all the same."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


@contextlib.contextmanager
def _opened(source: Path | bytes | Image.Image, max_pixels: int | None = None) -> Iterator[Image.Image]:
    """Opens an image; any error of opening or decoding it becomes an `UnusableImageError`."""
    file = None
    limit = min(max_pixels or MAX_PIXELS, MAX_PIXELS)
    with contextlib.ExitStack() as stack:
        try:
            if isinstance(source, Image.Image):
                image = source
            else:
                contents: BinaryIO = source.open("rb") if isinstance(source, Path) else io.BytesIO(source)
                file = stack.enter_context(contents)
                image = stack.enter_context(_open(file))
            if image.width * image.height > limit:
                raise UnusableImageError("too large", f"more than {limit:,} pixels")
            if _is_large(image):
                stack.enter_context(_large_pictures)
            yield image
        except UnusableImageError:
            raise
        except Image.DecompressionBombError as error:  # Pillow's own, of a WebP
            raise UnusableImageError("too large", str(error)) from None
        except Exception as error:  # decoders raise anything on broken files
            raise _unusable(error, file, source) from None


def _is_large(image: Image.Image) -> bool:
    return image.width * image.height > _LARGE


def _open(file: BinaryIO) -> Image.Image:
    image = _identified(file)
    if image.format == "PNG":
        image.verify()  # checksums, which decoding ignores; then the image has to be opened again
        image = _identified(file)
    return image


def _identified(file: BinaryIO) -> ImageFile.ImageFile:
    """Does what `Image.open` does, whose limit of pixels is the whole process's."""
    file.seek(0)
    head = file.read(16)
    for name in _FORMATS:
        if name not in Image.OPEN:
            Image.init()
        factory, accept = Image.OPEN[name]
        if accept is None or accept(head) is True:  # it may be a text that says why not
            file.seek(0)
            try:
                return factory(file, "")
            except (SyntaxError, IndexError, TypeError, struct.error):
                continue
    raise UnidentifiedImageError("of no known format")


def _upright(image: Image.Image, by: float) -> tuple[Image.Image, bytes | None]:
    """Returns the image decoded, upright, with 8 bits per channel, as L, RGB, RGBA or CMYK; and its ICC profile.

    A large one is reduced by 2, 3 or 4, but not more than `by`; that loses at most 3 columns and rows at its edges.
    """
    image.load()
    icc = image.info.get("icc_profile")
    orientation = _orientation(image)  # 1 after loading a TIFF, which Pillow turns itself
    factor = min(4, int(by)) if _is_large(image) else 1
    image = _plain(image) if factor < 2 else _reduced(image, factor)
    if orientation != 1:
        image = image.transpose(_UPRIGHT[orientation])
    return image, icc


def _plain(image: Image.Image) -> Image.Image:
    """Converts to 8 bits per channel: L, RGB, RGBA or CMYK."""
    if image.mode.startswith(("I", "F")):
        return _eight_bit(image)
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")


def _reduced(image: Image.Image, factor: int) -> Image.Image:
    """Averages squares of `factor` pixels a side, band by band: a whole copy would take as much memory again."""
    if image.mode.startswith(("I", "F")):
        image = _eight_bit(image)  # by the maximum of the whole
    width, height = image.width // factor, image.height // factor
    rows = max(1, _BAND // image.width // factor)
    reduced = None
    for top in range(0, height, rows):
        below = min(top + rows, height)
        band = _plain(image.crop((0, factor * top, factor * width, factor * below))).reduce(factor)
        if reduced is None:
            reduced = Image.new(band.mode, (width, height))
        reduced.paste(band, (0, top))
    assert reduced is not None
    return reduced


def _in_srgb(image: Image.Image, icc: bytes | None) -> np.ndarray:
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if icc and (transform := _to_srgb(icc, image.mode)):
        image = transform.apply(image)
    return np.asarray(image.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # broken EXIF is no reason to refuse good pixels
        return 1
    return orientation if orientation in _UPRIGHT else 1


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scales 16-bit integers by 65535, others and floats by the smallest usual full scale that holds their maximum."""
    values = np.array(image, np.float32)
    np.nan_to_num(values, copy=False)
    if image.mode.startswith("I;16"):
        scale = 65535.0
    else:
        scales = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        scale = next((scale for scale in scales if values.max() <= scale), float(values.max()))
    values *= 255 / scale
    return Image.fromarray(values.round(out=values).clip(0, 255, out=values).astype(np.uint8))


@functools.lru_cache(maxsize=8)  # the photos of a folder tend to have the same few profiles
def _to_srgb(icc: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Builds the transform from a profile to sRGB; None where the profile is sRGB, of another mode, or broken."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if {"GRAY": "L"}.get(space := profile.profile.xcolor_space.strip(), space) != mode:
            return None
        if "sRGB" in ImageCms.getProfileDescription(profile):
            return None
        intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
        return ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB", intent, flags)
    except (ImageCms.PyCMSError, OSError):
        return None


def _unusable(error: Exception, file: BinaryIO | None, source: Path | bytes | Image.Image) -> UnusableImageError:
    """Says why an image could not be decoded, from the error and the first bytes of the file."""
    if isinstance(error, OSError) and error.strerror:  # of the file system, not of a decoder
        return UnusableImageError("unreadable", error.strerror)
    broken = UnusableImageError("unreadable", f"{type(error).__name__}: {error}")
    if file is None:
        return broken
    length = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(12)
    # The end of a WebP, or the table of a TIFF, as the header gives it.
    ends_at = {
        b"RIFF": 8 + int.from_bytes(head[4:8], "little"),
        b"II*\0": int.from_bytes(head[4:8], "little"),
        b"MM\0*": int.from_bytes(head[4:8], "big"),
    }.get(head[:4], 0)
    if "truncated" in str(error).lower() or ends_at > length:
        return UnusableImageError("truncated", f"it ends early, after {length} bytes")
    if not isinstance(error, UnidentifiedImageError):
        return broken
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return UnusableImageError("unreadable", "a HEIC or AVIF of an unknown kind: convert it to JPEG")
    if not isinstance(source, Path) or source.suffix.lower() not in _SUFFIXES:
        return UnusableImageError("not an image", "")
    return UnusableImageError("unreadable", "no image in it" if head else "the file is empty")
