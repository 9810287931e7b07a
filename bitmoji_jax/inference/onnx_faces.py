"""The networks of `models/face_networks.py` as ONNX models, written node by node from their parameters.

Each takes `images`, uint8 [N, size, size, 3] in sRGB, any N, whose size is that of `SIZES`. Weights are stored in
float16, as in the package, which loses nothing; everything is computed in float32. Needs the extra `export`.

    detector      rows [N, 896, 17]: a score in [0, 1], then eight points (x, y) in fractions of the image
    mesh          points [N, 468, 3] in pixels of the image; logit [N, 1] of there being a face
    segmentation  person [N, 256, 256]: each pixel's probability of a person

The docstrings of `detector`, `mesh` and `segmentation` say more.
"""

import importlib.metadata
from collections.abc import Callable

import numpy as np
from onnx import TensorProto, helper

from bitmoji_jax.inference.onnx_graph import Graph, Params
from bitmoji_jax.models import face_networks as networks
from bitmoji_jax.models.face_networks import SIZES, load_params

_Outputs = dict[str, list[int]]
"""Shapes behind N of the outputs, float32, by name."""


def face_network_to_onnx(name: str) -> bytes:
    """Serializes "detector", "mesh" or "segmentation"; the module's docstring names inputs and outputs."""
    size, metadata = SIZES[name], {"version": importlib.metadata.version("bitmoji-jax")}
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", size, size, 3])
    graph = Graph(half=True)
    x = graph.add("Cast", "images", name="to_float", to=TensorProto.FLOAT)
    x = graph.add("Transpose", x, name="to_nchw", perm=[0, 3, 1, 2])
    x = graph.add("Div", x, graph.constant("255", 255.0), name="to_range_1")
    shapes = _WRITERS[name](_FaceGraph(graph, load_params(name)), x)
    outputs = [
        helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", *shape]) for output, shape in shapes.items()
    ]
    description = "MediaPipe's network (Apache-2.0), written by bitmoji-jax; images are uint8 [N, height, width, RGB]."
    return graph.serialize(name, [images], outputs, metadata, description)


def add_mesh(graph: Graph, x: str, name: str) -> str:
    """Adds the points of the mesh to another graph: from [N, 3, 192, 192] in [0, 1] to [N, 468, 3] in pixels."""
    faces = _FaceGraph(graph, load_params("mesh"))
    return _mesh_points(faces, _mesh_trunk(faces, x), name)


class _FaceGraph:
    """The layers of the face networks, added to a graph; each method adds the function of its name in `networks`."""

    def __init__(self, graph: Graph, params: networks.Params) -> None:
        self.graph = graph
        self._params: Params = {
            name: {key: np.asarray(array) for key, array in layer.items()} for name, layer in params.items()
        }

    def conv(self, x: str, name: str, stride: int = 1, groups: int = 1) -> str:
        """Adds a convolution of an even or undivided side with the padding "SAME"."""
        return self.graph.same_conv(x, name, self._params[name], stride=stride, groups=groups)

    def depthwise(self, x: str, name: str, stride: int) -> str:
        return self.conv(x, name, stride, groups=self._params[name]["kernel"].shape[-1])

    def product(self, x: str, name: str) -> str:
        """Adds a convolution without padding: [N, C, h, w] -> [N, D, 1, 1] for a kernel [h, w, C, D]."""
        return self.graph.conv(x, name, self._params[name])

    def double(self, x: str, name: str) -> str:
        params = self._params[name]
        kernel = self.graph.weights(f"{name}/kernel", params["kernel"].transpose(2, 3, 0, 1))
        bias = self.graph.weights(f"{name}/bias", params["bias"])
        return self.graph.add("ConvTranspose", x, kernel, bias, name=name, kernel_shape=[2, 2], strides=[2, 2])

    def prelu(self, x: str, name: str) -> str:
        """Adds max(x, 0) + slope min(x, 0): the operator PRelu takes three times as long, and WebGPU has none."""
        slope = self.graph.weights(f"{name}/slope", self._params[name]["slope"][:, None, None])
        above = self.relu(x)
        below = self.graph.add("Sub", x, above, name=f"{name}/below")
        return self.plus(above, self.times(below, slope, f"{name}/sloped"), name)

    def relu(self, x: str) -> str:
        return self.graph.add("Relu", x, name=f"{x}/relu")

    def sigmoid(self, x: str) -> str:
        return self.graph.add("Sigmoid", x, name=f"{x}/sigmoid")

    def hard_swish(self, x: str) -> str:
        share = self.graph.add("HardSigmoid", x, name=f"{x}/hard_sigmoid", alpha=1 / 6, beta=0.5)
        return self.graph.add("Mul", x, share, name=f"{x}/hard_swish")

    def plus(self, x: str, y: str, name: str) -> str:
        return self.graph.add("Add", x, y, name=name)

    def times(self, x: str, y: str, name: str) -> str:
        return self.graph.add("Mul", x, y, name=name)

    def mean(self, x: str, name: str) -> str:
        return self.graph.add("GlobalAveragePool", x, name=f"{name}/mean")

    def shaped(self, x: str, shape: list[int], name: str) -> str:
        return self.graph.add("Reshape", x, self.graph.constant(f"{name}/shape", shape, np.int64), name=name)

    def blaze_block(self, x: str, name: str, stride: int) -> str:
        y = self.conv(self.depthwise(x, f"{name}.depthwise", stride), f"{name}.project")
        if stride == 2:
            x = self.graph.add("MaxPool", x, name=f"{name}/pool", kernel_shape=[2, 2], strides=[2, 2])
        narrow, wide = self._params[f"{name}.project"]["kernel"].shape[2:]
        if wide > narrow:
            pads = self.graph.constant(f"pads_{wide - narrow}", [0] * 5 + [wide - narrow, 0, 0], np.int64)
            x = self.graph.add("Pad", x, pads, name=f"{name}/widen")
        return self.plus(x, y, f"{name}/add")

    def mesh_block(self, x: str, name: str, stride: int) -> str:
        return self.prelu(self.blaze_block(x, name, stride), f"{name}.prelu")

    def mesh_head(self, x: str, name: str) -> str:
        x = self.prelu(self.conv(x, f"{name}.narrow"), f"{name}.narrow.prelu")
        return self.product(self.mesh_block(x, f"{name}.last", 1), f"{name}.out")

    def gate(self, x: str, name: str) -> str:
        squeezed = self.relu(self.conv(self.mean(x, name), f"{name}.squeeze"))
        return self.sigmoid(self.conv(squeezed, f"{name}.excite"))

    def inverted_residual(self, x: str, name: str, stride: int, hard_swish: bool, gated: bool, residual: bool) -> str:
        activation = self.hard_swish if hard_swish else self.relu
        y = activation(self.conv(x, f"{name}.expand"))
        y = activation(self.depthwise(y, f"{name}.depthwise", stride))
        if gated:
            y = self.times(y, self.gate(y, name), f"{name}/gated")
        y = self.conv(y, f"{name}.project")
        return self.plus(x, y, f"{name}/add") if residual else y

    def decode(self, x: str, skip: str, name: str, size: int) -> str:
        """Adds `_decode` of features of `size` pixels a side and of twice as many."""
        x = self.conv(self.graph.resize(x, size, 2 * size, f"{name}/double"), f"{name}.narrow")
        gate = self.gate(self.plus(x, skip, f"{name}/both"), name)
        x = self.plus(x, self.times(skip, gate, f"{name}/gated"), f"{name}/add_skip")
        x = self.relu(self.conv(x, f"{name}.mix"))
        return self.plus(x, self.relu(self.depthwise(x, f"{name}.depthwise", 1)), f"{name}/add")


