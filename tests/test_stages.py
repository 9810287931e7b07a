"""A run of four stages in one folder: its files, and that it is the same run however it was interrupted."""

import dataclasses
import shutil
import types
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from bitmoji_jax.config import (
    ExperimentConfig,
    InvertConfig,
    PairConfig,
    ReadConfig,
    RefinerConfig,
    TeachConfig,
    from_json,
    to_json,
)
from bitmoji_jax.errors import InputError
from bitmoji_jax.inference.translator import Translator
from bitmoji_jax.inference.weights import run_weights
from bitmoji_jax.models import efficientnet, face_points
from bitmoji_jax.training import devices, train_loop, validation
from bitmoji_jax.training.stages import stage_folder, stage_names
from bitmoji_jax.training.train_loop import Interrupted, train
from tests.cheap_features import grid_as_mesh, pixels_as_maps
from tests.processes import checkpoints, newest_checkpoint, rows

pytestmark = pytest.mark.slow

STAGES = ["translate", "read", "refine", "teach"]


@pytest.fixture(scope="module")
def config(tiny_config: ExperimentConfig) -> ExperimentConfig:
    """6 images of each stage, in 3 steps or in 6; the last has no critics."""
    pairs = PairConfig(images=6, batch_size=1, ema_halflife=4.0)  # a step of two pairs is twice the program
    return dataclasses.replace(
        tiny_config,
        generator=dataclasses.replace(tiny_config.generator, res_blocks=0),
        train=dataclasses.replace(tiny_config.train, constant_epochs=0.25, decay_epochs=0.25),
        refiner=RefinerConfig(output_size=64, features=8),
        read=ReadConfig(images=6, batch_size=2),
        refine=pairs,
        teach=TeachConfig(images=6, batch_size=1, ema_halflife=4.0, critic_weight=0.0, gender_weight=0.0),
        log=dataclasses.replace(tiny_config.log, metrics_every=2, checkpoint_every=4),
    )


@pytest.fixture(scope="module", autouse=True)
def _cheap_features() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(efficientnet, "feature_maps", pixels_as_maps)
        patch.setattr(face_points, "mesh", grid_as_mesh)
        patch.setattr(validation, "_IMAGES", 8)  # one batch
        patch.setattr(validation, "load_squeezenet", lambda: lambda images: images.mean(axis=(1, 2), dtype=np.float32))
        yield


