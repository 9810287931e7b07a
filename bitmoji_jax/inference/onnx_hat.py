"""`models/wear_hat.py` as ONNX operators."""

import numpy as np

from bitmoji_jax.inference.onnx_drawing import Drawing
from bitmoji_jax.inference.onnx_graph import Graph
from bitmoji_jax.models import wear_hat
from bitmoji_jax.models.reader import HAT, HAT_COLOUR


def add_hats(graph: Graph, avatars: str, points: str, guide: str, size: int) -> str:
    """Adds `wear_hats` to avatars [N, 3, size, size]: at the eyes of points [N, P, 2], as the guide [N, C] says."""
    draw = Drawing(graph, "hat", size)
    face = draw.face_frame(points)
    pixel = draw.pixel(face)
    above = draw.add("Sub", draw.number(-wear_hat.EDGE), face.y)
    width = _width(graph, draw, avatars, above, pixel)

    aside = draw.add("Div", face.x, width)
    above = draw.add("Add", above, draw.times(draw.add("Mul", aside, aside), wear_hat.SAG))
    below = draw.times(above, -1.0)
    drawn = draw.paint(avatars, draw.number(wear_hat.SURROUNDINGS), below, pixel)
    crown = draw.hypot(
        draw.add("Div", face.x, draw.plus(width, -wear_hat.NARROWER)), draw.times(above, 1 / wear_hat.CROWN_HEIGHT)
    )
    crown = draw.add("Max", draw.times(draw.plus(crown, -1.0), wear_hat.CROWN_HEIGHT), below)
    across = draw.plus(draw.add("Sub", draw.add("Abs", face.x), width), wear_hat.CORNER)
    colour = draw.colour_of_guide(guide, HAT_COLOUR)
    half = wear_hat.CUFF_HEIGHT / 2
    up = draw.plus(draw.add("Abs", draw.plus(above, -half)), wear_hat.CORNER - half)
    for shape, light in ((crown, 1.0), (draw.rounded(across, up, wear_hat.CORNER), wear_hat.CUFF_SHADE)):
        drawn = draw.paint(drawn, draw.number(wear_hat.OUTLINE), draw.plus(shape, -wear_hat.LINE), pixel)
        drawn = draw.paint(drawn, draw.plus(draw.times(draw.plus(colour, 1.0), light), -1.0), shape, pixel)
    return draw.add("Where", draw.add("Greater", draw.of_guide(guide, HAT), draw.number(0.0)), drawn, avatars)


def _width(graph: Graph, draw: Drawing, avatars: str, above: str, pixel: str) -> str:
    """Adds half of the width of each hat, [N, 1, 1, 1]."""
    darkest = draw.add("ReduceMin", avatars, axes=[1], keepdims=1)
    darkness = draw.add("Sub", draw.number(wear_hat.PERSON), darkest)
    person = draw.add("Sigmoid", draw.times(darkness, wear_hat.SLOPE))
    band = draw.add(
        "And", draw.add("Greater", above, draw.number(0.0)), draw.add("Less", above, draw.number(wear_hat.BAND))
    )
    person = draw.add("Where", band, person, draw.number(0.0))
    area = draw.add("ReduceSum", person, graph.constant("axes/2,3", [2, 3], np.int64), keepdims=1)
    width = draw.times(draw.add("Mul", area, draw.add("Mul", pixel, pixel)), 1 / (2 * wear_hat.BAND))
    limits = draw.number(wear_hat.LEAST_WIDTH), draw.number(wear_hat.MOST_WIDTH)
    return draw.add("Clip", draw.plus(width, wear_hat.SPARE), *limits)
