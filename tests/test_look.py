"""What a person wants an avatar to look like, from text to the avatar."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from bitmoji_jax import cli
from bitmoji_jax.errors import InputError
from bitmoji_jax.inference.look import Look, colour_text, look_of, parse_colour
from bitmoji_jax.inference.translator import Translator
from bitmoji_jax.models.reader import GENDER, GLASSES, HAT, MOUTH, Reader
from bitmoji_jax.ops.batching import resized
from tests.random_weights import random_weights

WANTED = Look("male", hair=(255, 0, 64))
WHOLE = Look("female", (1, 128, 254), (0, 255, 77), glasses=True, mouth="open", hat=True)
BARE = Look(glasses=False)
SHUT = Look(mouth="closed")
BAREHEADED = Look(hat=False)


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator.from_weights(random_weights(names="sf", guided=True, mouth=True))


@pytest.fixture(scope="module")
def earlier() -> Translator:
    return Translator.from_weights(random_weights(names="sf", guided=True))


@pytest.fixture(scope="module")
def earliest() -> Translator:
    return Translator.from_weights(random_weights(names="sf", guided=True, glasses=False))


def photos(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 48, 48, 3), dtype=np.uint8)


def test_a_guide_and_a_look_stand_for_each_other() -> None:
    guide = WANTED.guide()
    assert np.flatnonzero(~np.isnan(guide)).tolist() == [GENDER, 4, 5, 6]
    np.testing.assert_allclose(guide[[0, 4, 5, 6]], [-1, 1, -1, 64 / 127.5 - 1], atol=1e-6)
    assert BARE.guide()[GLASSES] == SHUT.guide()[MOUTH] == BAREHEADED.guide()[HAT] == -1
    for whole in (WHOLE, dataclasses.replace(WHOLE, glasses=False, mouth="closed", hat=False)):
        assert look_of(whole.guide()) == whole
    assert np.isnan(Look().guide()).all()


@pytest.mark.parametrize(("size", "unknown"), [(GLASSES, ["glasses", "mouth", "hat"]), (MOUTH, ["mouth", "hat"])])
def test_a_guide_without_glasses_mouth_or_hat_is_the_first_part_of_one_with_them(size: int, unknown: Any) -> None:
    np.testing.assert_array_equal(WHOLE.guide(size), WHOLE.guide()[:size])
    assert look_of(WHOLE.guide(size)) == dataclasses.replace(WHOLE, **dict.fromkeys(unknown))


def test_what_is_wanted_takes_the_place_of_what_is_read() -> None:
    read = Look("female", (200, 150, 120), (30, 20, 10))
    assert read.but(WANTED) == Look("male", (200, 150, 120), (255, 0, 64))
    assert read.but(Look()) == read
    assert Look(glasses=True).but(BARE) == BARE
    assert Look(mouth="open").but(SHUT) == SHUT
    assert Look(hat=True).but(BAREHEADED) == BAREHEADED


@pytest.mark.parametrize("text", ["#c68642", "C68642"])
def test_a_colour_as_text(text: str) -> None:
    assert parse_colour(text) == (198, 134, 66)
    assert colour_text((198, 134, 66)) == "#c68642"


@pytest.mark.parametrize("text", ["", "red", "#c6864", "#c686422", "#c6864g"])
def test_text_that_is_no_colour(text: str) -> None:
    with pytest.raises(ValueError, match="is no colour: write it as in #c68642"):
        parse_colour(text)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gender": "other"}, "female or male"),
        ({"mouth": "round"}, "open or closed"),
        ({"skin": (0, 0, 256)}, "skin"),
        ({"hair": (1, 2)}, "hair"),
    ],
)
def test_what_is_no_look(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Look(**values)


def test_an_avatar_follows_the_look_and_is_otherwise_as_the_photo_says(translator: Translator) -> None:
    images = photos(2)
    plain, read = translator.x2y(images), translator.read(images)
    np.testing.assert_array_equal(translator.x2y(images, Look()), plain)
    for image, avatar, look in zip(images, plain, read, strict=True):
        assert look is not None
        # What is read has been rounded to whole colours, and its gender to one of two.
        drawn = translator.x2y(image[None], Look(skin=look.skin, hair=look.hair))[0].astype(int)
        assert np.abs(drawn - avatar).max() <= 4
    changed = translator.x2y(images, WANTED)
    assert np.abs(changed.astype(int) - plain).mean() > 1
    assert np.any(translator.x2y(images, Look(hair=WANTED.hair)) != changed)
    portraits = translator.translate_crops(images, WANTED)
    np.testing.assert_array_equal([portrait.avatar for portrait in portraits], changed)
    assert [portrait.look for portrait in portraits] == [look and look.but(WANTED) for look in read]


@pytest.mark.parametrize(("worn", "bare"), [(Look(glasses=True), BARE), (Look(hat=True), BAREHEADED)])
def test_glasses_and_hats_are_put_on_and_taken_off(translator: Translator, worn: Look, bare: Look) -> None:
    images, read = photos(2), translator.read(photos(2))
    assert translator.glasses
    assert translator.hat
    one, other = (translator.translate_crops(images, look) for look in (worn, bare))
    assert all(np.any(a.avatar != b.avatar) for a, b in zip(one, other, strict=True))
    assert [portrait.look for portrait in one] == [look and look.but(worn) for look in read]


def test_mouths_are_opened_and_closed(translator: Translator) -> None:
    images, read = photos(2), translator.read(photos(2))
    assert translator.mouth
    wide = Look(mouth="open")
    one, other = (translator.translate_crops(images, look) for look in (wide, SHUT))
    assert all(np.any(a.avatar != b.avatar) for a, b in zip(one, other, strict=True))
    for portraits, wanted in ((one, wide), (other, SHUT)):
        assert [portrait.look for portrait in portraits] == [look and look.but(wanted) for look in read]


def test_what_the_weights_do_not_know_is_none_and_cannot_be_chosen(earlier: Translator, earliest: Translator) -> None:
    for known, told in ((earlier, [True, False, False]), (earliest, [False] * 3)):
        assert known.guided
        assert [known.glasses, known.mouth, known.hat] == told
    for known, unknown, wanted, message in (
        (earlier, ["mouth", "hat"], BAREHEADED, "a hat cannot be chosen"),
        (earlier, ["mouth", "hat"], SHUT, "the mouth cannot be chosen"),
        (earliest, ["glasses", "mouth", "hat"], BARE, "glasses cannot be chosen"),
        (earliest, ["glasses", "mouth", "hat"], SHUT, "the mouth cannot be chosen"),
    ):
        (look,) = known.read(photos(1))
        assert look is not None
        assert [name for name, value in vars(look).items() if value is None] == unknown
        assert known.translate_crops(photos(1), WANTED)[0].look == look.but(WANTED)
        for translate in (known.x2y, known.translate_crops):
            with pytest.raises(InputError, match=message):
                translate(photos(1), wanted)


def test_files_are_translated_with_the_look_that_flags_ask_for(
    translator: Translator,
    earlier: Translator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cli, "_translator", lambda *_: translator)
    size = translator.input_size
    image = resized(photos(1), size)[0]
    Image.fromarray(image).save(tmp_path / "me.png")
    words = ["translate", str(tmp_path / "me.png"), "--aligned", "--out"]
    framed = resized(image[None], translator.input_size)
    for name, flags, look in (
        ("one", ["--gender", "male", "--hair", "#ff0040"], WANTED),
        ("two", ["--no-glasses"], BARE),
        ("three", ["--glasses"], Look(glasses=True)),
        ("four", ["--mouth", "closed"], SHUT),
        ("five", ["--mouth", "open"], Look(mouth="open")),
        ("six", ["--hat"], Look(hat=True)),
        ("seven", ["--no-hat"], BAREHEADED),
    ):
        assert cli.main([*words, str(tmp_path / name), *flags]) == 0
        drawn = np.asarray(Image.open(tmp_path / name / "me.png"))
        np.testing.assert_array_equal(drawn, translator.x2y(framed, look)[0])
    capsys.readouterr()
    for flags, message in (
        (["--skin", "brown"], "'brown' is no colour"),
        (["--gender", "male", "--direction", "y2x"], "for avatars of photos only"),
        (["--glasses", "--no-glasses"], "give one of them"),
    ):
        assert cli.main([*words, str(tmp_path / "none"), *flags]) == 2
        assert message in capsys.readouterr().err
    monkeypatch.setattr(cli, "_translator", lambda *_: earlier)
    assert cli.main([*words, str(tmp_path / "none"), "--mouth", "open"]) == 2
    assert "the mouth cannot be chosen" in capsys.readouterr().err
    monkeypatch.setattr(cli, "_translator", lambda *_: Translator({}, size=size, cut_out=False))
    assert cli.main([*words, str(tmp_path / "none"), "--hair", "#ff0040"]) == 2
    assert "they have no reader" in capsys.readouterr().err


def test_weights_without_a_reader_have_no_look() -> None:
    plain = Translator.from_weights(random_weights(names="sf"))
    assert plain.read(photos(2)) == [None, None]
    assert plain.translate_crops(photos(1))[0].look is None
    with pytest.raises(InputError, match="no reader"):
        plain.x2y(photos(1), WANTED)
    np.testing.assert_array_equal(plain.x2y(photos(1), Look()), plain.x2y(photos(1)))


def test_a_portrait_takes_one_program_which_reads_once(monkeypatch: pytest.MonkeyPatch) -> None:
    traces = []
    apply = Reader.__call__

    def counted(self: Reader, photos: jax.Array) -> jax.Array:
        traces.append(photos.shape)
        return apply(self, photos)

    monkeypatch.setattr(Reader, "__call__", counted)
    cold = Translator.from_weights(random_weights(names="sf", guided=True))
    traces.clear()  # the weights were prepared
    portrait = cold.translate_crops(photos(1))[0]
    assert len(traces) == 1
    assert [portrait.look] == cold.read(photos(1))
    np.testing.assert_array_equal(portrait.avatar, cold.x2y(photos(1))[0])
