"""Variants of an avatar: photos that are altered, and avatars that belong to the photo all the same."""

import io
from pathlib import Path

import numpy as np
import pytest
import rich.console
from PIL import Image

from bitmoji_jax.errors import InputError
from bitmoji_jax.inference.look import Look
from bitmoji_jax.inference.translate_files import Options, Summary, translate_files
from bitmoji_jax.inference.translator import Translator
from bitmoji_jax.inference.variants import VARIANTS, restore, vary
from tests.web_server import make_guided_translator

SIZE = 32


def translator() -> Translator:
    """Its avatars are the photos."""
    return Translator({"x2y": lambda photos: photos, "y2x": lambda avatars: avatars}, size=SIZE, cut_out=True)


def crops(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def test_the_first_is_of_the_photo_as_it_is_and_the_second_of_the_mirrored_one_mirrored_back() -> None:
    faces = crops(2)
    for variant, altered in ((1, faces), (2, faces[:, :, ::-1])):
        np.testing.assert_array_equal(vary(faces, variant), altered)
        np.testing.assert_array_equal(restore(altered, variant), faces)


def test_the_third_is_of_the_photo_a_tenth_larger_about_its_middle() -> None:
    side = 220
    centres = np.arange(side) + 0.5 - side / 2
    x, y = np.meshgrid(centres, centres)
    discs = [np.where(np.hypot(x - left, y) < 40, 0, 255) for left in (0, 20)]
    faces = np.stack([np.stack([disc] * 3, axis=-1) for disc in discs]).astype(np.uint8)
    larger = vary(faces, 3)
    assert (larger.shape, larger.dtype) == (faces.shape, np.uint8)
    for before, after, left in zip(faces, larger, (0, 20), strict=True):
        black, grown = (np.argwhere(image[..., 0] < 128) + 0.5 - side / 2 for image in (before, after))
        assert len(grown) / len(black) == pytest.approx(1.1**2, rel=0.01)
        np.testing.assert_allclose(grown.mean(axis=0), [0, 1.1 * left], atol=0.2)
    np.testing.assert_array_equal(restore(larger, 3), larger)


def test_other_numbers_are_none() -> None:
    for variant in (0, 4):
        with pytest.raises(ValueError, match=r"it is one of \(1, 2, 3\)"):
            vary(crops(1), variant)


def test_the_variants_of_each_crop_are_next_to_each_other() -> None:
    faces = crops(2)
    portraits = translator().translate_crops(list(faces), variants=(3, 2))
    assert [portrait.variant for portrait in portraits] == [3, 2, 3, 2]
    for portrait, face in zip(portraits, faces.repeat(2, axis=0), strict=True):
        np.testing.assert_array_equal(portrait.crop, face)
        expected = face if portrait.variant == 2 else vary(face[None], 3)[0]
        np.testing.assert_array_equal(portrait.avatar, expected)
    first = translator().translate_crops(list(faces))
    assert [portrait.variant for portrait in first] == [1, 1]
    look = Look("male", hair=(255, 0, 64))
    drawn = make_guided_translator().translate_crops(list(faces), look, VARIANTS)
    assert {portrait.look and portrait.look.hair for portrait in drawn} == {look.hair}


def run(photos: Path, out: Path, options: Options) -> Summary:
    return translate_files([photos], out, translator(), options, rich.console.Console(file=io.StringIO()))


def test_each_face_has_three_files_and_those_of_a_photo_are_whole_with_the_last(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    (photos / "deep").mkdir(parents=True)
    faces = dict(zip(("me", "deep/you"), crops(2), strict=True))
    for name, face in faces.items():
        Image.fromarray(face).save(photos / f"{name}.png")
    options = Options(aligned=True, variants=True, grid=True)
    summary = run(photos, out, options)
    names = [f"{name}_{variant}.png" for name in sorted(faces) for variant in VARIANTS]
    assert [str(path.relative_to(out)) for path in summary.written] == names
    assert (summary.photos, summary.renamed) == (2, 0)
    for name, face in faces.items():
        np.testing.assert_array_equal(np.asarray(Image.open(out / f"{name}_2.png")), face)
    with Image.open(out / "grid.png") as sheet:
        assert sheet.size == (3 * 264 + 8, 2 * 136 + 8)  # a row for each face
    (out / "me_3.png").unlink()
    again = run(photos, out, Options(aligned=True, variants=True, skip_existing=True))
    assert [path.name for path in again.written] == ["me_1-2.png", "me_2-2.png", "me_3.png"]
    assert again.existing == 1


def test_photos_have_no_variants(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leave out --variants or --direction y2x"):
        run(tmp_path, tmp_path / "out", Options(direction="y2x", variants=True))


def test_each_variant_has_a_sticker_of_its_own(tmp_path: Path) -> None:
    Image.fromarray(crops(1)[0]).save(tmp_path / "me.png")
    summary = run(tmp_path / "me.png", tmp_path / "out", Options(aligned=True, variants=True, sticker=True))
    stickers = [path.with_name(f"{path.stem}-sticker.webp") for path in summary.written]
    assert {*summary.written, *stickers} == set((tmp_path / "out").iterdir())
    first, second, third = (path.read_bytes() for path in stickers)
    assert first == second != third  # as their avatars
