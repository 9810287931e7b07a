"""The evaluate command from end to end, on runs with random weights."""

import contextlib
import dataclasses
import functools
import io
import json
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from bitmoji_jax.cli import main
from bitmoji_jax.config import (
    DataConfig,
    ExperimentConfig,
    GeneratorConfig,
    PairConfig,
    RefinerConfig,
    TrainConfig,
    to_json,
)
from bitmoji_jax.data import pipeline
from bitmoji_jax.data.fingerprint import Contents, keep_contents
from bitmoji_jax.data.synthetic.dataset import synthetic_dataset
from bitmoji_jax.errors import InputError
from bitmoji_jax.evaluation import evaluate as evaluate_module
from bitmoji_jax.evaluation.evaluate import evaluate
from bitmoji_jax.inference.weights import BEST, Weights, save_weights
from bitmoji_jax.models import features
from bitmoji_jax.models.networks import network_shapes
from tests.tiny_images import SIZE

pytestmark = pytest.mark.slow


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """Two runs of the synthetic set and their report."""

    shallow: Path
    report: Path
    output: str


def write_run(folder: Path, blocks: int, data: str | None = None, networks: str = "gf") -> None:
    """What `evaluate` reads of a run of 4 images: random weights, and metrics whose last line is unfinished."""
    config = ExperimentConfig(
        data=DataConfig(dir=data, image_size=SIZE, read_threads=1),
        generator=GeneratorConfig(features=4, res_blocks=blocks),
        refiner=RefinerConfig(output_size=64, features=8),
        refine=PairConfig(images=8),
        train=TrainConfig(batch_size=2, constant_epochs=0.5, decay_epochs=0, compute_dtype="float32"),
    )
    rng = np.random.default_rng(0)
    shapes = {name: network_shapes(config, name) for name in networks}
    parameters = jax.tree.map(lambda leaf: rng.normal(0, 0.1, leaf.shape), shapes)
    (folder / "checkpoints" / "4").mkdir(parents=True)
    (folder / "config.json").write_text(to_json(config))
    (folder / "metrics.jsonl").write_text('{"images": 4, "epoch": 0.5, "cycle_x": 0.3}\n{"images": 8, "cyc')
    save_weights(folder / BEST, Weights(config, 4, parameters))


