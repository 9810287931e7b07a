"""One image file, of whatever kind people have, to an RGB square; and the encoding of squares in a dataset.

Imported by worker processes: neither JAX nor TFDS here.
"""

import contextlib
import dataclasses
import functools
import io
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import pi_heif
import simplejpeg
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from bitmoji_jax.errors import InputError

# An allow-list, because Pillow would also run Ghostscript on an EPS that calls itself a.jpg.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
pi_heif.register_heif_opener(thumbnails=False)  # what phones of Apple write

# 4:4:4, because chroma at half resolution bleeds the sharp coloured outlines of an avatar. 90 is the highest
# quality at which 9,000 images of 128 px stay under 60 MiB (PSNR 40 dB). Its own Huffman tables take 7 % off
# an image.
_JPEG: dict[str, Any] = {"format": "JPEG", "quality": 90, "subsampling": 0, "optimize": True}

# Of a photo's longer side. Half of what phones take, so that of a JPEG only half is decoded; and a face of a twelfth of
# it still has more pixels than any network here looks at.
_PHOTO_SIDE = 2000

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
    """A file gives no image: it is unreadable, truncated, too small, too large or not an image."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


@dataclasses.dataclass(frozen=True)
class Framing:
    """How a stored image became a square: turned upright as its EXIF orientation says, then cut out.

    Attributes:
        orientation: EXIF orientation, 1 to 8.
        width: Of the upright image, in pixels.
        height: The same.
    """

    orientation: int
    width: int
    height: int

    def apply(self, landmarks: np.ndarray) -> np.ndarray:
        """Takes landmarks float32 [5, 2] from fractions of the stored image to fractions of the square.

        Outside of the square they are < 0 or > 1. "Left" stays the left of the image: where turning it has
        swapped the eyes or the mouth corners, the rows are swapped too.
        """
        x, y = landmarks[:, 0], landmarks[:, 1]
        if self.orientation >= 5:
            x, y = y, x
        if self.orientation in (2, 3, 6, 7):
            x = 1 - x
        if self.orientation in (3, 4, 7, 8):
            y = 1 - y
        left, top, side = self.square
        moved = np.stack([(x * self.width - left) / side, (y * self.height - top) / side], axis=1)
        if self.orientation != 1:
            for one, other in ((0, 1), (3, 4)):
                if moved[one, 0] > moved[other, 0]:
                    moved[[one, other]] = moved[[other, one]]
        return moved.astype(np.float32)

    @property
    def square(self) -> tuple[int, int, int]:
        """Left, top and side of the central square, in pixels of the upright image."""
        side = min(self.width, self.height)
        return (self.width - side) // 2, (self.height - side) // 2, side


def encode_image(rgb: np.ndarray) -> bytes:
    """Encodes uint8 [S, S, 3] as every image of a dataset is: JPEG 4:4:4, the same bytes every time."""
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[0] != rgb.shape[1] or rgb.shape[2] != 3:
        raise ValueError(f"want uint8 [S, S, 3], got {rgb.dtype} {list(rgb.shape)}")
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, **_JPEG)
    return buffer.getvalue()


def decode_image(encoded: bytes) -> np.ndarray:
    """Decodes the image of a dataset to uint8 [S, S, 3]."""
    if encoded.startswith(b"\xff\xd8"):
        # What it does not know, such as CMYK, is left to Pillow; so is what is damaged, and the error.
        with contextlib.suppress(ValueError):
            return simplejpeg.decode_jpeg(encoded, "RGB")
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image.convert("RGB"))


def load_square(path: Path, size: int) -> tuple[np.ndarray, Framing]:
    """Decodes an image file to its central square: upright, in sRGB, alpha on white, the first frame.

    The pixel limit is Pillow's (`Image.MAX_IMAGE_PIXELS`, 89 million).

    Returns:
        uint8 [size, size, 3], and how it was cut out of the file's image.

    Raises:
        UnusableImageError: the file has no image that can be used, and why.
    """
    return _from_file(path, lambda image: _square(image, size))


def load_photo(source: Path | bytes | Image.Image, *, max_pixels: int | None = None) -> np.ndarray:
    """Decodes a whole photo: upright, in sRGB, alpha on white, the first frame.

    Args:
        source: A file, what is in one, or an image that is open already.
        max_pixels: None is Pillow's limit (`Image.MAX_IMAGE_PIXELS`, 89 million), which holds at any rate.

    Returns:
        uint8 [H, W, 3], its longer side at most 2,000 pixels: larger photos are reduced.

    Raises:
        UnusableImageError: there is no image that can be used, and why.
    """
    decode = functools.partial(_photo, max_pixels=max_pixels)
    if isinstance(source, Image.Image):
        try:
            return decode(source)
        except UnusableImageError:
            raise
        except Exception as error:  # It may have been opened from a broken file, and not read yet.
            raise UnusableImageError("unreadable", f"{type(error).__name__}: {error}") from None
    if isinstance(source, bytes):
        return _checked(io.BytesIO(source), "", decode)
    return _from_file(source, decode)


_Result = TypeVar("_Result")


def _from_file(path: Path, use: Callable[[Image.Image], _Result]) -> _Result:
    try:
        with path.open("rb") as file:
            return _checked(file, path.suffix, use)
    except PermissionError:
        raise UnusableImageError("unreadable", "no permission to read it") from None
    except OSError as error:
        raise UnusableImageError("unreadable", str(error.strerror)) from None


def _checked(file: BinaryIO, suffix: str, use: Callable[[Image.Image], _Result]) -> _Result:
    """`use` of the image in `file`; whatever is wrong with that is an `UnusableImageError`."""
    try:
        with _open(file) as image:
            # Pillow only warns of as much again, and warnings can't be caught in one thread alone.
            if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
                raise Image.DecompressionBombError
            return use(image)
    except UnusableImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        limit = f"more than {Image.MAX_IMAGE_PIXELS:,} pixels"
        raise UnusableImageError("too large", limit) from None
    except Exception as error:  # What a decoder raises on a broken file is anybody's guess.
        raise _unusable(error, file, suffix) from None


def quiet_decoders() -> None:
    """Lets this process say nothing of what Pillow notices in a file: an unusable one is an error, others are used."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _open(file: BinaryIO) -> Image.Image:
    image = Image.open(file, formats=_FORMATS)
    if image.format == "PNG":
        # The checksums, which decoding does not look at; afterwards the image has to be opened anew.
        image.verify()
        file.seek(0)
        image = Image.open(file, formats=_FORMATS)
    return image


