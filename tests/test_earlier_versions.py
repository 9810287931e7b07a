"""Runs and weights files of earlier versions open, and go on; a field added or renamed later does not stop that.

The runs in tests/files were stopped at 12 of 24 images of `tiny_dataset`, with the smallest networks: one by the first
commit that trained, one by version 0.1.0 before the step was taken apart.
"""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from bitmoji_jax import config as config_module
from bitmoji_jax.config import ADDED_FIELDS, ExperimentConfig, TrainConfig, from_json, to_json
from bitmoji_jax.errors import InputError
from bitmoji_jax.inference.weights import pretrained_weights, run_weights
from bitmoji_jax.training import validation
from bitmoji_jax.training.train_loop import train

RUNS = ("run_of_first_version", "run_of_0.1.0")


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_an_earlier_run_opens_and_continues(
    name: str, tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "load_squeezenet", lambda: lambda images: images.mean(axis=(1, 2)))
    shutil.unpack_archive(Path(__file__).parent / "files" / f"{name}.zip", tmp_path)
    config_file = tmp_path / "config.json"
    values = json.loads(config_file.read_text())
    values["data"]["dir"] = "/somewhere/else"
    config_file.write_text(json.dumps(values))

    weights, which = run_weights(tmp_path, "latest")
    assert (weights.images, which) == (12, "latest")
    if (tmp_path / "best.safetensors").exists():  # not written by the first version
        best, _ = run_weights(tmp_path, "best")
        assert best.guard is not None
        assert jax.tree.structure(best.networks) == jax.tree.structure(weights.networks)

    config = weights.config
    train(dataclasses.replace(config, data=dataclasses.replace(config.data, dir=str(tiny_dataset))), tmp_path)
    assert (tmp_path / "dataset.json").exists()  # from now on, the dataset is known by what is in it
    assert run_weights(tmp_path, "latest")[0].images == 24
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["images"] for row in rows if "loss_generators" in row] == [4, 8, 12, 16, 20, 24]
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"12", "24"}  # nothing was set aside


def test_the_weights_in_the_package_open_with_a_field_added_and_one_renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = pretrained_weights()

    @dataclasses.dataclass(frozen=True)
    class NewTrainConfig(TrainConfig):
        r1_weight: float = 1.0

    @dataclasses.dataclass(frozen=True)
    class NewDiscriminatorConfig:
        width: int = 64

        @property
        def features(self) -> int:
            return self.width

    @dataclasses.dataclass(frozen=True)
    class NewConfig(ExperimentConfig):
        discriminator: NewDiscriminatorConfig = NewDiscriminatorConfig()  # type: ignore[assignment]
        train: NewTrainConfig = NewTrainConfig()

    monkeypatch.setattr(config_module, "ExperimentConfig", NewConfig)
    with pytest.raises(InputError, match="missing"):
        pretrained_weights()
    monkeypatch.setitem(ADDED_FIELDS, "train", {**ADDED_FIELDS["train"], "r1_weight": 0.0})
    monkeypatch.setitem(config_module.RENAMED_FIELDS, "discriminator", {"features": "width"})
    weights = pretrained_weights()
    assert isinstance(weights.config, NewConfig)
    assert weights.config.train.r1_weight == 0.0
    assert weights.config.discriminator.width == expected.config.discriminator.features
    jax.tree.map(np.testing.assert_array_equal, weights.networks, expected.networks)


@pytest.mark.parametrize(
    ("section", "field", "meaning"),
    [(section, field, value) for section, added in ADDED_FIELDS.items() for field, value in added.items()],
)
def test_a_file_without_an_added_field_means_what_the_table_says(section: str, field: str, meaning: object) -> None:
    values = json.loads(to_json(ExperimentConfig()))
    values[section] |= ADDED_FIELDS[section]  # a file without a field has none that was added after it
    del values[section][field]
    assert getattr(getattr(from_json(json.dumps(values)), section), field) == meaning
