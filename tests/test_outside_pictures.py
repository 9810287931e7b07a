"""Whatever is in a picture from outside, it is decoded or refused, in little memory."""

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from PIL import Image

from bitmoji_jax.data import images
from bitmoji_jax.data.images import UnusableImageError, load_photo, load_square
from tests.hostile_images import orientation_exif, swapped_profile
from tests.outside_input import EDITS, Edit, edited, examples


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples: pytest makes `tmp_path` once for a test, not for an example."""
    return tmp_path_factory.mktemp("outside")


PIXELS = 1 << 20  # the limit, in these tests


def pictures() -> dict[str, bytes]:
    """Small pictures of every kind, by name."""
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)).resize((48, 40))
    how = {
        "exif": orientation_exif(6),
        "icc_profile": swapped_profile(),
    }
    kinds: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "JPEG": (rgb, how),
        "JPEG progressive": (rgb.convert("CMYK"), {"progressive": True}),
        "PNG": (rgb.convert("RGBA"), how),
        "PNG palette": (rgb.quantize(7), {"transparency": 1}),
        "PNG 16 bits": (Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 200), {}),
        "WEBP": (rgb, how),
        "WEBP lossless": (rgb, {"lossless": True}),
        "GIF": (rgb, {"save_all": True, "append_images": [rgb.rotate(90)]}),
        "BMP": (rgb, {}),
        "BMP palette": (rgb.quantize(7), {}),
        "TIFF": (rgb, how),
        "TIFF float": (rgb.convert("F"), {}),
        "TIFF lzw": (rgb.convert("RGBA"), {"compression": "tiff_lzw"}),
        "AVIF": (rgb, how),
    }
    contents = {}
    for name, (image, options) in kinds.items():
        buffer = io.BytesIO()
        image.save(buffer, name.split()[0], **options)
        contents[name] = buffer.getvalue()
    return contents


PICTURES = pictures()


def with_checksums(content: bytes) -> bytes:
    """The PNG with the checksums that its chunks should have, as far as they can be found."""
    place, parts = 8, [content[:8]]
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        chunk = content[place + 4 : place + 8 + length]
        parts.append(content[place : place + 8 + length] + struct.pack(">I", zlib.crc32(chunk)))
        place += 12 + length
    return b"".join(parts)


@pytest.fixture
def peak_of_memory() -> Callable[[], int]:
    """A function that returns how far memory has risen above that at the start of the test, in bytes."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the system does not tell the peak of memory")

    def read(name: str) -> int:
        (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
        return 1024 * int(line.split()[1])

    Path("/proc/self/clear_refs").write_text("5")
    before = read("VmRSS")
    return lambda: read("VmHWM") - before


def look_at(content: bytes, path: Path) -> None:
    """Loads a picture in both ways; whatever is in it, there is an image or one line."""
    path.write_bytes(content)
    reasons = []
    for source in (path, content):
        try:
            photo = load_photo(source)
        except UnusableImageError as error:
            reasons.append(error.reason)
        else:
            assert photo.dtype == np.uint8
            assert photo.ndim == 3
            assert photo.shape[2] == 3
            assert min(photo.shape) >= 1
            assert max(photo.shape) <= 2000
    try:
        square, framing = load_square(path, 16)
    except UnusableImageError as error:
        reasons.append(error.reason)
    else:
        assert (square.dtype, square.shape) == (np.uint8, (16, 16, 3))
        assert framing.orientation in range(1, 9)
        assert type(framing.orientation) is int
        assert np.isfinite(framing.matrix).all()
    assert set(reasons) <= {"unreadable", "truncated", "too large", "too small", "not an image"}


@examples(120)
@hypothesis.given(
    kind=st.sampled_from(sorted(PICTURES)), edits=EDITS, checked=st.booleans(), scattered=st.integers(0, 2**31)
)
def test_any_damaged_picture_is_an_image_or_refused(
    monkeypatch: pytest.MonkeyPatch,
    peak_of_memory: Callable[[], int],
    folder: Path,
    kind: str,
    edits: list[Edit],
    checked: bool,
    scattered: int,
) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", PIXELS)
    content = edited(PICTURES[kind], edits)
    if scattered % 4 == 0:  # single bits besides, everywhere
        rng, array = np.random.default_rng(scattered), np.frombuffer(content, np.uint8).copy()
        if len(array):
            array[rng.integers(0, len(array), 4)] ^= np.uint8(1) << rng.integers(0, 8, 4, dtype=np.uint8)
        content = array.tobytes()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        look_at(with_checksums(content) if checked and kind.startswith("PNG") else content, folder / "picture")
    # Pillow's own are silenced by `quiet_decoders`; ours would be lines that nobody understands.
    assert not [warning for warning in caught if "PIL" not in warning.filename], [str(each) for each in caught]
    assert peak_of_memory() < 100 * PIXELS


# Where the sides are in a header: before them, how far from the beginning of that, and how they are written.
HEADERS: dict[str, tuple[bytes, int, Callable[[int, int], bytes]]] = {
    "AVIF": (b"ispe", 8, lambda w, h: struct.pack(">II", w, h)),
    "BMP": (b"BM", 18, lambda w, h: struct.pack("<ii", w, h)),
    "GIF": (b"GIF8", 6, lambda w, h: struct.pack("<HH", w, h)),
    "JPEG": (b"\xff\xc0\0\x11\x08", 5, lambda w, h: struct.pack(">HH", h, w)),
    "PNG": (b"IHDR", 4, lambda w, h: struct.pack(">II", w, h)),
    "TIFF": (struct.pack("<HHI", 256, 4, 1), 8, lambda w, h: struct.pack("<IHHII", w, 257, 4, 1, h)),
    "WEBP": (b"VP8X", 12, lambda w, h: (w - 1).to_bytes(3, "little") + (h - 1).to_bytes(3, "little")),
}


@examples(40)
@hypothesis.given(
    kind=st.sampled_from(sorted(HEADERS)), width=st.integers(17_400, 65_535), height=st.integers(17_400, 65_535)
)
def test_a_header_that_claims_too_many_pixels_is_refused_before_there_is_memory_for_them(
    peak_of_memory: Callable[[], int], folder: Path, kind: str, width: int, height: int
) -> None:
    content, (before, distance, pack) = PICTURES[kind], HEADERS[kind]
    start, sides = content.index(before) + distance, pack(width, height)
    claiming = content[:start] + sides + content[start + len(sides) :]
    path = folder / "claiming"
    path.write_bytes(with_checksums(claiming) if kind == "PNG" else claiming)
    for load in (load_photo, lambda path: load_square(path, 16)):
        with pytest.raises(UnusableImageError):
            load(path)
    assert peak_of_memory() < 100 * PIXELS
