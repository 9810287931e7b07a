import dataclasses
import importlib
import json
import math
import pkgutil
import re

import pytest

import experiments
from bitmoji_jax.config import ExperimentConfig, LogConfig, from_json, to_json, without_folders
from bitmoji_jax.training.changes import differences, longer

EXPERIMENTS = sorted(module.name for module in pkgutil.iter_modules(experiments.__path__))


def changed(config: ExperimentConfig, **values: object) -> ExperimentConfig:
    """The configuration with section__field=value changed."""
    for path, value in values.items():
        section, field = path.split("__")
        config = dataclasses.replace(
            config, **{section: dataclasses.replace(getattr(config, section), **{field: value})}
        )
    return config


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_survives_json(name: str) -> None:
    config = importlib.import_module(f"experiments.{name}").get_experiment()
    assert from_json(to_json(config)) == config


def test_json_holds_every_field_by_name_and_none_as_null() -> None:
    values = json.loads(to_json(changed(ExperimentConfig(), train__batch_size=7, data__name="a/b")))
    assert list(values) == [
        "data",
        "generator",
        "discriminator",
        "refiner",
        "train",
        "read",
        "invert",
        "refine",
        "teach",
        "log",
    ]
    assert values["train"]["batch_size"] == 7
    assert values["data"]["name"] == "a/b"
    assert values["data"]["dir"] is None
    assert len(values["train"]) == len(dataclasses.fields(ExperimentConfig().train))


def test_from_json_reads_values_other_than_the_defaults() -> None:
    values = json.loads(to_json(ExperimentConfig()))
    values["generator"]["upsample"] = "nearest"
    values["train"]["learning_rate"] = 0.125
    values["data"]["dir"] = "somewhere"
    config = from_json(json.dumps(values))
    assert (config.generator.upsample, config.train.learning_rate, config.data.dir) == (
        "nearest",
        0.125,
        "somewhere",
    )


@pytest.mark.parametrize("section", [None, "data", "train"])
def test_from_json_rejects_and_names_an_unknown_field(section: str | None) -> None:
    values = json.loads(to_json(ExperimentConfig()))
    (values if section is None else values[section])["bogus"] = 1
    with pytest.raises(ValueError, match=r"unknown \['bogus'\], missing \[\]"):
        from_json(json.dumps(values))


@pytest.mark.parametrize(("section", "field"), [(None, "train"), ("data", "flip"), ("train", "seed")])
def test_from_json_rejects_and_names_a_missing_field(section: str | None, field: str) -> None:
    values = json.loads(to_json(ExperimentConfig()))
    del (values if section is None else values[section])[field]
    with pytest.raises(ValueError, match=rf"{section or 'config'}: unknown \[\], missing \['{field}'\]"):
        from_json(json.dumps(values))


@pytest.mark.parametrize("text", ["", "{", "no json", "[]", "3", "null", '{"data": 3}'])
def test_from_json_rejects_what_is_no_configuration(text: str) -> None:
    with pytest.raises(ValueError, match=r"Expecting|missing"):
        from_json(text)


def test_from_json_rejects_a_section_that_is_no_object() -> None:
    values = json.loads(to_json(ExperimentConfig())) | {"train": [1, 2]}
    with pytest.raises(ValueError, match=r"config\.train: unknown"):
        from_json(json.dumps(values))


def test_from_json_rejects_a_value_out_of_range() -> None:
    values = json.loads(to_json(ExperimentConfig()))
    values["train"]["batch_size"] = 0
    with pytest.raises(ValueError, match=r"train\.batch_size"):
        from_json(json.dumps(values))


def test_equal_configurations_have_no_differences() -> None:
    assert differences(ExperimentConfig(), ExperimentConfig()) == []


def test_differences_names_exactly_the_fields_that_differ_with_both_values() -> None:
    theirs = changed(ExperimentConfig(), data__flip=False, generator__res_blocks=6, train__seed=1)
    assert differences(ExperimentConfig(), theirs) == [
        "data.flip: True here, False in the run",
        "generator.res_blocks: 5 here, 6 in the run",
        "train.seed: 0 here, 1 in the run",
    ]


def test_differences_leave_out_logging() -> None:
    log = LogConfig(metrics_every=1, samples_every=2, sample_images=3, checkpoint_every=4, keep_checkpoints=5)
    assert differences(ExperimentConfig(), dataclasses.replace(ExperimentConfig(), log=log)) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("data__dir", "there"), ("data__name", "a/b"), ("data__read_threads", 9), ("train__accumulation_steps", 2)],
)
def test_differences_leave_out_where_the_data_is_and_what_changes_speed_alone(field: str, value: object) -> None:
    assert differences(ExperimentConfig(), changed(ExperimentConfig(), **{field: value})) == []


def test_a_schedule_may_become_longer_and_not_shorter() -> None:
    run = changed(ExperimentConfig(), train__decay_epochs=10.0, refine__images=100)
    ours = changed(run, train__decay_epochs=20.0, train__constant_epochs=200.0, refine__images=1100, teach__images=5)
    assert differences(ours, run) == []
    assert longer(ours, run) == {
        "train": "train.constant_epochs 200.0 instead of 100.0, train.decay_epochs 20.0 instead of 10.0",
        "refine": "refine.images 1,100 instead of 100",
    }  # teach is a further stage
    assert [line.split(":")[0] for line in differences(run, ours)] == [
        "train.constant_epochs",
        "train.decay_epochs",
        "refine.images",
        "teach.images",
    ]
    assert longer(run, ours) == longer(run, run) == {}


