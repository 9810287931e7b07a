"""The notebook, executed on tiny settings."""

import os
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT

nbclient = pytest.importorskip("nbclient", reason="pip install -e '.[examples]'")
nbformat = pytest.importorskip("nbformat", reason="pip install -e '.[examples]'")
pytest.importorskip("ipykernel", reason="pip install -e '.[examples]'")

TINY = """PICTURES = 24
FLAGS = "--exp demo --generator.features 4 --generator.res-blocks 0 --discriminator.features 4"
FLAGS += " --refine.images 0 --teach.images 0"
FLAGS += " --train.constant-epochs 1 --train.decay-epochs 1 --log.metrics-every 8"
"""


def notebook() -> "nbformat.NotebookNode":
    return nbformat.read(ROOT / "examples" / "quickstart.ipynb", as_version=4)


def test_no_output_is_an_error_or_large_or_names_a_folder_of_its_author() -> None:
    outputs = [output for cell in notebook().cells for output in cell.get("outputs", [])]
    text = nbformat.v4.writes(notebook())
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert len(text) < 1_500_000
    assert "/home/" not in text
    assert "/root/" not in text


@pytest.mark.slow
def test_it_prepares_trains_translates_and_exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    executed = notebook()
    (settings,) = [cell for cell in executed.cells if "parameters" in cell.metadata.get("tags", [])]
    settings.source = TINY
    client = nbclient.NotebookClient(executed, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
    client.execute()  # an exception of a cell is one here
    assert (tmp_path / "avatar.onnx").exists()
    (difference,) = executed.cells[-1].outputs
    assert float(difference.text.split()[-1]) <= 1
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4  # samples, errors, avatars, astronaut
