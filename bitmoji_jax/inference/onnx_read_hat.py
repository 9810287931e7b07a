"""`models/read_hat.py`, and what a guide says of hats, as ONNX operators."""

import numpy as np

from bitmoji_jax.inference.onnx_drawing import Drawing
from bitmoji_jax.inference.onnx_graph import Graph, Params
from bitmoji_jax.inference.onnx_recolour import add_colour
from bitmoji_jax.models import efficientnet
from bitmoji_jax.models.read_hat import BLOCKS, COLUMNS, FEATURES, ROWS, SIZE, trunk_params
from bitmoji_jax.models.recolour import HAIR
from bitmoji_jax.models.wear_hat import COLOUR


def add_hat_of_photo(graph: Graph, photos: str, size: int, params: Params | None) -> str:
    """Adds what a guide says of the hats of photos [N, 3, size, size] in [-1, 1], as [N, 4].

    `params` are those of the network h; None where there is none.
    """
    draw = Drawing(graph, "hat/read", size)
    if params is None:
        sums = draw.add("ReduceSum", photos, graph.constant("axes/1,2,3", [1, 2, 3], np.int64), keepdims=0)
        nothing = draw.shaped(draw.times(sums, 0.0), [-1, 1])  # for each photo
        return draw.add("Add", nothing, graph.constant("hat/none", [[-1.0, *COLOUR]]))
    layer = {"kernel": np.reshape(params["kernel"], (FEATURES, 1)), "bias": np.reshape(params["bias"], 1)}
    logit = graph.dense(_features(graph, photos, size), "h", layer)
    worn = draw.add("Tanh", logit)
    seen = draw.shaped(add_colour(graph.within("hat"), photos, size, HAIR), [-1, 3])
    is_worn = draw.add("Greater", worn, draw.number(0.0))
    colour = draw.add("Where", is_worn, seen, graph.constant("hat/blue", [COLOUR]))
    return draw.add("Concat", worn, colour, axis=1)


def _features(graph: Graph, photos: str, size: int) -> str:
    """Adds `hat_features` of photos [N, 3, size, size]: [N, FEATURES]."""
    # The package has these weights in float16, so that nothing is lost.
    half, name = graph.within("hat").in_half(), "hat/trunk"
    x = half.resize(photos, size, SIZE, name)
    bounds = ([ROWS.start, COLUMNS.start], [ROWS.stop, COLUMNS.stop], [2, 3])
    x = half.add("Slice", x, *(graph.constant(f"{name}/{b}", b, np.int64) for b in bounds), name="seen")
    # 127.5 (x + 1), with the scale of the network's training.
    x = half.add("Mul", x, graph.constant(f"{name}/scale", 127.5 / efficientnet.DEVIATION), name="scaled")
    shift = (127.5 - efficientnet.MEAN) / efficientnet.DEVIATION
    x = half.add("Add", x, graph.constant(f"{name}/shift", shift), name="shifted")

    params = trunk_params()

    def conv(x: str, layer: str, stride: int = 1, groups: int = 1) -> str:
        return half.same_conv(x, f"{name}/{layer}", params[layer], stride=stride, groups=groups)

    def relu6(x: str) -> str:
        return half.add("Clip", x, graph.constant("0", 0.0), graph.constant("6", 6.0), name=f"{x}/relu6")

    x = relu6(conv(x, "stem", 2))
    widths = params["stem"]["bias"].shape
    for i, stride in enumerate(efficientnet.STRIDES[:BLOCKS]):
        block = f"block{i}"
        y = relu6(conv(x, f"{block}.expand")) if i else x
        depthwise = f"{block}.depthwise"
        y = relu6(conv(y, depthwise, stride, params[depthwise]["bias"].shape[0]))
        y = conv(y, f"{block}.project")
        is_residual = stride == 1 and params[f"{block}.project"]["bias"].shape == widths
        x = half.add("Add", x, y, name=f"{block}/add") if is_residual else y
        widths = params[f"{block}.project"]["bias"].shape
    return half.add("Flatten", half.add("GlobalAveragePool", x, name="mean"), name="features", axis=1)