def test_the_weights_that_a_run_began_with_may_lie_elsewhere_and_may_not_be_others() -> None:
    ours, moved, other = (
        changed(ExperimentConfig(), train__init_from=path) for path in ("runs/a", "/elsewhere/a/", "runs/b")
    )
    assert differences(ours, moved) == []
    assert differences(ours, other) == ["train.init_from: 'a' here, 'b' in the run"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("data__image_size", 28),
        ("data__image_size", 130),
        ("data__image_size", -32),
        ("data__image_size", 8196),
        ("data__crop_margin", -0.01),
        ("data__read_threads", 0),
        ("generator__features", 0),
        ("generator__res_blocks", -1),
        ("generator__res_blocks", 101),
        ("discriminator__features", 0),
        ("train__batch_size", 0),
        ("train__accumulation_steps", 0),
        ("train__constant_epochs", -1),
        ("train__decay_epochs", -1),
        ("train__decay_epochs", 2e9),
        ("train__pool_size", -1),
        ("train__ema_halflife", 0),
        ("log__metrics_every", 0),
        ("log__samples_every", 0),
        ("log__checkpoint_every", 0),
        ("log__sample_images", 0),
        ("log__keep_checkpoints", 0),
    ],
)
def test_a_value_out_of_range_is_rejected_by_name(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=re.escape(field.replace("__", "."))):
        changed(ExperimentConfig(), **{field: value})


def test_a_schedule_without_any_epoch_is_rejected() -> None:
    train = dataclasses.replace(ExperimentConfig().train, constant_epochs=0, decay_epochs=0)
    with pytest.raises(ValueError, match="constant_epochs"):
        ExperimentConfig(train=train)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("data__image_size", 32),
        ("data__crop_margin", 0),
        ("generator__res_blocks", 0),
        ("train__constant_epochs", 0),
        ("train__decay_epochs", 0),
        ("train__pool_size", 0),
        ("train__identity_weight", 0),
    ],
)
def test_the_ends_of_the_ranges_are_allowed(field: str, value: float) -> None:
    section, name = field.split("__")
    assert getattr(getattr(changed(ExperimentConfig(), **{field: value}), section), name) == value


def test_all_problems_are_told_at_once() -> None:
    train = dataclasses.replace(ExperimentConfig().train, batch_size=0, pool_size=-1)
    with pytest.raises(ValueError, match=r"train\.batch_size.*train\.pool_size"):
        ExperimentConfig(train=train)


def test_a_configuration_cannot_be_changed_in_place() -> None:
    config = ExperimentConfig()
    for section in (config, *(getattr(config, field.name) for field in dataclasses.fields(config))):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(section, dataclasses.fields(section)[0].name, None)


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("train", "ema_halflife", math.nan),
        ("train", "learning_rate", -1.0),
        ("train", "beta1", 1.0),
        ("train", "cycle_weight", math.nan),
        ("train", "constant_epochs", math.inf),
        ("train", "seed", -1),
        ("data", "crop_margin", math.nan),
    ],
)
def test_values_no_run_can_use_are_rejected(section: str, field: str, value: float) -> None:
    default = ExperimentConfig()
    changed = dataclasses.replace(getattr(default, section), **{field: value})
    with pytest.raises(ValueError, match=f"{section}.{field}"):
        dataclasses.replace(default, **{section: changed})


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [('"transpose"', '"foo"'), ('"flip": true', '"flip": "no"'), ('"seed": 0', '"seed": 0.5'),
     ('"batch_size": 1', '"batch_size": "1"')],
)  # fmt: skip
def test_from_json_rejects_values_of_another_type(ours: str, theirs: str) -> None:
    text = to_json(ExperimentConfig())
    assert ours in text
    with pytest.raises(ValueError, match="is no"):
        from_json(text.replace(ours, theirs))


def test_a_run_can_be_given_further_stages_and_rounds_and_nothing_else() -> None:
    old = ExperimentConfig()
    refined = changed(old, refine__images=8, refine__batch_size=4, refiner__features=8)
    assert differences(refined, old) == []
    assert differences(changed(refined, teach__images=8, teach__pixel_weight=3.0), refined) == []
    taught = changed(refined, teach__images=8)
    assert differences(changed(taught, train__rounds=2), taught) == []
    # A stage between others needs that these have not begun.
    inverted = changed(taught, train__rounds=2, invert__images=8, invert__pixel_weight=3.0)
    assert differences(inverted, taught) == []
    assert differences(changed(inverted, invert__pixel_weight=1.0), changed(taught, train__rounds=2)) == [
        "invert.images: 8 here, 0 in the run"
    ]
    assert differences(changed(taught, read__images=8), taught) == ["read.images: 8 here, 0 in the run"]
    assert differences(taught, changed(taught, train__rounds=2)) == ["train.rounds: 1 here, 2 in the run"]
    assert differences(changed(refined, refiner__features=16), refined) == ["refiner.features: 16 here, 8 in the run"]
    assert differences(old, refined)[0].startswith("refiner.features: 32 here, 8")


def test_of_paths_only_the_last_part_is_published() -> None:
    config = without_folders(
        changed(ExperimentConfig(), data__dir="/home/me/mine", train__init_from="/home/me/w.safetensors")
    )
    assert (config.data.dir, config.train.init_from) == ("mine", "w.safetensors")
    assert without_folders(ExperimentConfig()) == ExperimentConfig()
