import collections
import errno
import io
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import rich.console
import skimage.data
from PIL import Image

from bitmoji_jax import cli
from bitmoji_jax.config import GeneratorConfig
from bitmoji_jax.errors import InputError, RunError
from bitmoji_jax.inference import translate_files as translate_files_module
from bitmoji_jax.inference.guard import fit_guard
from bitmoji_jax.inference.translate_files import Options, Summary, translate_files
from bitmoji_jax.inference.translator import Translator
from tests.hostile_images import SIZE, Fate, write_corpus
from tests.random_weights import random_weights


@pytest.fixture(scope="module")
def translator() -> Translator:
    """Untrained, of `SIZE` pixels."""
    return Translator.from_weights(random_weights(GeneratorConfig(features=2, res_blocks=0), size=SIZE))


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    """A photo of a person: 512 px, the face about 110 px wide."""
    return Image.fromarray(skimage.data.astronaut())


def run(
    inputs: list[Path], out: Path, translator: Translator, options: Options | None = None
) -> tuple[Summary, list[str]]:
    output = io.StringIO()
    console = rich.console.Console(file=output, width=1000, markup=False, highlight=False)
    summary = translate_files(inputs, out, translator, options or Options(), console)
    return summary, output.getvalue().splitlines()


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_photo_becomes_its_avatar_under_a_free_name(
    astronaut: Image.Image, translator: Translator, tmp_path: Path
) -> None:
    photo = tmp_path / "me.jpg"
    astronaut.save(photo, quality=95)
    before = photo.read_bytes()
    summary, lines = run([photo], tmp_path, translator)
    assert (summary.written, summary.photos, lines) == ([tmp_path / "me.png"], 1, [])
    with Image.open(tmp_path / "me.png") as avatar:
        assert avatar.size == (SIZE, SIZE)
        np.testing.assert_array_equal(np.asarray(avatar), np.asarray(translator.photo(photo)))
    # Again, from and to the same folder: nothing is overwritten, and what was made is not taken for a photo.
    again, _ = run([tmp_path], tmp_path, translator)
    assert tree(tmp_path) == {"me.jpg", "me.png", "me-2.png"}
    assert again.written == [tmp_path / "me-2.png"]
    assert "1 under another name, as theirs exists: --skip-existing leaves those photos out" in str(again)
    assert photo.read_bytes() == before


@pytest.mark.parametrize("format", ["png", "webp"])
def test_what_was_made_is_no_photo_the_next_time_wherever_it_goes(
    astronaut: Image.Image, translator: Translator, tmp_path: Path, format: str
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    astronaut.save(photos / "me.webp")
    (tmp_path / "link").symlink_to(photos)
    options = Options(format=format, grid=True)  # type: ignore[arg-type]
    for number, folder in enumerate((photos, tmp_path / "link", photos)):
        summary, lines = run([folder], photos / f"out{number}", translator, options)
        assert (summary.photos, summary.skipped, lines) == (1, {}, [])
    # But as a picture to make a photo of, and where it is named itself.
    avatar = photos / "out0" / f"me.{format}"
    back = Options(direction="y2x")
    assert run([photos / "out0"], tmp_path / "back", translator, back)[0].photos == 2
    assert run([avatar], tmp_path / "named", translator, Options(aligned=True))[0].photos == 1


def test_photos_whose_avatar_exists_are_left_out_on_request(translator: Translator, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8))
    for name in ("a.jpg", "a.png", "b.png"):
        picture.save(photos / name)
    options = Options(aligned=True, skip_existing=True)
    out.mkdir()
    (out / "b.png").touch()  # begun by a process that was killed
    assert [path.name for path in run([photos], out, translator, options)[0].written] == ["a.png", "a-2.png", "b-2.png"]
    (out / "b.png").unlink()
    (out / "a-2.png").unlink()
    again, _ = run([photos], out, translator, options)
    assert [path.name for path in again.written] == ["a-2.png", "b.png"]
    assert "left out 1 whose avatar exists" in str(again)
    nothing, _ = run([photos], out, translator, options)
    assert (nothing.written, nothing.existing, nothing.renamed) == ([], 3, 0)


