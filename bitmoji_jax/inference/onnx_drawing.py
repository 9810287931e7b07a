"""What drawing over images takes, as ONNX operators with numbered names.

Maps are [N, 1, size, size], and numbers of each face [N, 1, 1, 1].
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bitmoji_jax.inference.onnx_graph import Graph
from bitmoji_jax.ops.spectacles import LEAST_DISTANCE


class FaceFrame(NamedTuple):
    """What `face_frame` of ops/spectacles.py gives, and what it is made of, by the names of values."""

    x: str
    y: str
    cosine: str
    sine: str
    distance: str
    """Between the eyes, as a share of the side."""


class Drawing:
    """Adds operators to a graph, for images [N, 3, size, size]; their names begin with `name`."""

    def __init__(self, graph: Graph, name: str, size: int) -> None:
        self._graph, self._name, self._size, self._count = graph, name, size, 0

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        self._count += 1
        return self._graph.add(operator, *inputs, name=f"{self._name}/{self._count}", **attributes)

    def number(self, value: float) -> str:
        return self._graph.constant(f"number/{value:.9g}", value)

    def colour(self, levels: Sequence[float]) -> str:
        """Adds a colour as [1, 3, 1, 1]."""
        return self._graph.constant(f"colour/{levels}", np.reshape(levels, (1, 3, 1, 1)))

    def plus(self, x: str, value: float) -> str:
        return self.add("Add", x, self.number(value))

    def times(self, x: str, value: float) -> str:
        return self.add("Mul", x, self.number(value))

    def part(self, x: str, start: int, axis: int) -> str:
        bounds = (self._graph.constant(f"[{n}]", [n], np.int64) for n in (start, start + 1, axis))
        return self.add("Slice", x, *bounds)

    def shaped(self, x: str, shape: list[int]) -> str:
        return self.add("Reshape", x, self._graph.constant(f"shape/{shape}", shape, np.int64))

    def of_guide(self, guide: str, place: int) -> str:
        """Adds a number of a guide [N, C] as [N, 1, 1, 1]."""
        return self.shaped(self.part(guide, place, 1), [-1, 1, 1, 1])

    def colour_of_guide(self, guide: str, place: slice) -> str:
        """Adds a colour of a guide [N, C] as [N, 3, 1, 1]."""
        bounds = (self._graph.constant(f"[{n}]", [n], np.int64) for n in (place.start, place.stop, 1))
        return self.shaped(self.add("Slice", guide, *bounds), [-1, 3, 1, 1])

    def point(self, points: str, index: int) -> tuple[str, str]:
        """Adds x and y of a point of [N, P, 2]."""
        point = self.part(points, index, 1)
        x, y = (self.shaped(self.part(point, axis, 2), [-1, 1, 1, 1]) for axis in range(2))
        return x, y

    def above_0(self, x: str) -> str:
        return self.add("Max", x, self.number(0.0))

    def hypot(self, x: str, y: str) -> str:
        return self.add("Sqrt", self.add("Add", self.add("Mul", x, x), self.add("Mul", y, y)))

    def toward(self, images: str, colour: str, share: str) -> str:
        """Adds images + share (colour - images)."""
        change = self.add("Sub", colour, images)
        return self.add("Add", images, self.add("Mul", share, change))

    def paint(self, images: str, colour: str, distance: str, pixel: str) -> str:
        """Adds `paint` of ops/spectacles.py, opaque; the colour is [N or 1, 3 or 1, 1, 1]."""
        cover = self.add("Sub", self.number(0.5), self.add("Div", distance, pixel))
        return self.toward(images, colour, self.add("Clip", cover, self.number(0.0), self.number(1.0)))

    def rounded(self, across: str, down: str, corner: float) -> str:
        """Adds the distance to a box with round corners, from the distances to its sides moved in by `corner`."""
        outside = self.hypot(self.above_0(across), self.above_0(down))
        inside = self.add("Min", self.add("Max", across, down), self.number(0.0))
        return self.plus(self.add("Add", outside, inside), -corner)

    def pixel(self, face: FaceFrame) -> str:
        """Adds a pixel's length in the frame of a face."""
        return self.add("Div", self.number(1.0), self.times(face.distance, float(self._size)))

    def face_frame(self, points: str) -> FaceFrame:
        """Adds `face_frame` of the eyes, the first two points of [N, P, 2]."""
        left, right = (self.point(points, eye) for eye in range(2))
        across_x, across_y = (self.add("Sub", b, a) for a, b in zip(left, right, strict=True))
        distance = self.add("Max", self.hypot(across_x, across_y), self.number(1e-6))
        cosine, sine = (self.add("Div", part, distance) for part in (across_x, across_y))
        distance = self.add("Max", distance, self.number(LEAST_DISTANCE))
        centre_x, centre_y = (self.times(self.add("Add", a, b), 0.5) for a, b in zip(left, right, strict=True))
        return FaceFrame(*self.turned((centre_x, centre_y), cosine, sine, distance), cosine, sine, distance)

    def turned(self, centre: tuple[str, str], cosine: str, sine: str, length: str) -> tuple[str, str]:
        """Adds `pixels_in_frame` of ops/image.py, whose origin is `centre`."""
        centres = (np.arange(self._size, dtype=np.float32) + 0.5) / self._size
        offsets = []
        for axis, shape in enumerate(([1, 1, 1, -1], [1, 1, -1, 1])):
            pixels = self._graph.constant(f"pixels/{self._size}/{axis}", centres.reshape(shape))
            offsets.append(self.add("Div", self.add("Sub", pixels, centre[axis]), length))
        to_right, down = offsets
        x = self.add("Add", self.add("Mul", cosine, to_right), self.add("Mul", sine, down))
        y = self.add("Sub", self.add("Mul", cosine, down), self.add("Mul", sine, to_right))
        return x, y
