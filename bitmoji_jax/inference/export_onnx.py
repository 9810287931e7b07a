"""G as an ONNX model, written node by node from the parameters. Needs the extra `export`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bitmoji_jax.config import GeneratorConfig
from bitmoji_jax.inference.weights import Weights, export_metadata

# The oldest opset with all operators in the form used here: ONNX Runtime reads it since 1.6, its builds for the web and
# for phones included.
_OPSET, _IR_VERSION = 13, 7

_Params = Mapping[str, Any]


def to_onnx(weights: Weights) -> bytes:
    """Serializes G: input `photos`, uint8 [N, size, size, 3], any N; output `avatars`, of the same shape and type.

    Computes in float32, also where `train.compute_dtype` is another. Nodes and arrays are named like the weights:
    "ResidualBlock_0/Conv_1". The model's metadata is that of `export_metadata`. The same weights give the same bytes.
    """
    size, metadata = weights.config.data.image_size, export_metadata(weights)
    photos, avatars = (
        helper.make_tensor_value_info(name, TensorProto.UINT8, ["N", size, size, 3]) for name in ("photos", "avatars")
    )
    graph = _Graph()
    x = graph.add("Cast", "photos", name="to_float", to=TensorProto.FLOAT)
    x = graph.add("Transpose", x, name="to_nchw", perm=[0, 3, 1, 2])
    x = graph.add("Div", x, graph.constant("127.5", 127.5), name="to_range_2")
    x = graph.add("Sub", x, graph.constant("1", 1.0), name="centre")
    # A further input of G would be concatenated here, along axis 1, and be listed with `photos` below.
    x = _generator(graph, x, weights.networks["g"]["params"], weights.config.generator)
    x = graph.add("Add", x, "1", name="from_centre")
    x = graph.add("Mul", x, "127.5", name="to_grey_levels")
    x = graph.add("Round", x, name="round")  # halves to even, as jnp.round does
    x = graph.add("Clip", x, graph.constant("0", 0.0), graph.constant("255", 255.0), name="clip")
    x = graph.add("Transpose", x, name="to_nhwc", perm=[0, 2, 3, 1])
    graph.add("Cast", x, name="to_uint8", output="avatars", to=TensorProto.UINT8)

    model = helper.make_model(
        helper.make_graph(graph.nodes, "bitmoji_x2y", [photos], [avatars], graph.arrays),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="bitmoji-jax",
        producer_version=metadata["version"],
        doc_string="Aligned photos to avatars; both are uint8 [N, height, width, RGB].",
    )
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def _generator(graph: "_Graph", x: str, params: _Params, config: GeneratorConfig) -> str:
    """Adds `models/generator.py` to a graph: from [N, 3, H, W] in [-1, 1] to the same."""
    k = config.features
    x = graph.reflect_pad(x, 3, "Conv_0/pad")
    x = graph.norm_relu(graph.conv(x, "Conv_0", params["Conv_0"]), k)
    skips = [x]
    for name, features in (("Conv_1", 2 * k), ("Conv_2", 4 * k)):
        x = graph.norm_relu(graph.conv(x, name, params[name], stride=2, padding=1), features)
        skips.append(x)

    for i in range(config.res_blocks):
        block = f"ResidualBlock_{i}"
        y = graph.reflect_pad(x, 1, f"{block}/Conv_0/pad")
        y = graph.norm_relu(graph.conv(y, f"{block}/Conv_0", params[block]["Conv_0"]), 4 * k)
        y = graph.reflect_pad(y, 1, f"{block}/Conv_1/pad")
        y = graph.instance_norm(graph.conv(y, f"{block}/Conv_1", params[block]["Conv_1"]), 4 * k)
        x = graph.add("Add", x, y, name=f"{block}/add")

    for i, (features, skip) in enumerate(((2 * k, skips[1]), (k, skips[0]))):
        stage = f"Upsample_{i}"
        x = graph.norm_relu(_upsample(graph, x, stage, params[stage], config), features)
        if config.skips:
            x = graph.add("Concat", x, skip, name=f"{stage}/concat", axis=1)

    x = graph.reflect_pad(x, 3, "Conv_3/pad")
    return graph.add("Tanh", graph.conv(x, "Conv_3", params["Conv_3"]), name="tanh")


def _upsample(graph: "_Graph", x: str, stage: str, params: _Params, config: GeneratorConfig) -> str:
    if config.upsample == "transpose":
        return graph.conv_transpose(x, f"{stage}/ConvTranspose_0", params["ConvTranspose_0"])
    if config.upsample == "nearest":
        x = graph.repeat_pixels(x, f"{stage}/resize")
        return graph.conv(x, f"{stage}/Conv_0", params["Conv_0"], padding=1)
    x = graph.conv(x, f"{stage}/Conv_0", params["Conv_0"], padding=1)
    return graph.add("DepthToSpace", x, name=f"{stage}/depth_to_space", blocksize=2, mode="DCR")


class _Graph:
    """Nodes and constant arrays. Adding a node returns the name of its output, by default the node's own name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.arrays: list[onnx.TensorProto] = []
        self._names: set[str] = set()

    def add(self, operator: str, *inputs: str, name: str, output: str | None = None, **attributes: Any) -> str:
        output = output or name
        self.nodes.append(helper.make_node(operator, inputs, [output], name=name, **attributes))
        return output

    def constant(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        """Adds an array, unless there is one of this name; returns the name."""
        if name not in self._names:
            self._names.add(name)
            self.arrays.append(numpy_helper.from_array(np.array(values, dtype, order="C"), name))
        return name

    def conv(self, x: str, name: str, params: _Params, *, stride: int = 1, padding: int = 0) -> str:
        kernel = np.transpose(params["kernel"], (3, 2, 0, 1))  # height, width, in, out -> out, in, height, width
        return self._convolve("Conv", x, name, kernel, params["bias"], strides=[stride] * 2, pads=[padding] * 4)

    def conv_transpose(self, x: str, name: str, params: _Params) -> str:
        # Flax gathers from the dilated input, ONNX scatters from the input: one's kernel is the other's, turned.
        kernel = np.transpose(params["kernel"], (2, 3, 0, 1))[:, :, ::-1, ::-1]  # -> in, out, height, width
        kwargs = {"strides": [2] * 2, "pads": [1] * 4, "output_padding": [1] * 2}
        return self._convolve("ConvTranspose", x, name, kernel, params["bias"], **kwargs)

    def _convolve(self, operator: str, x: str, name: str, kernel: Any, bias: Any, **attributes: Any) -> str:
        arrays = (self.constant(f"{name}/kernel", kernel), self.constant(f"{name}/bias", bias))
        return self.add(operator, x, *arrays, name=name, kernel_shape=list(kernel.shape[2:]), **attributes)

    def reflect_pad(self, x: str, size: int, name: str) -> str:
        pads = self.constant(f"pads_{size}", [0, 0, size, size] * 2, np.int64)
        return self.add("Pad", x, pads, name=name, mode="reflect")

    def instance_norm(self, x: str, channels: int) -> str:
        scale = self.constant(f"ones_{channels}", np.ones(channels))
        shift = self.constant(f"zeros_{channels}", np.zeros(channels))
        return self.add("InstanceNormalization", x, scale, shift, name=f"{x}/norm", epsilon=1e-5)

    def norm_relu(self, x: str, channels: int) -> str:
        return self.add("Relu", self.instance_norm(x, channels), name=f"{x}/relu")

    def repeat_pixels(self, x: str, name: str) -> str:
        scales = self.constant("scales", [1, 1, 2, 2])
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.add("Resize", x, "", scales, name=name, **how)
