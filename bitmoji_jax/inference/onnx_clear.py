"""`models/clear_around.py` as ONNX operators."""

import numpy as np
from onnx import TensorProto

from bitmoji_jax.inference.onnx_drawing import Drawing
from bitmoji_jax.inference.onnx_graph import Graph
from bitmoji_jax.models.clear_around import GRID, LEAST, LIGHT, STEPS, border, middle


def add_clear_around(graph: Graph, avatars: str, size: int) -> str:
    """Adds `clear_around` of avatars [N, 3, size, size]."""
    draw, side = Drawing(graph, "around", size), min(GRID, size)
    cell = size // side

    def number(x: str) -> str:
        return draw.add("Cast", x, to=TensorProto.FLOAT)

    def reached(start: np.ndarray, free: str, name: str) -> str:
        x = draw.add("Mul", free, graph.constant(f"around/{name}", start[None, None]))
        for _ in range(STEPS):
            x = draw.add("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4)
            x = draw.add("Mul", x, free)
        return x

    darkest = draw.add("ReduceMin", avatars, axes=[1], keepdims=1)
    if cell > 1:  # the operator has no minimum
        darkest = draw.times(darkest, -1.0)
        darkest = draw.add("MaxPool", darkest, kernel_shape=[cell] * 2, strides=[cell] * 2)
        darkest = draw.times(darkest, -1.0)
    light = number(draw.add("GreaterOrEqual", darkest, draw.number(LIGHT)))
    rest = draw.add("Sub", draw.number(1.0), reached(border(side), light, "border"))
    person = reached(middle(side), rest, "middle")
    few = draw.add("Less", draw.add("ReduceMean", person, axes=[2, 3], keepdims=1), draw.number(LEAST))
    kept = draw.add("Max", person, number(few))
    if cell > 1:
        kept = graph.repeat_pixels(kept, "around/kept", cell)
    return draw.add("Where", draw.add("Greater", kept, draw.number(0.5)), avatars, draw.number(1.0))
