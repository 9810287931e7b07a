"""The recipes of docs/design.md, made in a copy of the package: a step is trained with them, and a score is taken."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from bitmoji_jax.inference.translator import Translator
from tests.tiny_images import COUNTS

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r'^```(\w+) title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)

# Runs in the copy. Trains one step of a tiny experiment with all recipes, and prints what each of them changed.
CHECK = """
import json, sys, types
import jax, numpy as np, onnxruntime
import bitmoji_jax, experiments
from bitmoji_jax import launcher
from bitmoji_jax.config import ADDED_FIELDS, from_json, to_json
from bitmoji_jax.evaluation import evaluate, set_scores
from bitmoji_jax.inference.export_onnx import to_onnx
from bitmoji_jax.inference.export_stablehlo import to_stablehlo
from bitmoji_jax.inference.translator import Translator
from bitmoji_jax.inference.weights import Weights, pretrained_weights
from bitmoji_jax.models.networks import network_shapes
from bitmoji_jax.parallel import make_mesh
from bitmoji_jax.training.train_state import create_train_state
from bitmoji_jax.training.train_step import make_train_step
from bitmoji_jax.training.translate_stage import translate_stage

words = "--exp mine --data.image-size 32 --generator.features 4 --generator.res-blocks 0 --discriminator.features 4"
words += " --train.batch-size 1 --train.palette-weight 2 --discriminator.features-weight 0.5"
words += " --data.landmark-maps"
config = launcher.parse(words.split(), experiments, prog="launch.py").config
mesh = make_mesh(jax.devices()[:1])
stage = translate_stage(config, 12)
state, pools = create_train_state(stage, mesh)
state = jax.device_get(state)
rng = np.random.default_rng(0)
images = {d: rng.integers(0, 256, (1, 1, 32, 32, 3), dtype=np.uint8) for d in "xy"}
landmarks = rng.uniform(0.2, 0.8, (1, 1, 5, 2)).astype(np.float32)
batch = {d: {"image": images[d], "landmarks": landmarks, "gender": np.zeros((1, 1), np.int32)} for d in "xy"}
after, _, metrics = make_train_step(stage)(state, pools, batch)
weights = Weights(config, 1, jax.device_get(after.generators))
avatars = Translator.from_weights(weights)(images["x"][0]).astype(int)
with open("exported", "wb") as file:
    file.write(to_stablehlo(weights))
session = onnxruntime.InferenceSession(to_onnx(weights), providers=["CPUExecutionProvider"])
exported = {
    "stablehlo": Translator.from_file("exported")(images["x"][0]),
    "onnx": session.run(None, {"photos": images["x"][0]})[0],
}
expected = {name: network_shapes(config, name) for name in "gf"}
shapes = jax.tree.map(lambda leaf: leaf.shape, (after.generators, expected))
black, white = np.zeros((2, 32, 32, 3), np.uint8), np.full((2, 32, 32, 3), 255, np.uint8)
half = np.concatenate([black, white])
outputs = types.SimpleNamespace(fake_y=half, test_set=types.SimpleNamespace(images={"y": black}))
print(json.dumps({
    "package": bitmoji_jax.__file__,
    "config": [config.data.image_size, launcher.parse(["--exp", "mine"], experiments, prog="").config.train.batch_size],
    "round trip": from_json(to_json(config)) == config,
    "added": ADDED_FIELDS,
    "pretrained": pretrained_weights().config.train.palette_weight,
    "metrics": {name: float(value) for name, value in metrics.items()},
    "frozen stays": all(map(np.array_equal, jax.tree.leaves(state.frozen), jax.tree.leaves(after.frozen))),
    "frozen": sorted(after.frozen),
    "critic learns": not all(
        map(np.array_equal, jax.tree.leaves(state.discriminators["d_y_features"]),
            jax.tree.leaves(after.discriminators["d_y_features"]))
    ),
    "shapes agree": shapes[0] == shapes[1],
    "input channels": after.generators["g"]["params"]["Conv_0"]["kernel"].shape[2],
    "avatars": avatars.shape,
    "differences": {name: int(np.abs(avatars - other).max()) for name, other in exported.items()},
    "score": set_scores.outlines(outputs).value,
    "in the report": "outlines" in evaluate._scores.__code__.co_names,
}))
"""


def recipes() -> list[tuple[str, str, str]]:
    """(language, file, text) of each block of docs/design.md that is titled with a file."""
    return BLOCK.findall((ROOT / "docs" / "design.md").read_text())


def change(text: str, diff: str) -> str:
    """Makes the changes of a diff in which `@@` parts places; a place without context is the end of the text."""
    for place in diff.split("@@\n"):
        lines = place.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] in " -")
        new = "".join(line[1:] for line in lines if line[0] in " +")
        if not old:
            text += new
            continue
        assert text.count(old) == 1, f"the documentation shows lines that are not in the file once:\n{old}"
        text = text.replace(old, new)
    return text


@pytest.mark.slow
def test_the_recipes_work(tmp_path: Path) -> None:
    for name in ("bitmoji_jax", "experiments"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "launch.py", tmp_path)
    for language, name, text in recipes():
        path = tmp_path / name
        if language == "diff":
            path.write_text(change(path.read_text(), text))
        elif not path.exists() and name.partition("/")[0] in ("bitmoji_jax", "experiments"):
            path.write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", CHECK], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])

    assert Path(found["package"]).is_relative_to(tmp_path)
    # The experiment, and values from the command line over its own.
    assert found["config"] == [32, 4]
    # The fields: written, read back, and absent from earlier files.
    assert found["round trip"]
    assert found["added"]["train"]["palette_weight"] == found["pretrained"] == 0.0
    # The loss and the critic are in the metrics, and count in the sum.
    metrics = found["metrics"]
    weights = {"palette_x": 2, "palette_y": 2, "adversarial_g_features": 0.5, "adversarial_g": 1, "adversarial_f": 1}
    weights |= {"cycle_x": 10, "cycle_y": 10, "identity_x": 5, "identity_y": 5}
    assert metrics["loss_generators"] == pytest.approx(sum(w * metrics[name] for name, w in weights.items()), rel=1e-5)
    assert metrics["palette_x"] > 0
    assert metrics["loss_d_y_features"] > 0
    assert found["frozen"] == ["efficientnet"]
    assert found["frozen stays"]
    assert found["critic learns"]
    # The condition is five more channels in training, translation and both exports.
    assert found["shapes agree"]
    assert found["input channels"] == 8
    assert found["avatars"] == [1, 32, 32, 3]
    assert max(found["differences"].values()) <= 1
    # The score: half of the pixels are dark, against all of the real ones.
    assert found["score"] == 0.5
    assert found["in the report"]


def test_the_documentation_writes_test_images(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs" / "evaluation.md").read_text()
    (program,) = (code for _, name, code in BLOCK.findall(text) if name == "write_test_images.py")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine").symlink_to(tiny_dataset)

    translator = Translator({"x2y": lambda images: images[:, ::2, ::2]}, size=16, cut_out=False)
    monkeypatch.setattr(Translator, "from_run", {"runs/res5": translator}.__getitem__)
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "write_test_images.py", "exec"), {})
    for name, split in (("translated", "testA"), ("real", "testB")):
        files = sorted((tmp_path / "fid" / name).iterdir())
        assert len(files) == COUNTS[split]
        assert Image.open(files[0]).size == (16, 16)
