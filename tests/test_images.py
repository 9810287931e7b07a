import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from bitmoji_jax.data import images
from bitmoji_jax.data.builder import Example
from bitmoji_jax.data.images import decode_image, load_photo, load_square
from bitmoji_jax.data.prepare import Report, prepare
from tests.hostile_images import SIZE, Fate, orientation_exif, quadrants, write_corpus
from tests.image_folders import fill, read

Hostile = tuple[Mapping[str, Fate], Report, Mapping[str, Example]]


@pytest.fixture(scope="module")
def hostile(
    tmp_path_factory: pytest.TempPathFactory,
) -> Hostile:
    root = tmp_path_factory.mktemp("hostile")
    fates = write_corpus(root / "photos", root / "outside")
    report = prepare([root / "photos"], fill(root / "avatars", 3, seed=1), root / "out", size=SIZE, workers=1)
    splits = read(root / "out")
    return fates, report, splits["trainA"] | splits["testA"]


def test_every_kind_of_file_is_accepted_or_listed(hostile: Hostile) -> None:
    fates, report, accepted = hostile
    assert len(fates) >= 90
    wrong = []
    reasons = {each.file: each.reason for each in (*report.dropped, *report.skipped)}
    for name, fate in fates.items():
        if fate.reason is not None:
            if reasons.get(name) != fate.reason or name in accepted:
                wrong.append(f"{name!r}: want {fate.reason}, got {reasons.get(name, 'accepted')}")
        elif name not in accepted:
            wrong.append(f"{name!r}: want it accepted, got {reasons.get(name, 'nothing at all')}")
    assert not wrong, "\n".join(wrong)
    assert set(accepted) | set(reasons) == set(fates)
    assert all(each.detail for each in report.dropped)


def test_every_accepted_image_has_the_right_colours(hostile: Hostile) -> None:
    fates, _, accepted = hostile
    wrong = []
    for name, example in accepted.items():
        rgb = decode_image(example.image)
        assert rgb.shape == (SIZE, SIZE, 3)
        middles = [
            rgb[y - 4 : y + 4, x - 4 : x + 4].mean((0, 1))
            for y in (SIZE // 4, 3 * SIZE // 4)
            for x in (SIZE // 4, 3 * SIZE // 4)
        ]
        worst = np.abs(np.array(middles) - fates[name].colours).max()
        if worst > fates[name].tolerance:
            wrong.append(f"{name!r}: {np.rint(middles).tolist()} for {fates[name].colours}")
    assert not wrong, "\n".join(wrong)


def test_a_format_that_is_not_known_comes_with_a_hint(hostile: Hostile) -> None:
    details = {each.file: each.detail for each in hostile[1].dropped}
    assert "convert it to JPEG" in details["no-phone.heic"]
    assert "photos/plain.jpg" in details["plain2.jpg"]


@pytest.mark.parametrize("orientation", [1, 2, 6, 7])
@pytest.mark.parametrize("name", ["a.jpg", "alpha.png", "palette.png", "cmyk.jpg", "16-bit.png", "a.webp", "a.avif"])
def test_a_large_picture_is_reduced_to_what_decoding_all_of_it_gives(
    name: str, orientation: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image.fromarray(skimage.data.astronaut()).resize((1001, 801))
    if name == "alpha.png":
        image.putalpha(image.getchannel("G"))
    elif name == "palette.png":
        image = image.quantize(64)
    elif name == "16-bit.png":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif name == "cmyk.jpg":
        image = image.convert("CMYK")
    image.save(tmp_path / name, exif=orientation_exif(orientation))
    monkeypatch.setattr(images, "_PHOTO_SIDE", 160)
    monkeypatch.setattr(images, "_BAND", 20_000)
    whole = load_photo(tmp_path / name), *load_square(tmp_path / name, 50)
    monkeypatch.setattr(images, "_LARGE", 500_000)
    reduced = load_photo(tmp_path / name), *load_square(tmp_path / name, 50)
    assert whole[0].shape == reduced[0].shape
    for one, other in zip(whole[:2], reduced[:2], strict=True):
        assert np.corrcoef(np.ravel(one), np.ravel(other))[0, 1] > 0.995  # one column to the side it is under 0.96
    assert reduced[2].orientation == orientation
    np.testing.assert_allclose(whole[2].matrix, reduced[2].matrix, atol=0.005)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell the peak of memory")
def test_a_picture_of_200_megapixels_takes_little_memory(tmp_path: Path) -> None:
    colours = ((200, 40, 40), (40, 180, 40), (50, 60, 190), (120, 130, 10))
    small = Image.fromarray(quadrants(colours, 8, 8)).convert("L")
    small.resize((16320, 12240), Image.Resampling.NEAREST).save(tmp_path / "phone.jpg", quality=50)
    code = """
import sys
from pathlib import Path
from bitmoji_jax.data.images import load_photo
photo = load_photo(Path(sys.argv[1]))
print(*photo.shape, *photo[[300, 300, 1200, 1200], [400, 1600, 400, 1600], 0])
print([line for line in open("/proc/self/status") if line.startswith("VmHWM")][0].split()[1])
"""
    command = [sys.executable, "-c", code, str(tmp_path / "phone.jpg")]
    found, kilobytes = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    values = list(map(int, found.split()))
    assert values[:3] == [1500, 2000, 3]
    np.testing.assert_allclose(values[3:], np.asarray(small)[[1, 1, 6, 6], [1, 6, 1, 6]], atol=3)
    assert int(kilobytes) < 250_000  # all of it would take 200 MB more as grey, 800 MB as RGB
