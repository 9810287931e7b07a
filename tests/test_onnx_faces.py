"""The face networks as ONNX models against the live ones."""

import functools
from typing import Any

import numpy as np
import pytest

from bitmoji_jax.models.face_networks import SIZES, run_network
from tests.test_faces_networks import crops

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from bitmoji_jax.inference.onnx_faces import face_network_to_onnx  # noqa: E402

OUTPUTS = {"detector": ["rows"], "mesh": ["points", "logit"], "segmentation": ["person"]}


@functools.cache
def model(name: str) -> bytes:
    return face_network_to_onnx(name)


def run(name: str, images: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model(name), providers=["CPUExecutionProvider"])
    outputs: list[np.ndarray] = session.run(OUTPUTS[name], {"images": images})
    return outputs


def images(name: str) -> np.ndarray:
    """The astronaut's face from near and far, noise, black and white: uint8 [6, size, size, 3]."""
    noise = np.random.default_rng(0).integers(0, 256, (1, SIZES[name], SIZES[name], 3), dtype=np.uint8)
    return np.concatenate([crops(name), noise, 0 * noise, 0 * noise + 255])


@pytest.mark.parametrize("name", SIZES)
def test_a_model_computes_what_the_live_network_does(name: str) -> None:
    live = np.stack([run_network(name, image) for image in images(name)])
    expected = [live[:, :468], live[:, 468, :1]] if name == "mesh" else [live]
    for found, wanted in zip(run(name, images(name)), expected, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_the_models_see_the_face() -> None:
    (rows,) = run("detector", crops("detector"))
    assert (rows[..., 0].max(axis=1) > 0.5).all()
    points, logit = run("mesh", crops("mesh")[:1])
    assert logit[0, 0] > 13
    assert np.ptp(points[0, :, 0]) > 50
    (person,) = run("segmentation", crops("segmentation"))
    assert (person[:, 120:136, 120:136] > 0.8).all()


@pytest.mark.parametrize("name", SIZES)
def test_weights_are_stored_as_in_the_package(name: str) -> None:
    def values(kind: Any) -> int:
        arrays = onnx.load_from_string(model(name)).graph.initializer
        return sum(int(np.prod(array.dims)) for array in arrays if array.data_type == kind)

    assert values(onnx.TensorProto.FLOAT16) > 90_000
    assert values(onnx.TensorProto.FLOAT) < 40_000  # anchors, and the weights of resizing


def test_the_same_bytes_each_time() -> None:
    assert face_network_to_onnx("mesh") == model("mesh")
