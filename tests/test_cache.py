import os
import re
from pathlib import Path

import pytest

from bitmoji_jax import cache
from bitmoji_jax.cache import cache_folder, use_compilation_cache
from bitmoji_jax.data.synthetic import dataset as synthetic


@pytest.fixture(autouse=True)
def _looked_at_anew() -> None:
    cache._usable.cache_clear()


def test_it_is_below_the_home_or_the_folder_that_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "bitmoji_jax"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_folder() == tmp_path / "x" / "bitmoji_jax"
    assert os.listdir(tmp_path / "x" / "bitmoji_jax") == []


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("no home", "there is no home directory"),
        ("not writable", "Not a directory"),
        ("full", "less than .* MB are free"),
    ],
)
def test_where_there_is_none_this_is_said_once_and_all_works_without(
    trouble: str, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if trouble == "no home":
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.delenv("HOME", raising=False)
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a uid without an entry in passwd
    elif trouble == "not writable":
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    else:
        monkeypatch.setattr(cache, "_LEAST", 1e18)
    assert cache_folder() is None
    use_compilation_cache()
    folder = synthetic.synthetic_dataset(16, train_images=1, test_images=1, workers=1)
    assert synthetic.synthetic_dataset(16, train_images=1, test_images=1, workers=1) == folder
    error = capsys.readouterr().err
    assert error.count("No cache in") == 1
    assert re.search(rf"\({reason}\): what takes long is done anew each time", error)
