"""A graph of ONNX operators under construction: nodes, their arrays, and the layers that the networks are made of."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# The oldest opset with all operators in the form used here (GridSample): ONNX Runtime reads it since 1.12, its builds
# for the web and for phones included.
_OPSET, _IR_VERSION = 16, 8

Params = Mapping[str, Any]
"""Arrays of a layer or of a network, by name."""


class Graph:
    """Nodes and constant arrays. Adding a node returns the name of its output, by default the node's own name."""

    def __init__(self, *, half: bool = False) -> None:
        """With `half`, weights of layers are stored in float16 and converted to float32 when the file is loaded."""
        self.nodes: list[onnx.NodeProto] = []
        self.arrays: list[onnx.TensorProto] = []
        self._names: set[str] = set()
        self._half, self._prefix = half, ""

    def within(self, prefix: str) -> "Graph":
        """Returns this graph as one that adds nodes whose names begin with a prefix; arrays keep theirs.

        So a network can be applied twice with the same weights.
        """
        graph = copy.copy(self)
        graph._prefix = f"{self._prefix}{prefix}/"
        return graph

    def in_half(self) -> "Graph":
        """Returns this graph as one that stores the weights of layers in float16."""
        graph = copy.copy(self)
        graph._half = True
        return graph

    def serialize(
        self,
        name: str,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
        metadata: Mapping[str, str],
        description: str,
    ) -> bytes:
        """Returns the checked model; the same graph gives the same bytes.

        `metadata` has at least the `version` of this package.
        """
        model = helper.make_model(
            helper.make_graph(self.nodes, name, inputs, outputs, self.arrays),
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
            producer_name="bitmoji-jax",
            producer_version=metadata["version"],
            doc_string=description,
        )
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString(deterministic=True)

    def add(self, operator: str, *inputs: str, name: str, output: str | None = None, **attributes: Any) -> str:
        name = self._prefix + name
        output = output or name
        self.nodes.append(helper.make_node(operator, inputs, [output], name=name, **attributes))
        return output

    def constant(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        """Adds an array, unless there is one of this name; returns the name."""
        if name not in self._names:
            self._names.add(name)
            self.arrays.append(numpy_helper.from_array(np.array(values, dtype, order="C"), name))
        return name

    def weights(self, name: str, values: Any) -> str:
        """Adds the weights of a layer; returns the name of their float32 form."""
        if not self._half:
            return self.constant(name, values)
        return self.add("Cast", self.constant(name, values, np.float16), name=f"{name}/float", to=TensorProto.FLOAT)

    def conv(
        self, x: str, name: str, params: Params, *, stride: int = 1, padding: int | tuple[int, int] = 0, groups: int = 1
    ) -> str:
        """Adds a convolution; `padding` is that of each side, or of the first and of the last rows and columns."""
        before, after = (padding, padding) if isinstance(padding, int) else padding
        kernel = np.transpose(params["kernel"], (3, 2, 0, 1))  # height, width, in, out -> out, in, height, width
        how = {"strides": [stride] * 2, "pads": [before] * 2 + [after] * 2, "group": groups}
        return self._convolve("Conv", x, name, kernel, params["bias"], **how)

    def same_conv(self, x: str, name: str, params: Params, *, stride: int = 1, groups: int = 1) -> str:
        """Adds a convolution with the padding "SAME", of a map whose side is even or not divided."""
        side = params["kernel"].shape[0]
        padding = (side - stride) // 2, (side - stride + 1) // 2
        return self.conv(x, name, params, stride=stride, padding=padding, groups=groups)

    def dense(self, x: str, name: str, params: Params) -> str:
        """Adds a product of [N, C] with a kernel, and a bias."""
        arrays = (self.weights(f"{name}/{part}", params[part]) for part in ("kernel", "bias"))
        return self.add("Gemm", x, *arrays, name=name)

    def conv_transpose(self, x: str, name: str, params: Params) -> str:
        # Flax gathers from the dilated input, ONNX scatters from the input: one's kernel is the other's, turned.
        kernel = np.transpose(params["kernel"], (2, 3, 0, 1))[:, :, ::-1, ::-1]  # -> in, out, height, width
        kwargs = {"strides": [2] * 2, "pads": [1] * 4, "output_padding": [1] * 2}
        return self._convolve("ConvTranspose", x, name, kernel, params["bias"], **kwargs)

    def _convolve(self, operator: str, x: str, name: str, kernel: Any, bias: Any, **attributes: Any) -> str:
        arrays = (self.weights(f"{name}/kernel", kernel), self.weights(f"{name}/bias", bias))
        return self.add(operator, x, *arrays, name=name, kernel_shape=list(kernel.shape[2:]), **attributes)

    def relu_conv(self, x: str, name: str, params: Params, *, stride: int = 1) -> str:
        """Adds a 3x3 convolution, padded with zeros, of relu(x)."""
        return self.conv(self.add("Relu", x, name=f"{name}/relu"), name, params, stride=stride, padding=1)

    def reflect_pad(self, x: str, size: int, name: str) -> str:
        pads = self.constant(f"pads_{size}", [0, 0, size, size] * 2, np.int64)
        return self.add("Pad", x, pads, name=name, mode="reflect")

    def instance_norm(self, x: str, channels: int) -> str:
        scale = self.constant(f"ones_{channels}", np.ones(channels))
        shift = self.constant(f"zeros_{channels}", np.zeros(channels))
        return self.add("InstanceNormalization", x, scale, shift, name=f"{x}/norm", epsilon=1e-5)

    def norm_relu(self, x: str, channels: int) -> str:
        return self.add("Relu", self.instance_norm(x, channels), name=f"{x}/relu")

    def depth_to_space(self, x: str, name: str) -> str:
        return self.add("DepthToSpace", x, name=name, blocksize=2, mode="DCR")

    def resize(self, x: str, before: int, after: int, name: str) -> str:
        """Resizes square images as `ops.image.resize`: two products with the weights of its one-dimensional form.

        The operator Resize has antialiasing since opset 18 only.
        """
        if before == after:
            return x
        weights = jax.image.resize(np.eye(before, dtype=np.float32), (after, before), "linear", antialias=True)
        columns = self.constant(f"{name}/columns", np.transpose(weights))
        x = self.add("MatMul", x, columns, name=f"{name}/resize_columns")
        return self.add("MatMul", self.constant(f"{name}/rows", weights), x, name=f"{name}/resize_rows")

    def repeat_pixels(self, x: str, name: str, times: int = 2) -> str:
        scales = self.constant(f"scales/{times}", [1, 1, times, times])
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.add("Resize", x, "", scales, name=name, **how)
