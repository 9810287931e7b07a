from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitmoji_jax.data.images import decode_image
from bitmoji_jax.data.labels import match_names
from bitmoji_jax.data.prepare import prepare
from bitmoji_jax.errors import InputError
from tests.hostile_images import SIZE, orientation_exif, stored
from tests.image_folders import fill, read

POINTS = ("eyeL", "eyeR", "nose", "mouthL", "mouthR")
HEADER = "file,gender," + ",".join(f"{point}_{axis}" for point in POINTS for axis in "xy")


Folders = tuple[Path, Path, Path]


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Photos, avatars, and where the dataset goes."""
    return fill(tmp_path / "p", 6, seed=0), fill(tmp_path / "a", 6, seed=1), tmp_path / "out"


def test_labels_of_several_tables(folders: Folders, tmp_path: Path) -> None:
    photos, avatars, out = folders
    one, two, three = tmp_path / "1.csv", tmp_path / "2.csv", tmp_path / "3.csv"
    numbers = ",".join(str(index / 10) for index in range(10))
    one.write_text(f"\ufeff{HEADER},source\n000.png,Male,{numbers},studio\n001.png,,,,,,,,,,,,\n\n")
    two.write_text("hat,file,gender\n1,000.png,male\n0.5,002.png,female\n,003.png,\n")
    three.write_text("file,gender,score\n000.png,female,0.25\n")
    report = prepare([photos], avatars, out, size=SIZE, labels_photos=[one, two], labels_avatars=[three], workers=1)
    assert report.warnings == []
    splits = read(out)
    rows = splits["trainA"] | splits["testA"]
    assert [rows[f"00{index}.png"].gender for index in range(4)] == ["male", "unknown", "female", "unknown"]
    np.testing.assert_allclose(rows["000.png"].landmarks, np.arange(10).reshape(5, 2) / 10, atol=1e-6)
    assert all(np.isnan(rows[f"00{index}.png"].landmarks).all() for index in range(1, 6))
    assert [rows[f"00{index}.png"].attributes["source"] for index in range(3)] == ["studio", "", ""]
    np.testing.assert_equal([rows[f"00{index}.png"].attributes["hat"] for index in range(4)], [1, np.nan, 0.5, np.nan])
    avatar = (splits["trainB"] | splits["testB"])["000.png"]
    assert avatar.gender == "female"
    assert avatar.attributes["score"] == 0.25


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_landmarks_follow_the_image(tmp_path: Path, orientation: int, suffix: str) -> None:
    # Five dots on black where eyes, nose and mouth corners would be.
    height, width = 80, 120
    points = np.array([(48, 30), (72, 34), (60, 44), (50, 60), (70, 58)])
    colours = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)])
    upright = np.zeros((height, width, 3), np.uint8)
    for (x, y), colour in zip(points, colours, strict=True):
        upright[y - 3 : y + 3, x - 3 : x + 3] = colour
    pixels = np.ascontiguousarray(stored(upright, orientation))
    photos, avatars = fill(tmp_path / "p", 2, seed=0), fill(tmp_path / "a", 2, seed=1)
    Image.fromarray(pixels).save(photos / f"x.{suffix}", exif=orientation_exif(orientation), quality=95)

    # As somebody would label the stored file, who takes for left what is on its left.
    found = [np.argwhere((pixels == colour).all(-1)).mean(0)[::-1] + 0.5 for colour in colours]
    fractions = np.array(found) / (pixels.shape[1], pixels.shape[0])
    for one, other in ((0, 1), (3, 4)):
        if fractions[one, 0] > fractions[other, 0]:
            fractions[[one, other]] = fractions[[other, one]]
    table = tmp_path / "labels.csv"
    table.write_text(f"{HEADER}\nx.{suffix},," + ",".join(f"{value:.6f}" for value in fractions.ravel()) + "\n")
    prepare([photos], avatars, tmp_path / "out", size=SIZE, labels_photos=[table], workers=1)

    splits = read(tmp_path / "out")
    example = (splits["trainA"] | splits["testA"])[f"x.{suffix}"]
    expected = (points - ((width - height) / 2, 0)) / height
    np.testing.assert_allclose(example.landmarks, expected, atol=1e-3)
    rgb = decode_image(example.image).astype(int)
    for (x, y), colour in zip(example.landmarks, colours, strict=True):
        assert np.abs(rgb[int(y * SIZE), int(x * SIZE)] - colour).max() < 60


def test_a_landmark_that_is_half_known(folders: Folders, tmp_path: Path) -> None:
    photos, avatars, out = folders
    table = tmp_path / "labels.csv"
    table.write_text("file,eyeL_x,nose_y\n000.png,0.25,nan\n")
    prepare([photos], avatars, out, size=SIZE, labels_photos=[table], workers=1)
    splits = read(out)
    landmarks = (splits["trainA"] | splits["testA"])["000.png"].landmarks
    assert landmarks[0, 0] == 0.25
    assert np.isnan(landmarks.ravel()[1:]).all()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"name,gender\n000.png,male\n", "no column `file`"),
        (b"", "no column `file`"),
        (b"file;gender\n000.png;male\n", "no column `file`"),
        (b"file,gender\n0_1.png,male\n", "none of its 1 rows names a file in"),
        (b"file,gender\n0_1.png,male\n", "such as 0_1.png; the nearest name of a file is 001.png"),
        (b"file,gender\n000.png,man\n", "line 2: gender is man"),
        (b"file,eyeL_x\n000.png,left\n", "line 2: eyeL_x is left"),
        (b"file,eyeL_x\n001.png,0.5\n000.png,64\n", "line 3: eyeL_x is 64, want a fraction"),
        (b"file,eyeL_x\n000.png,inf\n", "line 2: eyeL_x is inf"),
        (b"file,hat,hat\n000.png,1,1\n", "two columns of one name"),
        (b"file,hat\n000.png,1,2\n", "line 2: 3 cells under 2"),
        (b"file,hat\n,1\n", "line 2: no file is named"),
        (b"file,hat\n000.png,1\n000.png,2\n", "line 3: hat of 000.png is 2, but elsewhere it is 1"),
        (b"file,hat\n\xff\xfe.png,1\n", "no CSV in UTF-8"),
        (b'file,hat\n"000.png,1\n', "no CSV in UTF-8"),
        (None, "No such file"),
    ],
)
def test_a_table_with_a_mistake(folders: Folders, tmp_path: Path, table: bytes | None, message: str) -> None:
    photos, avatars, out = folders
    path = tmp_path / "labels.csv"
    if table is not None:
        path.write_bytes(table)
    with pytest.raises(InputError, match=r"labels\.csv") as error:
        prepare([photos], avatars, out, size=SIZE, labels_photos=[path], workers=1)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not out.exists()


def test_landmarks_outside_of_the_image_are_kept_and_warned_of(folders: Folders, tmp_path: Path) -> None:
    photos, avatars, out = folders
    path = tmp_path / "labels.csv"
    path.write_text("file,eyeL_x,eyeR_x\n000.png,0,1\n001.png,0.75,1.25\n002.png,nan,\n003.png,-0.1,\n")
    report = prepare([photos], avatars, out, size=SIZE, labels_photos=[path], workers=1)
    (warning,) = report.warnings
    assert warning.startswith(f"{path}: 2 files have landmarks outside of the image, the first is 001.png")
    splits = read(out)
    assert (splits["trainA"] | splits["testA"])["001.png"].landmarks[1, 0] == 1.25


def test_what_is_odd_in_a_table_is_a_warning(folders: Folders, tmp_path: Path) -> None:
    photos, avatars, out = folders
    path = tmp_path / "labels.csv"
    path.write_text("file,hat\n000.png,1\n001.png,1O\nx.png,1\ny.png,1\n")
    report = prepare([photos], avatars, out, size=SIZE, labels_photos=[path], workers=1)
    assert report.warnings == [
        f"{path}: 2 rows name no file in {photos}, the first is x.png; the nearest name of a file is 005.png",
        "column hat becomes text: 1O (001.png) is no number",
    ]


NFC, NFD = "caf\u00e9.png", "cafe\u0301.png"


@pytest.mark.parametrize(
    ("files", "name", "file"),
    [
        ({NFD}, NFC, NFD),
        ({NFC}, NFD, NFC),
        ({NFC, NFD}, NFC, NFC),
        ({"sub/a.png"}, "sub\\a.png", "sub/a.png"),
        ({"a.png"}, "./a.png", "a.png"),
        ({"a.PNG", "b.png"}, "A.png", "a.PNG"),
        ({"a.png", "A.png"}, "A.PNG", None),
        ({"a.png", "A.png"}, "photos/A.png", "A.png"),
        ({"a.png"}, "/home/me/photos/a.png", "a.png"),
        ({"a.png"}, "C:\\Photos\\A.png", "a.png"),
        ({"sub/a.png", "a.png"}, "photos/sub/a.png", "sub/a.png"),
        ({"sub/a.png"}, "a.png", None),
        ({"a.png"}, "ba.png", None),
        ({"a\\b.png", "a/b.png"}, "a\\b.png", "a\\b.png"),
    ],
)
def test_a_name_means_the_one_file_that_it_can_mean(files: set[str], name: str, file: str | None) -> None:
    assert match_names({name}, files)[0].get(name) == file


def test_a_guess_stands_for_one_name_only() -> None:
    files = {"a.png", "b.png"}
    meant, guessed = match_names({"one/a.png", "two/a.png", "one/b.png", "b.png"}, files)
    assert (meant, guessed) == ({"b.png": "b.png"}, [])
    meant, guessed = match_names({"one/a.png", "B.png"}, files)
    assert (meant, guessed) == ({"one/a.png": "a.png", "B.png": "b.png"}, ["B.png", "one/a.png"])


def test_labels_written_otherwise_are_used_and_guesses_are_said(folders: Folders, tmp_path: Path) -> None:
    photos, avatars, out = folders
    (photos / "000.png").rename(photos / NFD)
    path = tmp_path / "labels.csv"
    path.write_text(f"file,gender\n{NFC},male\nPhotos\\001.PNG,female\n", encoding="utf-8")
    report = prepare([photos], avatars, out, size=SIZE, labels_photos=[path], workers=1)
    splits = read(out)
    rows = splits["trainA"] | splits["testA"]
    assert (rows[NFD].gender, rows["001.png"].gender) == ("male", "female")
    assert report.warnings == [
        f"{path}: 1 names are written otherwise than the files: the first is Photos\\001.PNG, taken for 001.png"
    ]
