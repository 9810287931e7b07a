import json
from pathlib import Path

import pytest

from bitmoji_jax import cli
from bitmoji_jax.data.builder import SPLITS
from tests.image_folders import fill

Folders = tuple[Path, Path, Path]


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Photos, avatars, and where the dataset goes."""
    return fill(tmp_path / "p", 6, seed=0), fill(tmp_path / "a", 6, seed=1), tmp_path / "out"


def test_the_command_says_what_it_did_and_what_comes_next(folders, capsys: pytest.CaptureFixture[str]) -> None:
    photos, avatars, out = folders
    (photos / "bro\nken.jpg").write_text("")
    arguments = [
        "prepare",
        "--photos",
        str(photos),
        "--avatars",
        str(avatars),
        "--out",
        str(out),
        "--size",
        "48",
    ]
    assert cli.main(arguments) == 0
    said, complained = capsys.readouterr()
    lines = said.splitlines()
    counts = json.loads((out / "prepare_report.json").read_text())["splits"]
    assert lines[0] == (
        f"prepared {out}: " + " ".join(f"{split} {counts[split]}" for split in SPLITS) + " · dropped 1 (unreadable 1)"
        f", see {out}/prepare_report.json"
    )
    assert lines[1:] == [f"next: python launch.py --exp res5 --data.dir {out}"]
    assert complained == ""
    assert cli.main(arguments) == 2
    said, complained = capsys.readouterr()
    assert said == ""
    assert complained == f"error: {out} is already there: remove it first, or choose another place\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prepare", "--photos", "p", "--avatars", "a", "--out", "o", "--sise", "64"], "--size"),
        (["prepare", "--photos", "p", "--avatars", "a", "--out", "o", "--size", "big"], "big"),
        (["prepare"], "--photos"),
        (["prapare"], "prepare"),
    ],
)
def test_bad_usage(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_a_size_that_is_too_small(folders: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    photos, avatars, out = folders
    arguments = [
        "prepare",
        "--photos",
        str(photos),
        "--avatars",
        str(avatars),
        "--out",
        str(out),
        "--size",
        "0",
    ]
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err == "error: --size 0 is too small: want 16 or more\n"
