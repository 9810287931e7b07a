"""`models/recolour.py` as ONNX operators. Colours are [N, 3, 1], pixels of a place [N, 3, P], weights [N, 1, P]."""

from typing import Any

import numpy as np
from onnx import TensorProto

from bitmoji_jax.inference.onnx_graph import Graph
from bitmoji_jax.models import recolour


def add_recolour(graph: Graph, avatars: str, photos: str, avatar_size: int, photo_size: int) -> str:
    """Adds `recolour` of avatars [N, 3, S, S] with the colours of photos [N, 3, H, H], both in [-1, 1]."""
    return _Recolour(graph).add(avatars, photos, avatar_size, photo_size)


def add_repaint(graph: Graph, avatars: str, skin: str, hair: str, avatar_size: int) -> str:
    """Adds `repaint` of avatars [N, 3, S, S] in [-1, 1] with skin and hair [N, 3, 1]."""
    return _Recolour(graph).add_wanted(avatars, skin, hair, avatar_size)


def add_colour(graph: Graph, images: str, size: int, place: recolour.Place) -> str:
    """Adds the colour that `colour_in` measures in a place of images [N, 3, size, size] in [-1, 1]: [N, 3, 1]."""
    small = graph.resize(images, size, recolour.SIZE, "recolour/of_place")
    return _Recolour(graph).colour(small, place)[0]


