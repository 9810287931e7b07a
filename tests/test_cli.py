import json
import tomllib
from pathlib import Path

import pytest

import bitmoji_jax
from bitmoji_jax import cli
from bitmoji_jax.data.builder import SPLITS
from tests.image_folders import fill


def prepare_arguments(folder: Path, size: int) -> list[str]:
    """A command on six photos and six avatars in a folder, where the dataset goes to `out`."""
    photos, avatars = fill(folder / "p", 6, seed=0), fill(folder / "a", 6, seed=1)
    values = {"--photos": photos, "--avatars": avatars, "--out": folder / "out", "--size": size}
    return ["prepare", *(str(part) for item in values.items() for part in item)]


def test_prepare_prints_its_result_and_the_next_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, out = prepare_arguments(tmp_path, 48), tmp_path / "out"
    (tmp_path / "p" / "bro\nken.jpg").write_text("")
    assert cli.main(arguments) == 0
    printed, errors = capsys.readouterr()
    counts = json.loads((out / "prepare_report.json").read_text())["splits"]
    assert printed.splitlines() == [
        f"prepared {out}: " + " ".join(f"{split} {counts[split]}" for split in SPLITS) + " · dropped 1 (unreadable 1)"
        f", see {out}/prepare_report.json",
        f"next: python -m bitmoji_jax train --exp res5 --data.dir {out}",
    ]
    assert errors == ""
    assert cli.main(arguments) == 2
    assert capsys.readouterr() == ("", f"error: {out} is already there: remove it first, or choose another place\n")


def test_a_size_that_is_too_small_is_an_error_of_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(prepare_arguments(tmp_path, 0)) == 2
    assert capsys.readouterr() == ("", "error: --size 0 is too small: want 16 or more\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "--photos", "p", "--avatars", "a", "--out", "o", "--sise", "64"], "--size"),
        (["prepare", "--photos", "p", "--avatars", "a", "--out", "o", "--size", "big"], "big"),
        (["prepare"], "--photos"),
        (["prapare"], "prepare"),
    ],
)
def test_bad_usage_exits_2_and_names_the_right_flag(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_an_interrupted_command_exits_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bitmoji_jax.data.prepare.prepare", interrupt)
    assert cli.main(["prepare", "--photos", "p", "--avatars", "a", "--out", "o"]) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert bitmoji_jax.__version__ == project["version"]