@pytest.fixture
def stickers(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The avatars of which stickers are made, which are moving pictures of 8 px."""
    avatars = []

    def make(avatar: np.ndarray, exif: Image.Exif) -> bytes:
        avatars.append(avatar)
        buffer, frames = io.BytesIO(), [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
        frames[0].save(buffer, "webp", save_all=True, append_images=frames[1:], exif=exif)
        return buffer.getvalue()

    monkeypatch.setattr(translate_files_module, "make_sticker", make)
    return avatars


def test_stickers_are_beside_their_avatars_and_no_photos_the_next_time(
    translator: Translator, tmp_path: Path, stickers: list[np.ndarray]
) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8))
    for name in ("me.jpg", "deep/me.png", "me-sticker.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture.save(tmp_path / name)
    options = Options(aligned=True, sticker=True, format="webp")
    out = tmp_path / "out"
    for _ in range(2):
        summary, lines = run([tmp_path], out, translator, options)
        assert (summary.photos, lines) == (3, [])
    # An avatar has the name of another one's sticker, which has another one then; and the second run overwrote nothing.
    avatars = {"me", "me-2", "deep/me", "deep/me-2", "me-sticker", "me-sticker-3"}
    assert {f"{name}.webp" for name in avatars} < tree(out)
    assert len(tree(out)) == len(stickers) + 6 == 12
    for name in ("deep/me-sticker.webp", "deep/me-2-sticker.webp", "me-2-sticker.webp", "me-sticker-sticker.webp"):
        with Image.open(out / name) as sticker:
            assert sticker.n_frames == 2
    with Image.open(out / "deep/me.webp") as avatar:
        np.testing.assert_array_equal(np.asarray(avatar), stickers[0])


def test_a_photo_whose_sticker_was_not_written_is_not_left_out(
    translator: Translator, tmp_path: Path, stickers: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    crop = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    Image.fromarray(crop).save(tmp_path / "me.png")
    options = Options(aligned=True, sticker=True, skip_existing=True)

    def full(*_: object, **__: object) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(translate_files_module, "make_sticker", full)
        with pytest.raises(
            RunError, match=r"cannot write .*me-sticker.webp: No space left on device; 0 avatars are in"
        ):
            run([tmp_path / "me.png"], tmp_path / "out", translator, options)
    assert tree(tmp_path / "out") == set()
    for existing in (0, 1):
        assert run([tmp_path / "me.png"], tmp_path / "out", translator, options)[0].existing == existing
        assert tree(tmp_path / "out") == {"me.png", "me-sticker.webp"}
    assert len(stickers) == 1


def test_there_are_stickers_of_avatars_only(translator: Translator, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leave out --sticker or --direction y2x"):
        run([tmp_path], tmp_path / "out", translator, Options(direction="y2x", sticker=True))


def test_folders_keep_their_shape_and_one_bad_file_stops_nothing(
    astronaut: Image.Image, translator: Translator, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    for name in ("a.png", "a.jpg", "deep/er/b.webp"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        astronaut.save(photos / name)
    (photos / "notes.txt").write_text("a list")
    (photos / "half.jpg").write_bytes((photos / "a.jpg").read_bytes()[:5000])
    Image.new("RGB", (300, 200), "green").save(photos / "meadow.png")
    summary, lines = run([photos, tmp_path / "no\nwhere.jpg"], tmp_path / "out" / "new", translator)
    assert tree(tmp_path / "out") == {"new/a.png", "new/a-2.png", "new/deep/er/b.png"}
    assert summary.photos == 3
    assert {Path(name).name: reason for name, reason in summary.skipped.items()} == {
        "notes.txt": "not an image",
        "half.jpg": "truncated",
        "meadow.png": "no face",
        "no\nwhere.jpg": "unreadable",
    }
    assert len(lines) == 4
    assert any(r"no\nwhere.jpg: unreadable: No such file" in line for line in lines)
    assert "3 avatars of 3 photos in " in str(summary)
    assert "skipped 4 (" in str(summary)


def test_every_face_or_the_largest(astronaut: Image.Image, translator: Translator, tmp_path: Path) -> None:
    two = Image.new("RGB", (1024, 512), "white")
    two.paste(astronaut, (0, 0))
    two.paste(astronaut.resize((360, 360)), (560, 0))
    two.save(tmp_path / "two.png")
    assert len(run([tmp_path / "two.png"], tmp_path / "one", translator)[0].written) == 1
    summary, _ = run([tmp_path / "two.png"], tmp_path / "all", translator, Options(all_faces=True))
    assert tree(tmp_path / "all") == {"two.png", "two-2.png"}
    assert summary.photos == 1


def test_force_translates_the_middle_of_a_photo_without_a_face_and_says_so(
    translator: Translator, tmp_path: Path
) -> None:
    Image.new("RGB", (300, 200), "green").save(tmp_path / "meadow.png")
    with pytest.raises(InputError, match=r"no avatar was made: 0 avatars .* skipped 1 \(no face 1\)"):
        run([tmp_path / "meadow.png"], tmp_path / "out", translator)
    summary, lines = run([tmp_path / "meadow.png"], tmp_path / "out", translator, Options(force=True))
    assert len(summary.written) == 1
    assert lines[0].startswith(f"forced {tmp_path}/meadow.png: no face")


def test_aligned_and_y2x_translate_the_central_square_unchanged(translator: Translator, tmp_path: Path) -> None:
    crop = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    Image.fromarray(np.pad(crop, ((0, 0), (20, 20), (0, 0)))).save(tmp_path / "crop.png")
    for options, expected in (
        (Options(aligned=True), translator.x2y(crop[None])[0]),
        (Options(direction="y2x"), translator.y2x(crop[None])[0]),
    ):
        summary, _ = run([tmp_path / "crop.png"], tmp_path / options.direction, translator, options)
        with Image.open(summary.written[0]) as written:
            np.testing.assert_array_equal(np.asarray(written), expected)


@pytest.mark.parametrize(("direction", "side"), [("x2y", 128), ("y2x", 64)])
def test_framed_images_may_be_as_small_as_the_networks_take_them(direction: str, side: int, tmp_path: Path) -> None:
    seen = []

    def drawn(side: int) -> Callable[[np.ndarray], np.ndarray]:
        def draw(images: np.ndarray) -> np.ndarray:
            seen.append(images)
            return np.full((len(images), side, side, 3), 90, np.uint8)

        return draw

    crop = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(crop).save(tmp_path / "crop.png")
    large = Translator({"x2y": drawn(128), "y2x": drawn(64)}, size=128, input_size=32, cut_out=True)
    options = Options(direction=direction, aligned=True, grid=True)  # type: ignore[arg-type]
    summary, _ = run([tmp_path / "crop.png"], tmp_path / "out", large, options)
    np.testing.assert_array_equal(seen[0], crop[None])
    with Image.open(summary.written[0]) as avatar, Image.open(tmp_path / "out" / "grid.png") as sheet:
        assert avatar.size == (side, side)
        assert sheet.size == (2 * 128 + 16, 128 + 16)


def test_webp_transparency_and_sheets(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(31):
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(tmp_path / f"{index}.png")
    avatar = np.full((SIZE, SIZE, 3), 255, np.uint8)
    avatar[10:30, 10:30] = 80
    drawn = Translator({"x2y": lambda crops: np.stack([avatar] * len(crops))}, size=SIZE, cut_out=True)
    options = Options(aligned=True, format="webp", transparent=True, grid=True)
    summary, _ = run([tmp_path], tmp_path / "out", drawn, options)
    assert tree(tmp_path / "out") == {f"{i}.webp" for i in range(31)} | {"grid.webp", "grid-2.webp"}
    with Image.open(summary.written[0]) as written:
        assert (written.format, written.mode) == ("WEBP", "RGBA")
        assert written.getpixel((0, 0))[3] == 0
        assert written.getpixel((20, 20)) == (80, 80, 80, 255)
    with Image.open(tmp_path / "out" / "grid.webp") as first, Image.open(tmp_path / "out" / "grid-2.webp") as second:
        assert first.size == (800, 10 * 136 + 8)  # 30 of them, three across
        assert second.size == (272, 144)


def test_an_unusual_result_is_reported(translator: Translator, tmp_path: Path) -> None:
    crops = np.random.default_rng(0).integers(100, 110, (50, SIZE, SIZE, 3), dtype=np.uint8)
    made = translator.x2y(crops)
    guarded = Translator(
        {"x2y": translator.x2y, "y2x": translator.y2x},
        size=SIZE,
        cut_out=True,
        guard=fit_guard(made, crops, made, translator.y2x(made)),
    )
    Image.fromarray(crops[7]).save(tmp_path / "usual.png")
    Image.fromarray(255 - 2 * crops[7]).save(tmp_path / "odd.png")
    summary, lines = run([tmp_path], tmp_path / "out", guarded, Options(aligned=True))
    assert summary.unusual == 1
    assert lines == [f"unusual {tmp_path}/out/odd.png: quality 0.00 of 1"]
    assert "unusual 1: check them" in str(summary)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, Fate]]:
    root = tmp_path_factory.mktemp("hostile")
    return root / "photos", write_corpus(root / "photos", root / "outside")


@pytest.mark.parametrize("aligned", [True, False])
def test_every_kind_of_hostile_file_gives_an_avatar_or_one_line_that_says_why(
    hostile: tuple[Path, Mapping[str, Fate]], aligned: bool, translator: Translator, tmp_path: Path
) -> None:
    folder, fates = hostile
    summary, lines = run([folder], tmp_path / "out", translator, Options(aligned=aligned, force=True))
    # Copies are translated like others; and a whole photo may be of any size.
    expected = {
        name: fate.reason
        for name, fate in fates.items()
        if fate.reason not in (None, "duplicate") and (aligned or fate.reason != "too small")
    }
    assert {str(Path(name).relative_to(folder)): reason for name, reason in summary.skipped.items()} == expected
    assert len(summary.written) == summary.photos == len(fates) - len(expected)
    kinds = collections.Counter(line.split(" ")[0] for line in lines)
    assert kinds["skipped"] == len(expected)
    assert len(lines) == len(expected) + (0 if aligned else summary.photos)  # each was forced


ODD_SIZES = [(1, 1), (1, 2000), (20_000, 10), (10, 20_000), (3, 3), (6000, 4000)]


@pytest.mark.parametrize(("width", "height"), ODD_SIZES)
def test_photos_of_odd_sizes(width: int, height: int, translator: Translator, tmp_path: Path) -> None:
    Image.new("RGB", (width, height), "grey").save(tmp_path / "odd.png")
    with pytest.raises(InputError, match="no face 1"):
        run([tmp_path / "odd.png"], tmp_path / "out", translator)
    assert run([tmp_path / "odd.png"], tmp_path / "out", translator, Options(force=True))[0].photos == 1


def test_devices_and_fifos_are_skipped(astronaut: Image.Image, translator: Translator, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")
    astronaut.save(tmp_path / "me.png")
    summary, lines = run([tmp_path / "fifo.jpg", Path("/dev/zero"), tmp_path / "me.png"], tmp_path / "out", translator)
    assert summary.photos == 1
    assert lines == [f"skipped {tmp_path}/fifo.jpg: not a file", "skipped /dev/zero: not a file"]


def test_a_place_that_cannot_be_written_to_is_one_line(
    astronaut: Image.Image, translator: Translator, tmp_path: Path
) -> None:
    astronaut.save(tmp_path / "me.png")
    with pytest.raises(InputError, match=r"--out .*me.png"):
        run([tmp_path / "me.png"], tmp_path / "me.png", translator)
    with pytest.raises(InputError, match=r"--out .*x: Not a directory"):
        run([tmp_path / "me.png"], tmp_path / "me.png" / "x", translator)
    if os.geteuid():  # root may write everywhere
        locked = tmp_path / "locked"
        locked.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
        with pytest.raises(InputError, match="Permission denied"):
            run([tmp_path / "me.png"], locked, translator)


def test_the_command(astronaut: Image.Image, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    astronaut.save(tmp_path / "me.jpg")
    arguments = ["translate", str(tmp_path / "me.jpg"), str(tmp_path / "none.jpg"), "--out", str(tmp_path / "out")]
    assert cli.main([*arguments, "--weights", "res5"]) == 0
    output, errors = capsys.readouterr()
    assert output.startswith("1 avatars of 1 photos in ")
    assert output.endswith(f"skipped 1 (unreadable 1) -> {tmp_path}/out\n")
    ready, skipped = errors.splitlines()
    assert ready.startswith("Getting ready")
    assert skipped.startswith(f"skipped {tmp_path}/none.jpg: unreadable")
    assert Image.open(tmp_path / "out" / "me.png").size == (64, 64)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--out", "o"], "name at least one photo"),
        (["p.jpg", "--out", "o"], "no avatar was made"),
        (["p.jpg", "--out", "o", "--run", "none"], "none holds no run"),
        (["p.jpg", "--out", "o", "--checkpoint", "best"], "--checkpoint is one of a run's"),
        (["p.jpg", "--out", "o", "--run", "notes.txt"], "holds no weights"),
        (["p.jpg", "--out", "o", "--weights", "rse5"], "no weights 'rse5'; the nearest name is 'res5'"),
        (["p.jpg", "--out", "o", "--weights", "res5", "--run", "notes.txt"], "--run and --weights each name"),
    ],
)
def test_bad_usage_of_the_command(
    arguments: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("a list")
    assert cli.main(["translate", *arguments]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert complaint in last


def test_shards_are_parts_that_share_no_names(translator: Translator, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    (photos / "deep").mkdir(parents=True)
    crop = Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8))
    for name in ("a.png", "a.webp", "b.png", "c.png", "d.png", "deep/a.png", "deep/z.png"):
        crop.save(photos / name)
    parts = []
    for number in (1, 2, 3, 4):
        summary, _ = run([photos], out, translator, Options(aligned=True, shard=(number, 4)))
        assert summary.renamed == 0
        parts.append([str(path.relative_to(out)) for path in summary.written])
    assert parts == [["a.png", "a-2.png", "deep/a.png"], ["b.png", "deep/z.png"], ["c.png"], ["d.png"]]
    # What is there already belongs to the same part when a shard goes on.
    (out / "a-2.png").unlink()
    summary, _ = run([photos], out, translator, Options(aligned=True, shard=(1, 4), skip_existing=True))
    assert (summary.written, summary.existing) == ([out / "a-2.png"], 2)
    summary, _ = run([photos / "b.png"], out, translator, Options(aligned=True, shard=(2, 2)))
    assert summary.written == []  # more shards than photos


def test_with_shards_the_avatars_are_not_among_the_photos(translator: Translator, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"--out is below {tmp_path}"):
        run([tmp_path], tmp_path / "out", translator, Options(shard=(1, 2)))


@pytest.mark.parametrize("text", ["2", "0/2", "3/2", "1/", "-1/2", "1/2/3", "a/b"])
def test_a_shard_is_one_of_some(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["translate", str(tmp_path), "--out", str(tmp_path / "out"), f"--shard={text}"]) == 2
    assert capsys.readouterr().err == f"error: --shard {text} is not I/N with I from 1 to N: for example 1/8\n"
