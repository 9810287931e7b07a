"""`models/equal_eyes.py` as ONNX operators."""

import numpy as np

from bitmoji_jax.inference.onnx_drawing import Drawing
from bitmoji_jax.inference.onnx_graph import Graph
from bitmoji_jax.models.equal_eyes import EYE, SOFTNESS


def add_equal_eyes(graph: Graph, avatars: str, points: str, size: int) -> str:
    """Adds `equal_eyes` of avatars [N, 3, size, size], whose eyes are the first of points [N, P, 2]."""
    draw = Drawing(graph, "eyes", size)
    frame = draw.face_frame(points)
    out = draw.hypot(draw.times(draw.plus(frame.x, 0.5), 1 / EYE[0]), draw.times(frame.y, 1 / EYE[1]))
    left = draw.add("Sigmoid", draw.times(draw.add("Sub", draw.number(1.0), out), 1 / SOFTNESS))
    # GridSample counts from -1 to 1 between the outer edges, so that twice a share of the side is its unit.
    step = draw.times(draw.add("Mul", frame.x, frame.distance), 4.0)
    centres = (2 * np.arange(size, dtype=np.float32) + 1) / size - 1
    grid = []
    for direction, shape in ((frame.cosine, (1, 1, 1, -1)), (frame.sine, (1, 1, -1, 1))):
        place = graph.constant(f"eyes/centres/{shape}", centres.reshape(shape))
        place = draw.add("Sub", place, draw.add("Mul", step, direction))
        grid.append(draw.shaped(place, [-1, size, size, 1]))
    mirrored = draw.add(
        "GridSample", avatars, draw.add("Concat", *grid, axis=3), mode="bilinear", padding_mode="border"
    )
    return draw.toward(avatars, mirrored, left)
