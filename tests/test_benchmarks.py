"""Each benchmark runs on tiny networks and prints its figures; the times are not checked."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.processes import ROOT, STUCK

pytestmark = [pytest.mark.benchmark, pytest.mark.slow]


def run(module: str, *flags: str) -> dict[str, Any]:
    command = [sys.executable, "-m", f"benchmarks.{module}", "--short", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=STUCK)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_input_pipeline() -> None:
    (figures,) = run("input_pipeline")["sizes"].values()
    assert set(figures["cpu_us_an_image"]) == {"row", "decode", "decode_pillow"}
    assert set(figures["pairs_per_s"]) == {"1", "2"}
    assert all(0 <= share <= 1 for share in figures["wait_share"].values())


def test_cold_start(tiny_dataset: Path) -> None:
    result = run("cold_start", "--data", str(tiny_dataset))
    cold, warm = result["cold"], result["warm"]
    assert "step" in cold["programs"]
    for phases in (cold, warm):
        assert 0 < phases["traced"] < phases["total"]
        assert 0 < phases["compiled"] < phases["total"]
    assert result["import_s"] > 0


def test_same_losses(tiny_dataset: Path) -> None:
    result = run("same_losses", "--data", str(tiny_dataset))
    assert set(result["difference"]) == {"ours", "XLA's, disturbed 0"}
    for differences in result["difference"].values():
        assert differences[0] < 1e-4


def test_train_step() -> None:
    (cell,) = run("train_step")["cells"]
    peers = {"PyTorch eager"} if importlib.util.find_spec("torch") else set()
    check_sides(cell, peers)


def test_inference() -> None:
    (cell,) = run("inference")["cells"]  # it fails if the avatars of another side differ from ours
    peers = {"PyTorch eager"} if importlib.util.find_spec("torch") else set()
    check_sides(cell, peers | ({"ONNX Runtime"} if importlib.util.find_spec("onnxruntime") else set()))


def check_sides(cell: dict[str, Any], peers: set[str]) -> None:
    assert set(cell["sides"]) == {"ours"} | peers
    assert set(cell["ratios"]) == peers
    for figures in cell["sides"].values():
        assert 0 < figures["wall_ms"]["min"] <= figures["wall_ms"]["median"] <= figures["wall_ms"]["max"]
        assert figures["peak_mb"] > 0
    assert cell["gflop"] > 0


def test_scaling_counts_the_gradients_and_the_metrics() -> None:
    result = run("scaling")
    metrics = result["all_reduced_bytes"] - sum(result["parameter_bytes"].values())
    assert 0 < metrics <= 4 * 16  # a float each
    assert metrics % 4 == 0
    assert 0 < result["all_reduces"]["compiled"] <= result["all_reduces"]["before_xla"]


def test_look_hides_avatars_among_real_ones(tiny_dataset: Path, tmp_path: Path) -> None:
    def look(out: Path, *flags: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "benchmarks.look", "--data", str(tiny_dataset), "--out", str(out), *flags]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=STUCK)
        assert done.returncode == 0, done.stderr
        return json.loads((out / "key.json").read_text())

    first, again = look(tmp_path / "first", "--count", "3"), look(tmp_path / "again", "--count", "3")
    assert list(first) == ["1", "2", "3", "4", "5", "6"]
    assert sorted(avatar["avatar"] for avatar in first.values()) == ["made"] * 3 + ["real"] * 3
    assert first == again
    for name, size in (("avatars_1.png", (6 * 128, 144)), ("pairs_1.png", (8 * 256, 144))):
        files = [tmp_path / folder / name for folder in ("first", "again")]
        assert files[0].read_bytes() == files[1].read_bytes()
        with Image.open(files[0]) as sheet:
            assert sheet.size == size


def test_kill_soak(tiny_dataset: Path) -> None:
    result = run("kill_soak", "--data", str(tiny_dataset), "--epochs", "8")
    assert len(result["kills"]) == 3
    assert result["different"] == []
