"""`models/mark_mouth.py` as ONNX operators."""

import numpy as np

from bitmoji_jax.inference.onnx_drawing import Drawing
from bitmoji_jax.inference.onnx_graph import Graph
from bitmoji_jax.models.mark_mouth import (
    CORNERS,
    DARK,
    INNER_LIPS,
    LEAST_WIDTH,
    LIPS,
    OPACITY,
    OPEN,
    RIM,
    SMOOTHED,
    SOFTNESS,
    TEETH,
    WHITE,
)
from bitmoji_jax.models.reader import MOUTH


def add_mouth_of_photo(graph: Graph, points: str) -> str:
    """Adds `mouth_of_photo` of points [N, POINTS, 2] as [N, 1]."""
    draw = Drawing(graph, "mouth/read", 1)
    across, opening = (_apart(draw, points, pair) for pair in (CORNERS, INNER_LIPS))
    width = draw.times(draw.add("Max", draw.hypot(*across), draw.number(LEAST_WIDTH)), OPEN)
    opened = draw.plus(draw.add("Div", draw.hypot(*opening), width), -1.0)
    return draw.shaped(draw.add("Clip", opened, draw.number(-1.0), draw.number(1.0)), [-1, 1])


def add_marks(graph: Graph, photos: str, points: str, guide: str, size: int) -> str:
    """Adds `mark_mouths` to photos [N, 3, size, size], at their points, as the guide [N, C] says."""
    draw = Drawing(graph, "mouth/mark", size)
    across_x, across_y = _apart(draw, points, CORNERS)
    width = draw.add("Max", draw.hypot(across_x, across_y), draw.number(LEAST_WIDTH))
    four = [draw.point(points, index) for index in range(CORNERS.start, INNER_LIPS.stop)]
    middle_x, middle_y = (
        draw.times(draw.add("Sum", *(point[axis] for point in four)), 1 / len(four)) for axis in range(2)
    )
    cosine, sine = (draw.add("Div", part, width) for part in (across_x, across_y))
    x, y = draw.turned((middle_x, middle_y), cosine, sine, width)

    def inside(half: tuple[float, float]) -> str:
        radius = draw.hypot(draw.times(x, 1 / half[0]), draw.times(y, 1 / half[1]))
        return draw.add("Sigmoid", draw.times(draw.add("Sub", draw.number(1.0), radius), 1 / SOFTNESS))

    lips = inside(SMOOTHED)
    total, weight = (
        draw.add("ReduceSum", each, graph.constant("axes/2,3", [2, 3], np.int64), keepdims=1)
        for each in (draw.add("Mul", photos, lips), lips)
    )
    colour = draw.add("Div", total, draw.add("Max", weight, draw.number(1e-6)))
    closed = draw.toward(photos, colour, draw.times(inside(LIPS), OPACITY))
    mouth = draw.toward(photos, draw.colour(DARK), inside(RIM))
    mouth = draw.toward(mouth, draw.number(WHITE), inside(TEETH))
    opened, zero = draw.of_guide(guide, MOUTH), draw.number(0.0)
    marked = draw.add("Where", draw.add("Less", opened, zero), closed, photos)
    return draw.add("Where", draw.add("Greater", opened, zero), mouth, marked)


def _apart(draw: Drawing, points: str, pair: slice) -> tuple[str, str]:
    """Adds the difference of a pair of points, x and y."""
    first, second = (draw.point(points, index) for index in (pair.start, pair.start + 1))
    x, y = (draw.add("Sub", b, a) for a, b in zip(first, second, strict=True))
    return x, y
