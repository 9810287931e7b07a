"""What importing the package and the launcher loads."""

import subprocess
import sys

from tests.processes import ROOT


def modules_after(code: str) -> set[str]:
    command = [sys.executable, "-c", f"import sys, launch; {code}; print(*sys.modules)"]
    return set(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split())


def test_importing_the_trainer_loads_nothing_that_only_draws_or_evaluates() -> None:
    modules = modules_after("import bitmoji_jax; bitmoji_jax.train")
    unneeded = {"scipy.ndimage", "tensorflow", "python_avatars", "resvg_py", "jinja2", "matplotlib", "skimage"}
    assert not unneeded & modules


def test_importing_the_launcher_loads_no_jax() -> None:
    assert not {"jax", "numpy", "tensorflow_datasets"} & modules_after("pass")
