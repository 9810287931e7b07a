"""Folders that are written to: tried before the work, and named in one line where that is impossible."""

import os
from pathlib import Path

import pytest

from bitmoji_jax.command import expand_home
from bitmoji_jax.data.builder import check_free
from bitmoji_jax.errors import InputError
from bitmoji_jax.files import make_folder


def test_a_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    for _ in range(2):
        make_folder(tmp_path / "a" / "b", "--out")
        assert os.listdir(tmp_path / "a" / "b") == []


def test_a_place_that_cannot_be_a_folder_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("/gone")
    for place, reason in (
        ("file", "Not a directory"),
        ("file/x", "Not a directory"),
        ("dangling", "is a link to /gone"),
    ):
        with pytest.raises(InputError, match=f"^--out {tmp_path / place}: .*{reason}"):
            make_folder(tmp_path / place, "--out")
    with pytest.raises(InputError, match="dangling is a link to /gone, which does not exist"):
        make_folder(tmp_path / "dangling" / "runs", "--workdir")


@pytest.mark.parametrize("call", ["mkdir", "TemporaryFile", "write"])
def test_an_error_of_the_system_is_one_line(tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    class File:
        __enter__, __exit__, write = (lambda self: self), (lambda *_: None), fails

    if call == "mkdir":
        monkeypatch.setattr("os.mkdir", fails)
    else:
        monkeypatch.setattr("tempfile.TemporaryFile", fails if call == "TemporaryFile" else lambda **_: File())
    with pytest.raises(InputError, match=r"^--out .*: Read-only file system\. Choose another place$"):
        make_folder(tmp_path / "x", "--out")


def test_a_dataset_takes_the_place_of_an_empty_folder_but_not_of_a_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_free(tmp_path / "new")
    check_free(tmp_path)
    monkeypatch.setattr("os.path.ismount", lambda path: Path(path) == tmp_path)
    with pytest.raises(InputError, match=r"a disk is mounted.*name a folder in it"):
        check_free(tmp_path)


def test_the_home_is_found_in_words_and_in_values_of_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    words = ["~/a", "--out=~/b", "--data.dir=~", "--out", "c~", "--x=a/~/b", "~nobody-of-this-name/d"]
    expected = ["/home/me/a", "--out=/home/me/b", "--data.dir=/home/me", "--out", "c~", "--x=a/~/b", words[-1]]
    assert expand_home(words) == expected