def _detector(faces: _FaceGraph, x: str) -> _Outputs:
    graph, anchors = faces.graph, networks.anchors()
    x = graph.add("Mul", x, graph.constant("2", 2.0), name="to_range_2")
    x = graph.add("Sub", x, graph.constant("1", 1.0), name="centre")
    x = faces.relu(faces.conv(x, "stem", 2))
    for i, stride in enumerate(networks.DETECTOR_STRIDES):
        x = faces.relu(faces.blaze_block(x, f"block{i}", stride))
        if i == networks.FINE:
            fine = x

    def rows(features: str, name: str, columns: int) -> str:
        x = graph.add("Transpose", faces.conv(features, name), name=f"{name}/to_nhwc", perm=[0, 2, 3, 1])
        return faces.shaped(x, [0, -1, columns], f"{name}/rows")

    each = []
    for name, features in (("fine", fine), ("coarse", x)):
        scores = faces.sigmoid(rows(features, f"{name}.scores", 1))
        side = graph.constant("side", float(SIZES["detector"]))
        boxes = graph.add("Div", rows(features, f"{name}.boxes", 16), side, name=f"{name}/fractions")
        each.append(graph.add("Concat", scores, boxes, name=f"{name}/concat", axis=2))
    x = graph.add("Concat", *each, name="concat", axis=1)
    graph.add("Add", x, graph.weights("anchors", anchors), name="add_anchors", output="rows")
    return {"rows": list(anchors.shape)}


def _mesh(faces: _FaceGraph, x: str) -> _Outputs:
    x = _mesh_trunk(faces, x)
    face = faces.mesh_head(faces.mesh_block(x, "face.block0", 2), "face")
    _mesh_points(faces, x, "points")
    faces.shaped(face, [0, 1], "logit")
    return {"points": [468, 3], "logit": [1]}


def _mesh_trunk(faces: _FaceGraph, x: str) -> str:
    x = faces.prelu(faces.conv(x, "stem", 2), "stem.prelu")
    for i, stride in enumerate(networks.MESH_STRIDES):
        x = faces.mesh_block(x, f"block{i}", stride)
    return x


def _mesh_points(faces: _FaceGraph, x: str, name: str) -> str:
    for i, stride in enumerate((2, 1, 1)):
        x = faces.mesh_block(x, f"points.block{i}", stride)
    return faces.shaped(faces.mesh_head(x, "points"), [0, 468, 3], name)


def _segmentation(faces: _FaceGraph, x: str) -> _Outputs:
    x = faces.hard_swish(faces.conv(x, "stem", 2))
    skips = [x]
    for i, block in enumerate(networks.BLOCKS):
        x = faces.inverted_residual(x, f"block{i}", *block)
        if i in networks.SKIPS:
            skips.append(x)
    gate = faces.sigmoid(faces.conv(faces.mean(x, "pool"), "pool.gate"))
    x = faces.times(faces.relu(faces.conv(x, "pool")), gate, "pool/gated")
    size = SIZES["segmentation"]
    for i, skip in enumerate(reversed(skips)):
        x = faces.decode(x, skip, f"decode{i}", size >> (len(skips) + 1 - i))
    faces.shaped(faces.sigmoid(faces.double(x, "out")), [0, size, size], "person")
    return {"person": [size, size]}


_WRITERS: dict[str, Callable[[_FaceGraph, str], _Outputs]] = {
    "detector": _detector,
    "mesh": _mesh,
    "segmentation": _segmentation,
}
