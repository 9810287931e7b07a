"""Benchmarks run and say what they promise; times are not looked at."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scaling import NETWORKS, Options, all_reduces, efficiencies, ring_seconds
from tests.processes import ROOT


def run(module: str, *flags: str) -> dict[str, Any]:
    command = [sys.executable, "-m", f"benchmarks.{module}", "--short", *flags]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=480).stdout
    return json.loads(output)


@pytest.mark.slow
def test_input_pipeline() -> None:
    (figures,) = run("input_pipeline")["sizes"].values()
    assert set(figures["cpu_us_an_image"]) == {"row", "decode", "decode_pillow"}
    assert set(figures["pairs_per_s"]) == {"1", "2"}
    assert all(0 <= share <= 1 for share in figures["wait_share"].values())


@pytest.mark.slow
def test_cold_start(tiny_dataset: Path) -> None:
    result = run("cold_start", "--data", str(tiny_dataset))
    cold, warm = result["cold"], result["warm"]
    assert "step" in cold["programs"]
    for phases in (cold, warm):
        assert 0 < phases["traced"] < phases["total"]
        assert 0 < phases["compiled"] < phases["total"]
    assert result["import_s"] > 0


@pytest.mark.slow
def test_same_losses(tiny_dataset: Path) -> None:
    result = run("same_losses", "--data", str(tiny_dataset))
    assert set(result["difference"]) == {"ours", "XLA's, disturbed 0"}
    for differences in result["difference"].values():
        assert differences[0] < 1e-4


@pytest.mark.slow
def test_train_step() -> None:
    (cell,) = run("train_step")["cells"]
    peers = {"PyTorch eager"} if importlib.util.find_spec("torch") else set()
    check_sides(cell, peers)


@pytest.mark.slow
def test_inference_whose_sides_agree() -> None:
    (cell,) = run("inference")["cells"]  # which stops where the avatars of one side are not those of ours
    peers = {"PyTorch eager"} if importlib.util.find_spec("torch") else set()
    check_sides(cell, peers | ({"ONNX Runtime"} if importlib.util.find_spec("onnxruntime") else set()))


def check_sides(cell: dict[str, Any], peers: set[str]) -> None:
    assert set(cell["sides"]) == {"ours"} | peers
    assert set(cell["ratios"]) == peers
    for figures in cell["sides"].values():
        assert 0 < figures["wall_ms"]["min"] <= figures["wall_ms"]["median"] <= figures["wall_ms"]["max"]
        assert figures["peak_mb"] > 0
    assert cell["gflop"] > 0


@pytest.mark.slow
def test_scaling_finds_the_gradients_and_the_metrics_in_the_program() -> None:
    result = run("scaling")
    metrics = result["all_reduced_bytes"] - sum(result["parameter_bytes"].values())
    assert 0 < metrics <= 4 * 16  # a float each
    assert metrics % 4 == 0
    assert 0 < result["all_reduces"]["compiled"] <= result["all_reduces"]["handed_to_xla"]


def test_bytes_of_all_reduces_are_read_from_tuples_and_single_arrays() -> None:
    program = """
    %a = (f32[4]{0}, f32[7,7,3,4]{3,2,1,0}, /*index=2*/bf16[2]{0}) all-reduce(%x, %y, %z), channel_id=1
    %b = f32[] all-reduce-start(%w), to_apply=%add
    %c = f32[4]{0} get-tuple-element(%a), index=0
    """
    assert all_reduces(program) == [4 * 4 + 4 * 588 + 2 * 2, 4]


def test_ring_takes_the_slow_link_past_a_node_and_every_lever_helps() -> None:
    network = NETWORKS["NVLink + InfiniBand NDR"]
    assert ring_seconds(450e9, 8, network, 0) == pytest.approx(2 * 7 / 8)
    assert ring_seconds(50e9, 16, network, 0) == pytest.approx(2 * 15 / 16)
    assert ring_seconds(0, 8, network, 1e-6, collectives=2) == pytest.approx(28e-6)
    values = efficiencies(Options(), {"generators": 40_000_000, "discriminators": 20_000_000}, network, 64)
    assert all(values["plain"] < value < 1 for name, value in values.items() if name != "plain")


def test_importing_the_trainer_loads_nothing_that_draws_or_only_judges() -> None:
    code = "import sys, launch, bitmoji_jax; bitmoji_jax.train; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    unneeded = {"scipy.ndimage", "tensorflow", "python_avatars", "resvg_py", "jinja2", "matplotlib", "skimage"}
    assert not unneeded & set(modules.split())


def test_importing_the_launcher_loads_no_jax() -> None:
    code = "import sys, launch; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert not {"jax", "numpy", "tensorflow_datasets"} & set(modules.split())
