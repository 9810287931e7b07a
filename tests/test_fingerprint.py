import json
import shutil
from pathlib import Path

import pytest

from bitmoji_jax.config import DataConfig
from bitmoji_jax.data.fingerprint import Contents, keep_contents, kept_contents
from bitmoji_jax.data.pipeline import open_dataset
from bitmoji_jax.errors import InputError


def of(folder: Path) -> Contents:
    return open_dataset(DataConfig(dir=str(folder))).contents()


def test_a_copy_is_the_same_and_any_other_byte_is_not(tiny_dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_dataset, tmp_path / "copy")
    assert of(tmp_path / "copy") == of(tiny_dataset)
    shard = next((tmp_path / "copy").glob("*testB*"))
    whole = bytearray(shard.read_bytes())
    whole[1000] ^= 1
    shard.write_bytes(whole)
    assert not of(tmp_path / "copy").agree(of(tiny_dataset))


@pytest.mark.parametrize(
    ("ours", "theirs", "agree"),
    [
        (Contents({"a": 1}, "f"), Contents({"a": 1}, "f"), True),
        (Contents({"a": 1}, "f"), Contents({"a": 1}, "g"), False),
        (Contents({"a": 1}, None), Contents({"a": 1}, "g"), True),
        (Contents({"a": 1}, None), Contents({"a": 2}, "g"), False),
    ],
)
def test_without_a_fingerprint_the_sizes_decide(ours: Contents, theirs: Contents, agree: bool) -> None:
    assert ours.agree(theirs) == agree


def test_a_run_keeps_it_and_one_of_an_earlier_version_has_the_sizes(tmp_path: Path) -> None:
    assert kept_contents(tmp_path) is None
    progress = tmp_path / "checkpoints" / "12" / "progress" / "metadata"
    progress.parent.mkdir(parents=True)
    progress.write_text(json.dumps({"sizes": {"trainA": 3}}))
    assert kept_contents(tmp_path) == Contents({"trainA": 3}, None)
    keep_contents(tmp_path, Contents({"trainA": 3}, "f"))
    assert kept_contents(tmp_path) == Contents({"trainA": 3}, "f")
    for damaged in ("", "{}", "[]", "3"):
        (tmp_path / "dataset.json").write_text(damaged)
        with pytest.raises(InputError, match=r"cannot read .*dataset\.json"):
            kept_contents(tmp_path)