def _square(image: Image.Image, size: int) -> tuple[np.ndarray, Framing]:
    if 2 * min(image.size) < size:
        raise UnusableImageError("too small", f"{image.width}x{image.height}, want at least {-(-size // 2)} a side")
    orientation = _orientation(image)
    upright, icc = _upright(image)
    framing = Framing(orientation, *upright.size)
    left, top, side = framing.square
    # Colours are managed afterwards, on the few pixels that are left.
    box = (left, top, left + side, top + side)
    return _in_srgb(upright.resize((size, size), Image.Resampling.LANCZOS, box, reducing_gap=3.0), icc), framing


def _photo(image: Image.Image, max_pixels: int | None) -> np.ndarray:
    if max_pixels is not None and image.width * image.height > max_pixels:
        raise UnusableImageError("too large", f"more than {max_pixels:,} pixels")
    image.draft(None, (_PHOTO_SIDE, _PHOTO_SIDE))  # A JPEG is decoded to a half or a quarter, where that is enough.
    upright, icc = _upright(image)
    # Not `thumbnail`, which changes an image that may be the caller's.
    scale = min(1.0, _PHOTO_SIDE / max(upright.size))
    if scale < 1:
        size = (max(1, round(upright.width * scale)), max(1, round(upright.height * scale)))
        upright = upright.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return _in_srgb(upright, icc)


def _upright(image: Image.Image) -> tuple[Image.Image, bytes | None]:
    """Decoded and turned as its EXIF says, with 8 bits a channel, as L, RGB, RGBA or CMYK; and its profile."""
    image.load()
    icc = image.info.get("icc_profile")
    # Pillow has already turned a TIFF, and taken the tag away.
    if (left_to_do := _orientation(image)) != 1:
        image = image.transpose(_UPRIGHT[left_to_do])
    if image.mode.startswith(("I", "F")):
        image = _eight_bit(image)
    elif image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGB")
    return image, icc


def _in_srgb(image: Image.Image, icc: bytes | None) -> np.ndarray:
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if icc and (transform := _to_srgb(icc, image.mode)):
        image = transform.apply(image)
    return np.asarray(image.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Broken EXIF is no reason to refuse good pixels.
        return 1
    return orientation if orientation in _UPRIGHT else 1


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scales 16-bit integers by 65535, others and floats by the first full scale that holds their maximum."""
    values = np.array(image, np.float32)
    np.nan_to_num(values, copy=False)
    if image.mode.startswith("I;16"):
        scale = 65535.0
    else:
        scales = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        scale = next((scale for scale in scales if values.max() <= scale), float(values.max()))
    values *= 255 / scale
    return Image.fromarray(values.round(out=values).clip(0, 255, out=values).astype(np.uint8))


# A folder's photos tend to carry the same few profiles.
@functools.lru_cache(maxsize=8)
def _to_srgb(icc: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from a profile to sRGB; None where there is nothing to do, or the profile is broken."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if {"GRAY": "L"}.get(space := profile.profile.xcolor_space.strip(), space) != mode:
            return None
        if "sRGB" in ImageCms.getProfileDescription(profile):
            return None
        return ImageCms.buildTransform(
            profile,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError):
        return None


def _unusable(error: Exception, file: BinaryIO, suffix: str) -> UnusableImageError:
    """Why an image could not be decoded, from what was raised and how the file begins."""
    length = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(12)
    # Where a WebP says that it ends, and a TIFF that its table is.
    ends_at = {
        b"RIFF": 8 + int.from_bytes(head[4:8], "little"),
        b"II*\0": int.from_bytes(head[4:8], "little"),
        b"MM\0*": int.from_bytes(head[4:8], "big"),
    }.get(head[:4], 0)
    if "truncated" in str(error).lower() or ends_at > length:
        return UnusableImageError("truncated", f"it ends early, after {length} bytes")
    if not isinstance(error, UnidentifiedImageError):
        return UnusableImageError("unreadable", f"{type(error).__name__}: {error}")
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return UnusableImageError("unreadable", "a HEIC or AVIF of an unknown kind: convert it to JPEG")
    if suffix.lower() not in _IMAGE_SUFFIXES:
        return UnusableImageError("not an image", "")
    return UnusableImageError("unreadable", "no image in it" if head else "the file is empty")


_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif")
_IMAGE_SUFFIXES = {f".{name}" for name in ("jpg", "jpeg", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff")}
_IMAGE_SUFFIXES |= {".avif", ".heic", ".heif"}