@pytest.fixture(scope="module")
def whole(config: ExperimentConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was not interrupted."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    train(config, workdir)
    return workdir


def signal_at(step: int, patch: pytest.MonkeyPatch) -> None:
    """Lets a signal come in the given step of the next run."""
    taken: list[None] = []

    def agreed(*_: object) -> bool:
        taken.append(None)
        return len(taken) == step

    patch.setattr(train_loop.StopSignal, "agreed", agreed)


def test_the_folder_of_a_run_holds_the_files_of_every_stage(config: ExperimentConfig, whole: Path) -> None:
    assert stage_names(config) == STAGES
    assert from_json((whole / "config.json").read_text()) == config
    for stage in STAGES:
        folder = stage_folder(whole, stage)
        assert checkpoints(folder) == {4, 6}
        assert [row["images"] for row in rows(folder) if "loss_generators" in row] == [2, 4, 6]
        assert {"kid", "luma_correlation", "output_change"} <= rows(folder)[-1].keys()
        assert (folder / "best.safetensors").is_file()
        assert list((folder / "tensorboard").glob("events*"))
        names = {path.name for path in (folder / "samples").iterdir()}
        assert names == {f"{kind}_0000000{images}.png" for kind in ("raw", "ema") for images in (0, 6)}
    assert {path.name for path in whole.iterdir() if path.is_dir()} == {
        "checkpoints", "tensorboard", "samples", "read", "refine", "teach"
    }  # fmt: skip
    assert "pixels_r" in rows(whole / "refine")[0]
    assert "pixels_s" in rows(whole / "teach")[0]
    assert any("['discriminators']" in key for key in newest_checkpoint(whole / "refine"))
    assert not any("['discriminators']" in key for key in newest_checkpoint(whole / "teach"))


def test_translation_uses_the_last_stage_or_the_one_that_is_named(whole: Path) -> None:
    photos = np.random.default_rng(0).integers(0, 256, (1, 48, 48, 3), dtype=np.uint8)
    for folder, names, size in (
        (whole, {"s", "f", "t", "l", "h"}, 64),
        (whole / "teach", {"s", "f", "t", "l", "h"}, 64),
        (whole / "refine", {"g", "f", "r", "t", "l", "h"}, 64),
        (whole / "read", {"g", "f", "a", "t", "l", "h"}, 32),
    ):
        for checkpoint in ("best", "latest"):
            assert run_weights(folder, checkpoint)[0].networks.keys() == names
        assert Translator.from_run(folder)(photos).shape == (1, size, size, 3)
    # What a stage passes on is what the next one has frozen.
    last = newest_checkpoint(whole)
    for stage, name in (("refine", "g"), ("refine", "f"), ("teach", "g"), ("teach", "f"), ("teach", "r")):
        frozen = newest_checkpoint(whole / stage)
        trained = newest_checkpoint(whole / "refine") if name == "r" else last
        prefix = f"state['frozen']['{name}']"
        keys = [key for key in frozen if key.startswith(prefix)]
        assert keys
        for key in keys:
            np.testing.assert_array_equal(frozen[key], trained[key.replace("frozen", "ema")], err_msg=key)


def test_a_finished_run_given_a_second_round_goes_on_from_its_student(
    config: ExperimentConfig, whole: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    rounds = dataclasses.replace(config.train, rounds=2)
    config = dataclasses.replace(config, train=rounds, invert=InvertConfig(images=6, batch_size=1, ema_halflife=4.0))
    train(config, workdir)
    assert stage_names(config) == [*STAGES, "invert2", "refine2", "teach2"]
    for stage, name, before in (
        ("invert2", "s", "teach"),
        ("refine2", "s", "teach"),
        ("refine2", "f", "invert2"),
        ("teach2", "f", "invert2"),
        ("teach2", "s", "teach"),
        ("teach2", "r", "refine2"),
    ):
        frozen, trained = newest_checkpoint(workdir / stage), newest_checkpoint(stage_folder(workdir, before))
        keys = [key for key in frozen if key.startswith(f"state['frozen']['{name}']")]
        assert keys
        for key in keys:
            np.testing.assert_array_equal(frozen[key], trained[key.replace("frozen", "ema")], err_msg=key)
    newest = newest_checkpoint(workdir / "teach2")
    assert "pixels_f" in rows(workdir / "invert2")[0]
    for checkpoint in ("best", "latest"):
        assert run_weights(workdir / "invert2", checkpoint)[0].networks.keys() == {"s", "f", "t", "l", "h"}
    weights, _ = run_weights(workdir, "latest")
    assert weights.networks.keys() == {"s", "f", "t", "l", "h"}
    for path, leaf in jax.tree.leaves_with_path(weights.networks["s"]):
        np.testing.assert_array_equal(newest[f"state['ema']['s']{jax.tree_util.keystr(path)}"], leaf)


def test_a_run_given_its_later_stages_afterwards_and_interrupted_in_them_is_the_same_run(
    config: ExperimentConfig, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The run of one stage that the first stage of the whole run is.
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir, ignore=shutil.ignore_patterns("refine", "teach"))
    (workdir / "config.json").write_text(to_json(dataclasses.replace(config, refine=PairConfig(), teach=TeachConfig())))
    # Killed at the border: the stage had begun, and written a row, but no checkpoint yet.
    (workdir / "refine" / "checkpoints").mkdir(parents=True)
    (workdir / "refine" / "metrics.jsonl").write_text('{"images": 2, "loss_generators": 9.0}\n{"ima')
    with monkeypatch.context() as patch:
        signal_at(4, patch)
        with pytest.raises(Interrupted, match=r"saved at 4 images in .*refine; the same command continues"):
            train(config, workdir)
    assert checkpoints(workdir / "refine") == {4}
    assert not (workdir / "teach").exists()
    train(config, workdir)

    for stage in STAGES:
        ours, theirs = stage_folder(workdir, stage), stage_folder(whole, stage)
        assert rows(ours) == rows(theirs)
        a, b = newest_checkpoint(ours), newest_checkpoint(theirs)
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=f"{stage} {key}")


def test_a_stage_of_a_run_cannot_be_changed_later_nor_become_longer_once_the_next_has_begun(
    config: ExperimentConfig, whole: Path
) -> None:
    other = dataclasses.replace(config, refine=dataclasses.replace(config.refine, images=4))
    with pytest.raises(InputError, match=r"refine\.images: 4 here, 6 in the run"):
        train(other, whole)
    for longer, stage, following in (
        (dataclasses.replace(config, train=dataclasses.replace(config.train, decay_epochs=0.5)), "translate", "read"),
        (dataclasses.replace(config, refine=dataclasses.replace(config.refine, images=8)), "refine", "teach"),
    ):
        begun = f"but {following} has begun with the networks of {stage} as they are.* --init-from {whole}"
        with pytest.raises(InputError, match=begun):
            train(longer, whole)
    assert from_json((whole / "config.json").read_text()) == config


def test_a_batch_of_a_later_stage_that_devices_cannot_share_is_refused_at_once(
    config: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "make_mesh", lambda: types.SimpleNamespace(size=2))
    even, odd = (dataclasses.replace(config.teach, batch_size=size) for size in (2, 3))
    uneven = dataclasses.replace(config, refine=even, teach=odd)
    with pytest.raises(InputError, match=r"teach\.batch_size 3 cannot be shared by 2 devices: make it 4 or"):
        train(uneven, tmp_path / "run")
    assert not (tmp_path / "run").exists()
