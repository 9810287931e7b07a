"""`models/face_points.py` and `models/reshape_face.py` as ONNX operators. Points are [N, POINTS, 2]."""

import jax.numpy as jnp
import numpy as np

from bitmoji_jax.inference.onnx_faces import add_mesh
from bitmoji_jax.inference.onnx_graph import Graph, Params
from bitmoji_jax.models.face_networks import SIZES
from bitmoji_jax.models.face_points import POINTS, SELECTION
from bitmoji_jax.models.reshape_face import LARGEST, REACH, mixing


def add_reshape(graph: Graph, avatars: str, of_photos: str, size: int, params: Params) -> tuple[str, str]:
    """Adds `reshape_faces` of avatars [N, 3, size, size] in [-1, 1] and points of photos; returns both of its results.

    `params` are those of the network t.
    """
    of_avatars = add_measure(graph, avatars, size)
    (of_photos, _), (of_avatars, eyes) = (_from_eyes(graph, points) for points in (of_photos, of_avatars))
    usual = np.asarray(params["target"]).reshape(POINTS, 2)
    x = graph.add("Sub", _transport(graph, of_photos, params), of_avatars, name="points/left")
    x = graph.add("Clip", x, *(graph.constant(f"points/{s}", s * LARGEST) for s in (-1, 1)), name="points/clipped")
    mix = graph.constant("points/mixing", mixing(jnp.asarray(usual)))
    shifts = graph.add("MatMul", mix, x, name="points/shifts")
    places = graph.add("Add", eyes, graph.constant("points/usual", usual), name="points/places")
    points = graph.add("Add", eyes, graph.add("Add", of_avatars, x, name="points/from_eyes"), name="points/then")
    return _move(graph, avatars, shifts, places, size), points


def add_measure(graph: Graph, images: str, size: int) -> str:
    """Adds `measure` of images [N, 3, size, size] in [-1, 1]."""
    name = f"points/{images}"
    x = graph.add("Add", graph.resize(images, size, SIZES["mesh"], name), "1", name=f"{name}/from_centre")
    x = graph.add("Div", x, graph.constant("2", 2.0), name=f"{name}/to_range_1")
    x = add_mesh(graph.within(name), x, "points")
    x = graph.add("Slice", x, *(graph.constant(f"[{n}]", [n], np.int64) for n in (0, 2, 2)), name=f"{name}/flat")
    selection = graph.constant("points/selection", SELECTION / SIZES["mesh"])
    return graph.add("MatMul", selection, x, name=f"{name}/selected")


def _transport(graph: Graph, points: str, params: Params) -> str:
    matrix, source, target = (np.asarray(params[name]) for name in ("matrix", "source", "target"))
    x = graph.add("Flatten", points, name="t/numbers", axis=1)
    x = graph.dense(x, "t", {"kernel": matrix.T, "bias": target - matrix @ source})
    return graph.add("Reshape", x, graph.constant("as_points", [0, POINTS, 2], np.int64), name="t/points")


def _from_eyes(graph: Graph, points: str) -> tuple[str, str]:
    bounds = (graph.constant(f"[{n}]", [n], np.int64) for n in (0, 2, 1))
    eyes = graph.add("Slice", points, *bounds, name=f"{points}/eyes")
    eyes = graph.add("ReduceMean", eyes, name=f"{points}/eyes/middle", axes=[1], keepdims=1)
    return graph.add("Sub", points, eyes, name=f"{points}/from_eyes"), eyes


def _move(graph: Graph, avatars: str, shifts: str, places: str, size: int) -> str:
    """Adds `move` of avatars [N, 3, size, size] with shifts and places [N, POINTS, 2]."""
    centres = (np.arange(size, dtype=np.float32) + 0.5) / size

    def by_axis(x: str, axis: int, name: str, shape: list[int]) -> str:
        x = graph.add("Gather", x, graph.constant(f"axis_{axis}", axis, np.int64), name=name, axis=2)
        return graph.add("Reshape", x, graph.constant(f"points/{shape}", shape, np.int64), name=f"{name}/shaped")

    def near(axis: int, name: str, line: np.ndarray, shape: list[int]) -> str:
        x = graph.constant(f"{name}/centres", line)
        x = graph.add("Sub", x, by_axis(places, axis, name, shape), name=f"{name}/distance")
        x = graph.add("Mul", x, x, name=f"{name}/square")
        x = graph.add("Mul", x, graph.constant("points/spread", -0.5 / REACH**2), name=f"{name}/exponent")
        return graph.add("Exp", x, name=f"{name}/near")

    across = near(0, "points/across", centres[None, :], [0, POINTS, 1])  # [N, POINTS, size]
    down = near(1, "points/down", centres[:, None], [0, 1, POINTS])  # [N, size, POINTS]
    grid = []
    for axis, places_of_axis in enumerate((centres[None, :], centres[:, None])):
        name = f"points/grid/{axis}"
        x = graph.add("Mul", down, by_axis(shifts, axis, name, [0, 1, POINTS]), name=f"{name}/by_row")
        x = graph.add("MatMul", x, across, name=f"{name}/shift")
        x = graph.add("Sub", graph.constant(f"{name}/centres", places_of_axis), x, name=f"{name}/place")
        grid.append(graph.add("Unsqueeze", x, graph.constant("[3]", [3], np.int64), name=f"{name}/last"))
    x = graph.add("Concat", *grid, name="points/grid", axis=3)
    # GridSample counts from -1 to 1 between the outer edges.
    x = graph.add("Sub", graph.add("Add", x, x, name="points/grid/twice"), "1", name="points/grid/centred")
    return graph.add("GridSample", avatars, x, name="points/moved", mode="bilinear", padding_mode="border")