@pytest.fixture(scope="module", autouse=True)
def _small_batches() -> Iterator[None]:
    """6 images need not be padded to 32."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "_BATCH", 8)
        yield


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """Evaluates two runs of different depth side by side, on a small synthetic set."""
    folder, output = tmp_path_factory.mktemp("evaluated"), io.StringIO()
    write_run(folder / "shallow", 0)
    write_run(folder / "deep", 1)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        small = functools.partial(synthetic_dataset, train_images=8, test_images=6, cache_dir=folder / "cache")
        patch.setattr(pipeline, "synthetic_dataset", small)
        runs = ["--run", str(folder / "shallow"), "--run", str(folder / "deep")]
        assert main(["evaluate", *runs, "--out", str(folder / "report")]) == 0
    return Evaluated(folder / "shallow", folder / "report", output.getvalue())


def test_runs_are_scored_side_by_side(evaluated: Evaluated) -> None:
    assert f"The report is {evaluated.report / 'index.html'}" in evaluated.output
    assert "  Cycle: photo to avatar and back (dB), higher is better\n" in evaluated.output
    assert "  worst group: none, of those with 20 photos or more\n" in evaluated.output  # of 6 photos
    text = (evaluated.report / "scores.json").read_text()
    found = json.loads(text)
    assert list(found["runs"]) == ["shallow", "deep"]
    assert found["dataset"] == {"name": "synthetic", "sizes": {"trainA": 8, "trainB": 8, "testA": 6, "testB": 6}}
    assert str(evaluated.report.parent) not in text
    run = found["runs"]["deep"]
    assert (run["checkpoint"], run["images_seen"], run["total_images"]) == ("best", 4, 4)
    assert run["generator"]["res_blocks"] == 1
    assert run["parameters"] > found["runs"]["shallow"]["parameters"]
    computed = {name for name, score in run["scores"].items() if score["value"] is not None}
    assert {
        "kid_squeezenet_y_64",
        "kid_efficientnet_y_64_low_pass",
        "kid_squeezenet_x_64",
        "shadow",
        "cycle_psnr_x",
        "checkerboard_2",
    } <= computed
    page = (evaluated.report / "index.html").read_text()
    assert "shallow" in page
    assert "deep" in page


def test_the_synthetic_set_has_the_exact_error(evaluated: Evaluated) -> None:
    scores = json.loads((evaluated.report / "scores.json").read_text())["runs"]["shallow"]["scores"]
    assert next(iter(scores)) == "paired_error"
    assert scores["paired_error"]["images"] == 6
    assert set(scores["paired_error"]["references"]) == {"the mean avatar for everybody", "the photo itself"}


def test_another_dataset_is_used_and_too_few_labels_are_named(
    evaluated: Evaluated, tiny_dataset: Path, tmp_path: Path
) -> None:
    evaluation = evaluate([evaluated.shallow], tmp_path, data=tiny_dataset)
    assert evaluation.command == "python -m bitmoji_jax evaluate --run shallow --data tiny"
    assert (evaluation.dataset, evaluation.sizes["testA"]) == ("tiny", 4)
    scores = {score.name: score for score in evaluation.runs[0].scores}
    assert "paired_error" not in scores
    likeness = ("landmarks_whitened", "landmarks_whitened_ratio", "landmark_correlation", "mouth_open_kept")
    for name in ("gender_kept", "landmarks_y", "skin_delta_e", "glasses_kept", *likeness):
        assert scores[name].value is None
        assert "needed" in scores[name].note


def test_avatars_larger_than_the_dataset_and_weights_without_an_f_are_scored(
    tiny_dataset: Path, tmp_path: Path
) -> None:
    write_run(tmp_path / "refined", 0, str(tiny_dataset), networks="gr")
    (run,) = evaluate([tmp_path / "refined"], tmp_path / "report").runs
    assert run.avatars.shape[1:] == run.real_avatars.shape[1:] == (64, 64, 3)
    assert (len(run.fake_photos), run.total_images) == (0, 8)
    scores = {score.name: score for score in run.scores}
    for name in ("kid_squeezenet_x_64", "landmarks_x", "landmarks_x_ratio", "cycle_psnr_x", "high_frequency_hiding"):
        assert scores[name].value is None
        assert "no F" in scores[name].note
    assert scores["kid_squeezenet_y_64"].value is not None
    assert scores["shadow"].value is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--run"),
        (["--run", "nowhere"], "nowhere holds no run"),
        (["--run", "{shallow}", "--checkpoint", "5"], "has no checkpoint 5"),
        (["--run", "{shallow}", "--data", "nowhere"], "cannot open the dataset nowhere"),
        (["--run", "{shallow}", "--run", "{shallow}"], "named twice"),
    ],
)
def test_bad_usage_is_one_line(
    evaluated: Evaluated, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["evaluate", *(argument.format(shallow=evaluated.shallow) for argument in arguments)])
    except SystemExit as usage:
        code = usage.code
    assert code == 2
    assert message in capsys.readouterr().err


def test_a_run_whose_dataset_was_moved_is_scored_on_it_where_it_is_named(
    tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "run", 0, str(tmp_path / "gone"))
    keep_contents(tmp_path / "run", pipeline.open_dataset(DataConfig(dir=str(tiny_dataset))).contents())
    with pytest.raises(InputError, match="gone, which is not there: say where it is now, --data DIR"):
        evaluate([tmp_path / "run"], tmp_path / "report")
    # That far is enough: what follows is as in the other tests.
    monkeypatch.setattr(evaluate_module, "load_judges", lambda *_: exec("raise KeyboardInterrupt"))
    for said in ("run was trained on this dataset", "run was trained on another dataset (trainA 1)"):
        with pytest.raises(KeyboardInterrupt):
            evaluate([tmp_path / "run"], tmp_path / "report", data=tiny_dataset)
        assert said in capsys.readouterr().out
        keep_contents(tmp_path / "run", Contents({"trainA": 1}, "0123"))


def test_runs_of_different_datasets_need_one_named(evaluated: Evaluated, tmp_path: Path) -> None:
    write_run(tmp_path / "other", 0, data="elsewhere")
    with pytest.raises(InputError, match=r"different datasets: name one .* --data"):
        evaluate([evaluated.shallow, tmp_path / "other"], tmp_path / "report")
