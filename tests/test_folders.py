"""Folders that are written to: tried before the work, and named in one line where that is impossible."""

import os
from pathlib import Path

import pytest

from bitmoji_jax import cli
from bitmoji_jax.command import expand_home
from bitmoji_jax.config import to_json
from bitmoji_jax.data.builder import check_free
from bitmoji_jax.errors import InputError
from bitmoji_jax.evaluation import evaluate
from bitmoji_jax.files import make_folder
from bitmoji_jax.inference.weights import BEST, save_weights
from tests.random_weights import random_weights


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


def read_only(*_: object, **__: object) -> None:
    raise OSError(30, "Read-only file system")


@pytest.mark.parametrize("call", ["mkdir", "TemporaryFile", "write"])
def test_an_error_of_the_system_is_one_line(tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class File:
        __enter__, __exit__, write = (lambda self: self), (lambda *_: None), read_only

    if call == "mkdir":
        monkeypatch.setattr("os.mkdir", read_only)
    else:
        monkeypatch.setattr("tempfile.TemporaryFile", read_only if call == "TemporaryFile" else lambda **_: File())
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


def untouched(*_: object, **__: object) -> None:
    raise AssertionError("the work has begun")


@pytest.mark.parametrize("command", ["translate", "export", "evaluate", "evaluate a run that is another's"])
def test_a_place_that_cannot_be_written_to_is_refused_before_the_work(
    command: str,
    tmp_path: Path,
    tiny_dataset: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = random_weights(folder=str(tiny_dataset))
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(to_json(weights.config))
    save_weights(run / BEST, weights)
    monkeypatch.setattr(cli, "_translator", untouched)
    monkeypatch.setattr(cli, "_weights", untouched)
    monkeypatch.setattr(evaluate, "read_split", untouched)
    monkeypatch.setattr("tempfile.TemporaryFile", read_only)  # root may write everywhere
    out = str(tmp_path / "out")
    arguments = {
        "translate": ["translate", "me.jpg", "--out", out],
        "export": ["export", "--out", out, "--format", "onnx"],
        "evaluate": ["evaluate", "--run", str(run), "--out", out],
        "evaluate a run that is another's": ["evaluate", "--run", str(run)],
    }[command]
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert "Read-only file system. Choose another place" in error