class _Recolour:
    """Nodes are numbered in the order in which they are added."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._count = 0

    def add(self, avatars: str, photos: str, avatar_size: int, photo_size: int) -> str:
        small = self._graph.resize(avatars, avatar_size, recolour.SIZE, "recolour/avatars")
        photos = self._graph.resize(photos, photo_size, recolour.SIZE, "recolour/photos")
        (skin, has_skin), (hair, has_hair) = (self.colour(small, p) for p in (recolour.CHEEKS, recolour.HAIR))
        photo_skin, photo_has_skin = self.colour(photos, recolour.CHEEKS)
        photo_hair, photo_has_hair = self.colour(photos, recolour.HAIR)
        skins = self._do("And", has_skin, photo_has_skin)
        hairs = skins
        for condition in (
            has_hair,
            photo_has_hair,
            self._do("Greater", self._distance(hair, skin), self._number(recolour.UNLIKE_SKIN)),
            self._do("Greater", self._distance(photo_hair, photo_skin), self._number(recolour.UNLIKE_SKIN)),
            self._do("Less", self._distance(hair, photo_hair), self._number(recolour.ALIKE)),
        ):
            hairs = self._do("And", hairs, condition)
        usual = self._graph.constant("recolour/usual_skin", recolour.USUAL_SKIN[:, None])
        gain = self._graph.constant("recolour/skin_gain", recolour.SKIN_GAIN)
        wanted = self._do("Add", usual, self._do("MatMul", gain, self._do("Sub", photo_skin, usual)))
        avatars = self._moved(avatars, skin, self._do("Sub", wanted, skin), skins, avatar_size)
        change = self._do("Mul", self._do("Sub", photo_hair, hair), self._number(recolour.HAIR_SHARE))
        return self._moved(avatars, hair, change, hairs, avatar_size)

    def add_wanted(self, avatars: str, skin: str, hair: str, avatar_size: int) -> str:
        small = self._graph.resize(avatars, avatar_size, recolour.SIZE, "recolour/avatars")
        (old_skin, has_skin), (old_hair, has_hair) = (self.colour(small, p) for p in (recolour.CHEEKS, recolour.HAIR))
        unlike = self._do("Greater", self._distance(old_hair, old_skin), self._number(recolour.UNLIKE_SKIN))
        hairs = self._do("And", self._do("And", has_skin, has_hair), unlike)
        avatars = self._moved(avatars, old_skin, self._do("Sub", skin, old_skin), has_skin, avatar_size)
        return self._moved(avatars, old_hair, self._do("Sub", hair, old_hair), hairs, avatar_size)

    def _moved(self, avatars: str, colour: str, change: str, where: str, size: int) -> str:
        shape = self._graph.constant("recolour/as_image", [0, 3, 1, 1], np.int64)
        change = self._do("Mul", change, self._do("Cast", where, to=TensorProto.FLOAT))
        colour, change = (self._do("Reshape", values, shape) for values in (colour, change))
        near = self._near(self._do("Sub", avatars, colour), recolour.REACH)
        around = self._graph.resize(near, size, recolour.AROUND, f"{near}/around")
        around = self._graph.resize(around, recolour.AROUND, size, f"{near}/back")
        share = self._do("Min", self._do("Div", around, self._number(recolour.AROUND_SHARE)), self._number(1.0))
        moved = self._do("Add", avatars, self._do("Mul", self._do("Mul", change, near), share))
        return self._do("Clip", moved, self._number(-1.0), self._number(1.0))

    def colour(self, images: str, place: recolour.Place) -> tuple[str, str]:
        """Adds both results of `colour_in`: [N, 3, 1] and [N, 1, 1]."""
        constant, rows_and_columns = self._graph.constant, recolour.box(place)
        starts = constant(f"recolour/{place[:4]}/starts", [part.start for part in rows_and_columns], np.int64)
        ends = constant(f"recolour/{place[:4]}/ends", [part.stop for part in rows_and_columns], np.int64)
        part = self._do("Slice", images, starts, ends, constant("recolour/rows_and_columns", [2, 3], np.int64))
        pixels = self._do("Reshape", part, constant("recolour/as_pixels", [0, 3, -1], np.int64))
        darkest = self._do("ReduceMin", pixels, axes=[1])
        darkness = self._do("Sub", self._number(recolour.WHITE), darkest)
        person = self._do("Sigmoid", self._do("Mul", darkness, self._number(recolour.WHITE_SLOPE)))
        brightness = self._do("MatMul", constant("recolour/luma", recolour.LUMA[None]), pixels)
        brightness = self._do("Sub", brightness, self._mean(person, brightness))
        variance = self._mean(person, self._do("Mul", brightness, brightness))
        deviation = self._do("Sqrt", self._do("Add", variance, self._number(recolour.SMALLEST)))
        share = self._do("Mul", self._do("Div", brightness, deviation), self._number(place.light))
        colour = self._mean(self._do("Mul", person, self._do("Sigmoid", share)), pixels)
        for _ in range(recolour.STEPS):
            near = self._near(self._do("Sub", pixels, colour), recolour.NEAR)
            colour = self._mean(self._do("Mul", person, near), pixels)
        enough = self._do("ReduceMean", person, axes=[2])
        return colour, self._do("GreaterOrEqual", enough, self._number(recolour.LEAST))

    def _mean(self, weights: str, values: str) -> str:
        total = self._do("Add", self._sum(weights, 2), self._number(recolour.SMALLEST))
        return self._do("Div", self._sum(self._do("Mul", weights, values), 2), total)

    def _near(self, difference: str, reach: float) -> str:
        square = self._sum(self._do("Mul", difference, difference), 1)
        return self._do("Exp", self._do("Mul", square, self._number(-1 / (2 * reach**2))))

    def _distance(self, colour: str, other: str) -> str:
        difference = self._do("Sub", colour, other)
        return self._do("Sqrt", self._sum(self._do("Mul", difference, difference), 1))

    def _sum(self, values: str, axis: int) -> str:
        return self._do("ReduceSum", values, self._graph.constant(f"axis_{axis}", [axis], np.int64))

    def _number(self, value: float) -> str:
        return self._graph.constant(str(value), value)

    def _do(self, operator: str, *inputs: str, **attributes: Any) -> str:
        self._count += 1
        return self._graph.add(operator, *inputs, name=f"recolour/{self._count}/{operator.lower()}", **attributes)
