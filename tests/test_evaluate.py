"""The evaluate command from end to end, on runs of a few steps."""

import dataclasses
import json
from pathlib import Path

import pytest

from bitmoji_jax.cli import main
from bitmoji_jax.config import DataConfig, ExperimentConfig
from bitmoji_jax.data import pipeline
from bitmoji_jax.data.synthetic.dataset import synthetic_dataset
from bitmoji_jax.errors import InputError
from bitmoji_jax.evaluation.evaluate import evaluate
from bitmoji_jax.training.train_loop import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Filled by the first test that needs it."""
    return tmp_path_factory.mktemp("evaluated")


def trained(config: ExperimentConfig, runs: Path) -> list[Path]:
    """Two short runs of different depth on the same data."""
    folders = [runs / "shallow", runs / "deep"]
    for folder, blocks in zip(folders, (0, 1), strict=True):
        if not folder.exists():
            generator = dataclasses.replace(config.generator, res_blocks=blocks)
            train(dataclasses.replace(config, generator=generator), folder)
    return folders


def test_runs_are_judged_side_by_side(
    tiny_config: ExperimentConfig, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shallow, deep = trained(tiny_config, runs)
    assert main(["evaluate", "--run", str(shallow), "--run", str(deep), "--out", str(tmp_path)]) == 0
    assert f"The report is {tmp_path / 'index.html'}" in capsys.readouterr().out
    text = (tmp_path / "scores.json").read_text()
    found = json.loads(text)
    assert list(found["runs"]) == ["shallow", "deep"]
    assert found["dataset"] == {"name": "tiny", "sizes": {"trainA": 12, "trainB": 9, "testA": 4, "testB": 3}}
    assert str(tmp_path) not in text
    assert str(runs) not in text
    run = found["runs"]["deep"]
    assert (run["checkpoint"], run["images_seen"], run["total_images"]) == ("best", 24, 24)
    assert run["generator"]["res_blocks"] == 1
    assert run["parameters"] > found["runs"]["shallow"]["parameters"]
    have = {name for name, score in run["scores"].items() if score["value"] is not None}
    assert {
        "kid_y",
        "kid_y_low_pass",
        "kid_x",
        "kid_squeezenet_y",
        "kid_squeezenet_x_low_pass",
        "shadow",
        "nearest_neighbour_ratio",
        "cycle_psnr_x",
        "checkerboard_2",
    } <= have
    # 12 images are too few to train a judge with; each score that needs one says so.
    for name in ("gender_kept", "landmarks_y", "skin_delta_e", "glasses_kept"):
        assert run["scores"][name]["value"] is None
        assert run["scores"][name]["note"]
    page = (tmp_path / "index.html").read_text()
    assert "shallow" in page
    assert "deep" in page


def test_the_synthetic_set_has_the_exact_error(
    tiny_config: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        pipeline,
        "synthetic_dataset",
        lambda size: synthetic_dataset(size, train_images=8, test_images=6, cache_dir=tmp_path / "cache"),
    )
    config = dataclasses.replace(
        tiny_config,
        data=dataclasses.replace(tiny_config.data, dir=None),
        train=dataclasses.replace(tiny_config.train, constant_epochs=0.5, decay_epochs=0),
    )
    train(config, tmp_path / "run")
    evaluation = evaluate([tmp_path / "run"], tmp_path / "report", checkpoint="latest")
    score = evaluation.runs[0].scores[0]
    assert (score.name, score.images) == ("paired_error", 6)
    assert set(score.references) == {"the mean avatar for everybody", "the photo itself"}
    assert evaluation.runs[0].per_image[0].name == "paired_error"
    assert evaluation.dataset == "synthetic"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--run"),
        (["--run", "nowhere"], "nowhere holds no run"),
        (["--run", "{shallow}", "--checkpoint", "5"], "has no checkpoint 5"),
        (["--run", "{shallow}", "--data", "nowhere"], "cannot open the dataset nowhere"),
        (["--run", "{shallow}", "--run", "{shallow}"], "named twice"),
    ],
)
def test_bad_usage_is_one_line(
    tiny_config: ExperimentConfig,
    runs: Path,
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shallow, _ = trained(tiny_config, runs)
    try:
        code = main(["evaluate", *(argument.format(shallow=shallow) for argument in arguments)])
    except SystemExit as usage:
        code = usage.code
    assert code == 2
    assert said in capsys.readouterr().err


def test_runs_of_different_data_need_to_be_told_on_which(
    tiny_config: ExperimentConfig, runs: Path, tmp_path: Path
) -> None:
    shallow, _ = trained(tiny_config, runs)
    other = tmp_path / "other"
    other.mkdir()
    text = (shallow / "config.json").read_text()
    (other / "config.json").write_text(text.replace(str(tiny_config.data.dir), "elsewhere"))
    (other / "checkpoints").symlink_to(shallow / "checkpoints")
    with pytest.raises(InputError, match="different datasets: say with --data"):
        evaluate([shallow, other], tmp_path / "report")


def test_data_of_its_own_is_used(tiny_config: ExperimentConfig, runs: Path, tmp_path: Path) -> None:
    shallow, _ = trained(tiny_config, runs)
    data = Path(DataConfig(dir=str(tiny_config.data.dir)).dir or "")
    evaluation = evaluate([shallow], tmp_path, data=data)
    assert evaluation.command == f"python -m bitmoji_jax evaluate --run shallow --data {data.name}"
