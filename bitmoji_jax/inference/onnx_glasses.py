"""`models/wear_glasses.py` and `ops/spectacles.py` as ONNX operators."""

from typing import Any

import numpy as np

from bitmoji_jax.inference.onnx_graph import Graph
from bitmoji_jax.models.reader import GLASSES
from bitmoji_jax.models.wear_glasses import COLOUR, FRAME, LIGHT, LIGHT_WIDTH
from bitmoji_jax.ops.spectacles import LEAST_DISTANCE, TEMPLE


def add_glasses(graph: Graph, avatars: str, points: str, guide: str, size: int) -> str:
    """Adds `wear_glasses` to avatars [N, 3, size, size]: at the eyes of points [N, P, 2], as the guide [N, C] says."""
    maker = _Glasses(graph, size)
    x, y, pixel = maker.face_frame(points)
    frame = maker.frame(x, y)
    drawn = maker.paint(avatars, COLOUR, frame, pixel)
    middle = maker.plus(frame, (float(FRAME.rim) - LIGHT_WIDTH) / 2)
    drawn = maker.paint(drawn, LIGHT, middle, pixel)
    worn = maker.shaped(maker.part(guide, GLASSES, 1), [-1, 1, 1, 1])
    return maker.add("Where", maker.add("Greater", worn, maker.number(0.0)), drawn, avatars)


class _Glasses:
    """Adds operators with numbered names; maps are [N, 1, size, size], and numbers of each face [N, 1, 1, 1]."""

    def __init__(self, graph: Graph, size: int) -> None:
        self._graph, self._size, self._count = graph, size, 0

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        self._count += 1
        return self._graph.add(operator, *inputs, name=f"glasses/{self._count}", **attributes)

    def number(self, value: float) -> str:
        return self._graph.constant(f"glasses/number/{value:.9g}", value)

    def plus(self, x: str, value: float) -> str:
        return self.add("Add", x, self.number(value))

    def part(self, x: str, start: int, axis: int) -> str:
        bounds = (self._graph.constant(f"[{n}]", [n], np.int64) for n in (start, start + 1, axis))
        return self.add("Slice", x, *bounds)

    def shaped(self, x: str, shape: list[int]) -> str:
        return self.add("Reshape", x, self._graph.constant(f"glasses/shape/{shape}", shape, np.int64))

    def above_0(self, x: str) -> str:
        return self.add("Max", x, self.number(0.0))

    def hypot(self, x: str, y: str) -> str:
        return self.add("Sqrt", self.add("Add", self.add("Mul", x, x), self.add("Mul", y, y)))

    def face_frame(self, points: str) -> tuple[str, str, str]:
        """Adds `face_frame` of the eyes, the first two points: x, y and a pixel's length."""
        left, right = ([self._axis(points, eye, axis) for axis in range(2)] for eye in range(2))
        across_x, across_y = (self.add("Sub", b, a) for a, b in zip(left, right, strict=True))
        distance = self.add("Max", self.hypot(across_x, across_y), self.number(1e-6))
        cosine, sine = (self.add("Div", part, distance) for part in (across_x, across_y))
        distance = self.add("Max", distance, self.number(LEAST_DISTANCE))
        centres = (np.arange(self._size, dtype=np.float32) + 0.5) / self._size
        offsets = []
        for axis, shape in enumerate(([1, 1, 1, -1], [1, 1, -1, 1])):
            pixels = self._graph.constant(f"glasses/pixels/{axis}", centres.reshape(shape))
            middle = self.add("Mul", self.add("Add", left[axis], right[axis]), self.number(0.5))
            offsets.append(self.add("Div", self.add("Sub", pixels, middle), distance))
        to_right, down = offsets
        x = self.add("Add", self.add("Mul", cosine, to_right), self.add("Mul", sine, down))
        y = self.add("Sub", self.add("Mul", cosine, down), self.add("Mul", sine, to_right))
        pixel = self.add("Div", self.number(1.0), self.add("Mul", distance, self.number(float(self._size))))
        return x, y, pixel

    def frame(self, x: str, y: str) -> str:
        """Adds the second result of `spectacles` with the measures of `FRAME`."""
        width, height, corner, rim, drop = (float(measure) for measure in FRAME)
        side = self.add("Abs", x)
        across = self.plus(self.add("Abs", self.plus(side, -0.5)), corner - width)
        down = self.plus(self.add("Abs", self.plus(y, -drop)), corner - height)
        outside = self.hypot(self.above_0(across), self.above_0(down))
        inside = self.add("Min", self.add("Max", across, down), self.number(0.0))
        lens = self.plus(self.add("Add", outside, inside), -corner)
        bridge = self.hypot(self.above_0(self.plus(side, width - 0.5)), self.plus(y, height / 4 - drop))
        before = self.add("Sub", self.number(0.5 + width), side)
        beyond = self.add("Max", before, self.plus(side, -TEMPLE))
        temple = self.hypot(self.above_0(beyond), self.plus(y, height / 3 - drop))
        nearest = self.add("Min", self.add("Abs", lens), bridge, temple)
        return self.plus(nearest, -rim / 2)

    def paint(self, images: str, grey: float, distance: str, pixel: str) -> str:
        """Adds `paint` with a grey level in [-1, 1]."""
        cover = self.add("Sub", self.number(0.5), self.add("Div", distance, pixel))
        cover = self.add("Clip", cover, self.number(0.0), self.number(1.0))
        change = self.add("Sub", self.number(grey), images)
        return self.add("Add", images, self.add("Mul", cover, change))

    def _axis(self, points: str, point: int, axis: int) -> str:
        return self.shaped(self.part(self.part(points, point, 1), axis, 2), [-1, 1, 1, 1])
