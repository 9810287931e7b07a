"""`models/wear_glasses.py` and `ops/spectacles.py` as ONNX operators."""

from bitmoji_jax.inference.onnx_drawing import Drawing
from bitmoji_jax.inference.onnx_graph import Graph
from bitmoji_jax.models.reader import GLASSES
from bitmoji_jax.models.wear_glasses import COLOUR, FRAME, LIGHT, LIGHT_WIDTH
from bitmoji_jax.ops.spectacles import TEMPLE


def add_glasses(graph: Graph, avatars: str, points: str, guide: str, size: int) -> str:
    """Adds `wear_glasses` to avatars [N, 3, size, size]: at the eyes of points [N, P, 2], as the guide [N, C] says."""
    draw = Drawing(graph, "glasses", size)
    face = draw.face_frame(points)
    pixel = draw.pixel(face)
    frame = _frame(draw, face.x, face.y)
    drawn = draw.paint(avatars, draw.number(COLOUR), frame, pixel)
    middle = draw.plus(frame, (float(FRAME.rim) - LIGHT_WIDTH) / 2)
    drawn = draw.paint(drawn, draw.number(LIGHT), middle, pixel)
    return draw.add("Where", draw.add("Greater", draw.of_guide(guide, GLASSES), draw.number(0.0)), drawn, avatars)


def _frame(draw: Drawing, x: str, y: str) -> str:
    """Adds the second result of `spectacles` with the measures of `FRAME`."""
    width, height, corner, rim, drop = (float(measure) for measure in FRAME)
    side = draw.add("Abs", x)
    across = draw.plus(draw.add("Abs", draw.plus(side, -0.5)), corner - width)
    down = draw.plus(draw.add("Abs", draw.plus(y, -drop)), corner - height)
    lens = draw.rounded(across, down, corner)
    bridge = draw.hypot(draw.above_0(draw.plus(side, width - 0.5)), draw.plus(y, height / 4 - drop))
    before = draw.add("Sub", draw.number(0.5 + width), side)
    beyond = draw.add("Max", before, draw.plus(side, -TEMPLE))
    temple = draw.hypot(draw.above_0(beyond), draw.plus(y, height / 3 - drop))
    nearest = draw.add("Min", draw.add("Abs", lens), bridge, temple)
    return draw.plus(nearest, -rim / 2)
