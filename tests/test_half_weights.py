"""The benchmark of float16 weights, with functions in place of the networks."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import half_weights
from benchmarks.half_weights import Options, main
from tests.tiny_images import SIZE


def test_a_shift_is_printed_for_each_pair_of_sets(
    tiny_dataset: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def exact(images: np.ndarray) -> np.ndarray:
        return images.mean(axis=(1, 2)).astype(np.float32) / 255

    monkeypatch.setattr(half_weights, "networks", lambda: {"net": (exact, lambda images: 1.1 * exact(images))})
    main(Options(data=str(tiny_dataset), size=SIZE))
    _, *rows, time = capsys.readouterr().out.splitlines()
    assert len(rows) == 4
    for row in rows:
        float32, float16, shift, sd = map(float, row.split()[-4:])
        assert shift == pytest.approx(float16 - float32, abs=2e-3)
        assert sd >= 0
    assert any(float(row.split()[-2]) != 0 for row in rows)
    assert time.endswith("ms an image")
