import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image

from bitmoji_jax.data.builder import SPLITS
from bitmoji_jax.data.prepare import prepare
from bitmoji_jax.errors import InputError
from tests.image_folders import fill, read

SIZE = 48


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


Folders = tuple[Path, Path, Path]


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Photos, avatars, and where the dataset goes."""
    return fill(tmp_path / "p", 6, seed=0), fill(tmp_path / "a", 6, seed=1), tmp_path / "out"


def test_one_in_ten_is_test_and_stays_so_when_files_are_added(tmp_path: Path) -> None:
    photos, avatars = fill(tmp_path / "p", 150, seed=0, size=16), fill(tmp_path / "a", 150, seed=1, size=16)
    report = prepare([photos], avatars, tmp_path / "before", size=16, workers=1)
    assert 5 <= report.splits["testA"] <= 27
    before = read(tmp_path / "before")
    fill(photos, 100, seed=0, size=16, first=150)
    prepare([photos], avatars, tmp_path / "after", size=16, workers=1)
    after = read(tmp_path / "after")
    for split in SPLITS:
        assert set(before[split]) <= set(after[split])
        for name, example in before[split].items():
            assert after[split][name].image == example.image


@pytest.mark.parametrize("count", [2, 3])
def test_few_images_still_make_four_splits(tmp_path: Path, count: int) -> None:
    photos, avatars = fill(tmp_path / "p", count, seed=0), fill(tmp_path / "a", count, seed=1)
    report = prepare([photos], avatars, tmp_path / "out", size=SIZE, workers=1)
    assert report.splits == {"trainA": count - 1, "trainB": count - 1, "testA": 1, "testB": 1}


def test_no_image_is_in_two_places(folders: Folders) -> None:
    photos, avatars, out = folders
    fill(photos / "again", 6, seed=0)
    for index in (1, 3):
        with Image.open(photos / f"{index:03}.png") as image:
            image.save(avatars / f"copy-{index}.bmp")
    report = prepare([photos], avatars, out, size=SIZE, workers=1)
    images = [example.image for split in read(out).values() for example in split.values()]
    assert len(images) == len(set(images)) == 12
    dropped = {(each.folder, each.file, each.detail) for each in report.dropped}
    assert ("avatars", "copy-1.bmp", "of photos/001.png") in dropped
    assert ("photos", "again/005.png", "of photos/005.png") in dropped
    assert {each.reason for each in report.dropped} == {"duplicate"}


def test_names_that_differ_in_suffix_or_folder_alone_are_apart(tmp_path: Path) -> None:
    photos = fill(tmp_path / "p", 2, seed=0)
    fill(photos / "sub", 2, seed=2)
    with Image.open(photos / "000.png") as image:
        image.rotate(90).save(photos / "000.bmp")
    prepare([photos], fill(tmp_path / "a", 2, seed=1), tmp_path / "out", size=SIZE, workers=1)
    splits = read(tmp_path / "out")
    assert set(splits["trainA"]) | set(splits["testA"]) == {
        "000.png", "001.png", "000.bmp", "sub/000.png", "sub/001.png",
    }  # fmt: skip


def test_the_same_bytes_whatever_the_number_of_workers_and_the_length_of_tmpdir(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, avatars, out = folders
    long = tmp_path / ("t" * (108 - len(str(tmp_path)) if len(str(tmp_path)) < 100 else 8))
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))  # too long for the name of a socket
    monkeypatch.setattr(tempfile, "tempdir", None)
    fill(photos, 30, seed=0)
    (photos / "notes.txt").write_text("")
    (photos / "broken.jpg").write_text("")
    prepare([photos], avatars, out / "one", size=SIZE, workers=1)
    prepare([photos], avatars, out / "three", size=SIZE, workers=3)
    assert contents(out / "one") == contents(out / "three")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_and_a_folder_without_permission_are_listed(folders: Folders) -> None:
    photos, avatars, out = folders
    (photos / "000.png").chmod(0)
    fill(photos / "closed", 1, seed=2).chmod(0)
    report = prepare([photos], avatars, out, size=SIZE, workers=1)
    (photos / "closed").chmod(0o700)
    assert [(each.file, each.reason) for each in report.dropped] == [("000.png", "unreadable")]
    assert [each.file for each in report.skipped] == ["closed"]


def _same(root: Path) -> tuple[Path, Path]:
    fill(root / "p", 3, seed=0)
    return root / "p", root / "p" / ".." / "p"


def _link(root: Path) -> tuple[Path, Path]:
    (root / "link").symlink_to(fill(root / "p", 3, seed=0))
    return root / "p", root / "link"


def _inside(root: Path) -> tuple[Path, Path]:
    return fill(root / "p", 3, seed=0), fill(root / "p" / "a", 3, seed=1)


def _around(root: Path) -> tuple[Path, Path]:
    return _inside(root)[::-1]


def _linked_inside(root: Path) -> tuple[Path, Path]:
    fill(root / "p", 3, seed=0)
    (root / "p" / "more").symlink_to(fill(root / "a", 3, seed=1))
    return root / "p", root / "a"


@pytest.mark.parametrize("make", [_same, _link, _inside, _around, _linked_inside])
def test_one_folder_given_twice(tmp_path: Path, make: Callable[[Path], tuple[Path, Path]]) -> None:
    photos, avatars = make(tmp_path)
    with pytest.raises(InputError, match="share a folder"):
        prepare([photos], avatars, tmp_path / "out", size=SIZE, workers=1)


def test_folders_without_enough_images(folders: Folders, tmp_path: Path) -> None:
    photos, avatars, out = folders
    empty = tmp_path / "empty"
    empty.mkdir()
    alone = fill(tmp_path / "alone", 1, seed=3)
    (alone / "copy.png").write_bytes((alone / "000.png").read_bytes())
    (alone / "broken.png").write_bytes(b"")
    for bad, message in (
        (empty, "has no files in it"),
        (tmp_path / "nowhere", "No such file or directory"),
        (photos / "000.png", "Not a directory"),
        (alone, r"has 1 usable images, want 2 or more; left out 2 \(unreadable 1, duplicate 1\)"),
    ):
        with pytest.raises(InputError, match=message):
            prepare([photos], bad, out, size=SIZE, workers=1)
        with pytest.raises(InputError, match=message):
            prepare([bad], avatars, out, size=SIZE, workers=1)
    assert not out.exists()
    assert not list(tmp_path.glob(".*"))


@pytest.fixture
def half_way(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A command that has decoded some images, and the dataset it makes; its workers wait until it is ended."""
    photos, avatars = fill(tmp_path / "p", 30, seed=0, size=300), fill(tmp_path / "a", 2, seed=1)
    out = tmp_path / "data" / "out"
    arguments = ["prepare", "--photos", photos, "--avatars", avatars, "--out", out, "--size", "256"]
    command = subprocess.Popen(
        [sys.executable, "-m", "tests.stuck_prepare", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not any(path.stat().st_size for path in out.parent.glob(".out.incomplete-*/spool")):
        assert command.poll() is None, command.stderr.read()
        time.sleep(0.01)
    yield command, out
    command.kill()
    command.communicate()


def test_killed_half_way_it_leaves_no_dataset_and_no_process(
    half_way: tuple[subprocess.Popen[str], Path],
) -> None:
    command, out = half_way
    workers = psutil.Process(command.pid).children(recursive=True)
    assert len(workers) == 2
    command.kill()
    command.wait()
    assert not out.exists()
    assert not list(out.parent.rglob("*.json"))
    _, alive = psutil.wait_procs(workers, timeout=300)
    assert not alive
    # The next run removes what is left.
    photos, avatars = fill(out.parent / "p", 2, seed=0), fill(out.parent / "a", 2, seed=1)
    prepare([photos], avatars, out, size=SIZE, workers=1)
    assert not list(out.parent.glob(".*"))


def test_interrupted_it_removes_everything_and_says_so(half_way: tuple[subprocess.Popen[str], Path]) -> None:
    command, out = half_way
    workers = psutil.Process(command.pid).children(recursive=True)
    os.killpg(command.pid, signal.SIGINT)
    printed, complaints = command.communicate()
    assert (command.returncode, printed, complaints) == (130, "", "interrupted\n")
    assert list(out.parent.iterdir()) == []
    assert not any(worker.is_running() for worker in workers)
