"""`models/face_points.py` and `models/reshape_face.py` as ONNX operators. Points are [N, POINTS, 2]."""

import jax.numpy as jnp
import numpy as np
from onnx import helper

from bitmoji_jax.inference.onnx_faces import add_mesh
from bitmoji_jax.inference.onnx_graph import Graph, Params
from bitmoji_jax.models.face_networks import SIZES
from bitmoji_jax.models.face_points import POINTS, SELECTION
from bitmoji_jax.models.reshape_face import LARGEST, mixing, near


def add_move_points(graph: Graph, avatars: str, photos: str, size: int, photo_size: int, params: Params) -> str:
    """Adds `_with_points_of` of models/networks.py to avatars [N, 3, S, S] and photos [N, 3, H, H] in [-1, 1].

    `size` is S, `photo_size` H, and `params` are those of the network t.
    """
    of_photos, of_avatars = _measure(graph, photos, photo_size, avatars, size)
    wanted = _transport(graph, of_photos, params)
    left = graph.add("Sub", wanted, of_avatars, name="points/left")
    bounds = (graph.constant(f"points/{sign}", sign * LARGEST) for sign in (-1, 1))
    return _bend(graph, avatars, graph.add("Clip", left, *bounds, name="points/shifts"), size, params)


def _measure(graph: Graph, photos: str, photo_size: int, avatars: str, size: int) -> tuple[str, str]:
    side = SIZES["mesh"]
    both = (graph.resize(x, before, side, f"points/{x}") for x, before in ((photos, photo_size), (avatars, size)))
    x = graph.add("Concat", *both, name="points/faces", axis=0)
    x = graph.add("Add", x, "1", name="points/from_centre")
    x = graph.add("Div", x, graph.constant("2", 2.0), name="points/to_range_1")
    x = add_mesh(graph, x, "points/mesh")
    x = graph.add("Slice", x, *(graph.constant(f"[{n}]", [n], np.int64) for n in (0, 2, 2)), name="points/flat")
    x = graph.add("MatMul", graph.constant("points/selection", SELECTION / side), x, name="points/selected")
    of_photos, of_avatars = "points/of_photos", "points/of_avatars"
    graph.nodes.append(helper.make_node("Split", [x], [of_photos, of_avatars], name="points/split", axis=0))
    return of_photos, of_avatars


def _transport(graph: Graph, points: str, params: Params) -> str:
    matrix, source, target = (np.asarray(params[name]) for name in ("matrix", "source", "target"))
    x = graph.add("Flatten", points, name="t/numbers", axis=1)
    x = graph.dense(x, "t", {"kernel": matrix.T, "bias": target - matrix @ source})
    return graph.add("Reshape", x, graph.constant("as_points", [0, POINTS, 2], np.int64), name="t/points")


def _bend(graph: Graph, avatars: str, shifts: str, size: int, params: Params) -> str:
    usual = jnp.reshape(params["target"], (POINTS, 2))
    (across, down), mix = (np.asarray(array) for array in near(usual, size)), np.asarray(mixing(usual))
    x = graph.add("MatMul", graph.constant("points/mixing", mix), shifts, name="points/mixed")
    x = graph.add("Transpose", x, name="points/by_axis", perm=[0, 2, 1])
    x = graph.add("Unsqueeze", x, graph.constant("[2]", [2], np.int64), name="points/row")
    x = graph.add("Mul", x, graph.constant("points/down", down.T), name="points/by_row")  # [N, 2, size, POINTS]
    x = graph.add("MatMul", x, graph.constant("points/across", across), name="points/field")
    x = graph.add("Transpose", x, name="points/field/last", perm=[0, 2, 3, 1])
    # GridSample counts from -1 to 1 between the outer edges.
    centres = 2 * (np.arange(size) + 0.5) / size - 1
    places = graph.constant("points/places", np.stack(np.meshgrid(centres, centres), axis=-1))
    x = graph.add("Sub", places, graph.add("Add", x, x, name="points/field/twice"), name="points/grid")
    return graph.add("GridSample", avatars, x, name="points/moved", mode="bilinear", padding_mode="border")
