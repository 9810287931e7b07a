"""The way from photo to avatar as an ONNX model, written node by node from the parameters. Needs the extra `export`."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from bitmoji_jax.config import ExperimentConfig, GeneratorConfig
from bitmoji_jax.inference.onnx_clear import add_clear_around
from bitmoji_jax.inference.onnx_eyes import add_equal_eyes
from bitmoji_jax.inference.onnx_glasses import add_glasses
from bitmoji_jax.inference.onnx_graph import Graph, Params
from bitmoji_jax.inference.onnx_hat import add_hats
from bitmoji_jax.inference.onnx_mouth import add_marks, add_mouth_of_photo
from bitmoji_jax.inference.onnx_points import add_measure, add_reshape
from bitmoji_jax.inference.onnx_read_hat import add_hat_of_photo
from bitmoji_jax.inference.onnx_recolour import add_recolour, add_repaint
from bitmoji_jax.inference.weights import Weights, export_metadata
from bitmoji_jax.models import unshade
from bitmoji_jax.models.networks import avatar_size, guide_size, has_glasses, has_mouth, has_reader, is_guided
from bitmoji_jax.models.reader import BRANCH, GLASSES, GLASSES_BIAS, HAIR_COLOUR, MALE_FACTOR, MOUTH, SKIN_COLOUR
from bitmoji_jax.models.unet import GRID

GUIDE_INPUT, GUIDES_OUTPUT = "guide", "guides"


def to_onnx(weights: Weights, *, look: bool = False) -> bytes:
    """Serializes `photo_to_avatar`: input `photos`, uint8 [N, H, H, 3], any N; output `avatars`, uint8 [N, S, S, 3].

    H and S are `input_size` and `avatar_size` of the networks. Computes in float32, also where `train.compute_dtype` is
    another. Nodes and arrays are named like the weights: "g/ResidualBlock_0/Conv_1". The model's metadata is that of
    `export_metadata`. The same weights give the same bytes.

    With `look`, for weights with a reader, there are also an input `guide`, float32 [C] as models/reader.py describes
    it, NaN where the photo decides, and an output `guides`, float32 [N, C]: what is read from each photo; C is that of
    `guide_size`.
    """
    config, networks = weights.config, weights.networks
    params = {name: networks[name]["params"] for name in networks}

    def way(graph: Graph, photos: str) -> str:
        # A further input of G would be concatenated here, along axis 1, and be listed with `photos` in `_serialize`.
        return _photo_to_avatar(graph, photos, config, params, GUIDE_INPUT if look else None)

    description = "Aligned photos to avatars; both are uint8 [N, height, width, RGB]."
    size = avatar_size(config, networks)
    wanted = helper.make_tensor_value_info(GUIDE_INPUT, TensorProto.FLOAT, [guide_size(config)])
    read = helper.make_tensor_value_info(GUIDES_OUTPUT, TensorProto.FLOAT, ["N", guide_size(config)])
    more = ([wanted], [read]) if look else ()
    return _serialize(weights, "bitmoji_x2y", "photos", "avatars", size, way, description, *more)


def f_to_onnx(weights: Weights) -> bytes:
    """Serializes F, as `to_onnx` does G: input `avatars`, output `photos`, both uint8 [N, H, H, 3]."""
    config, params = weights.config, weights.networks["f"]["params"]

    def way(graph: Graph, avatars: str) -> str:
        return _generator(graph, avatars, "f", params, config.generator)

    description = "Avatars to photos; both are uint8 [N, height, width, RGB]."
    return _serialize(weights, "bitmoji_y2x", "avatars", "photos", config.data.image_size, way, description)


def _serialize(
    weights: Weights,
    name: str,
    input_name: str,
    output_name: str,
    output_size: int,
    way: Callable[[Graph, str], str],
    description: str,
    more_inputs: Sequence[onnx.ValueInfoProto] = (),
    more_outputs: Sequence[onnx.ValueInfoProto] = (),
) -> bytes:
    """Serializes `way`, which adds nodes from [N, 3, H, H] to [N, 3, S, S] in [-1, 1], between uint8 pixels."""
    inputs, outputs = (
        helper.make_tensor_value_info(each, TensorProto.UINT8, ["N", size, size, 3])
        for each, size in ((input_name, weights.config.data.image_size), (output_name, output_size))
    )
    graph = Graph()
    x = graph.add("Cast", input_name, name="to_float", to=TensorProto.FLOAT)
    x = graph.add("Transpose", x, name="to_nchw", perm=[0, 3, 1, 2])
    x = graph.add("Div", x, graph.constant("127.5", 127.5), name="to_range_2")
    x = graph.add("Sub", x, graph.constant("1", 1.0), name="centre")
    x = way(graph, x)
    x = graph.add("Add", x, "1", name="from_centre")
    x = graph.add("Mul", x, "127.5", name="to_grey_levels")
    x = graph.add("Round", x, name="round")  # halves to even, as jnp.round does
    x = graph.add("Clip", x, graph.constant("0", 0.0), graph.constant("255", 255.0), name="clip")
    x = graph.add("Transpose", x, name="to_nhwc", perm=[0, 2, 3, 1])
    graph.add("Cast", x, name="to_uint8", output=output_name, to=TensorProto.UINT8)
    metadata = export_metadata(weights)
    return graph.serialize(name, [inputs, *more_inputs], [outputs, *more_outputs], metadata, description)


def _photo_to_avatar(
    graph: Graph, x: str, config: ExperimentConfig, networks: Params, wanted: str | None = None
) -> str:
    """Adds `photo_to_avatar` of models/networks.py: from [N, 3, H, H] in [-1, 1] to [N, 3, S, S].

    Where the name of a guide is given, what it says is `wanted` takes the place of what is read, which is an output.
    """
    size, refiner = config.data.image_size, config.refiner
    if "l" in networks:
        x = _unshade(graph, x, networks["l"]["unet"], size)
    photos = x
    guide: str | None = None
    marked = has_mouth(config, networks)
    of_photos = add_measure(graph, photos, size) if marked or "t" in networks else ""
    if "s" in networks:
        if is_guided(config):
            guide = _reader(graph, photos, "s/reader", networks["s"]["reader"])
            if marked:
                mouth = add_mouth_of_photo(graph, of_photos)
                hat = add_hat_of_photo(graph, photos, size, networks.get("h"))
                guide = graph.add("Concat", guide, mouth, hat, name="guide/whole", axis=1)
            if wanted is not None:
                graph.add("Identity", guide, name=GUIDES_OUTPUT)
                guide = graph.add("Where", graph.add("IsNaN", wanted, name="as_read"), guide, wanted, name="followed")
            if marked:
                x = add_marks(graph, photos, of_photos, guide, size)
        x = _generator(graph, x, "s/generator", networks["s"]["generator"], config.generator)
        told = guide and _told(graph, guide)
        x = _unet(graph, x, "s/refiner", networks["s"]["refiner"], (size, refiner.output_size), guide=told)
        if guide is not None:
            skin, hair = (_colour(graph, guide, part) for part in (SKIN_COLOUR, HAIR_COLOUR))
            x = add_repaint(graph, x, skin, hair, refiner.output_size)
    else:
        x = _generator(graph, x, "g", networks["g"], config.generator)
    if "r" in networks:
        x = graph.resize(x, avatar_size(config, networks.keys() - {"r"}), size, "r/input")
        x = _unet(graph, x, "r", networks["r"], (size, refiner.output_size))
    if "r" in networks or ("s" in networks and not is_guided(config)):
        x = add_recolour(graph, x, photos, refiner.output_size, size)
    avatars, points = avatar_size(config, networks), None
    if has_reader(config, networks):
        x = add_clear_around(graph, x, avatars)
    if "t" in networks:
        x, points = add_reshape(graph, x, of_photos, avatars, networks["t"])
        if has_reader(config, networks):
            x = add_equal_eyes(graph, x, points, avatars)
    if guide is not None and has_glasses(config, networks):
        points = add_measure(graph, x, avatars) if points is None else points
        x = add_glasses(graph, x, points, guide, avatars)
        if marked:
            x = add_hats(graph, x, points, guide, avatars)
    return x


def _generator(graph: Graph, x: str, network: str, params: Params, config: GeneratorConfig) -> str:
    """Adds models/generator.py: from [N, 3, H, W] in [-1, 1] to the same."""
    k = config.features

    def norm_relu_conv(x: str, layer: str, features: int, **how: int) -> str:
        return graph.norm_relu(graph.conv(x, f"{network}/{layer}", params[layer], **how), features)

    x = norm_relu_conv(graph.reflect_pad(x, 3, f"{network}/Conv_0/pad"), "Conv_0", k)
    skips = [x]
    for layer, features in (("Conv_1", 2 * k), ("Conv_2", 4 * k)):
        x = norm_relu_conv(x, layer, features, stride=2, padding=1)
        skips.append(x)

    for i in range(config.res_blocks):
        layer = f"ResidualBlock_{i}"
        x = _residual_block(graph, x, f"{network}/{layer}", params[layer], 4 * k)

    for i, (features, skip) in enumerate(((2 * k, skips[1]), (k, skips[0]))):
        name, layers = f"{network}/Upsample_{i}", params[f"Upsample_{i}"]
        x = graph.norm_relu(_upsample(graph, x, name, layers, config.upsample), features)
        if config.skips:
            x = graph.add("Concat", x, skip, name=f"{name}/concat", axis=1)

    x = graph.reflect_pad(x, 3, f"{network}/Conv_3/pad")
    x = graph.conv(x, f"{network}/Conv_3", params["Conv_3"])
    return graph.add("Tanh", x, name=f"{network}/tanh")


def _residual_block(graph: Graph, x: str, name: str, params: Params, features: int) -> str:
    y = graph.reflect_pad(x, 1, f"{name}/Conv_0/pad")
    y = graph.norm_relu(graph.conv(y, f"{name}/Conv_0", params["Conv_0"]), features)
    y = graph.reflect_pad(y, 1, f"{name}/Conv_1/pad")
    y = graph.instance_norm(graph.conv(y, f"{name}/Conv_1", params["Conv_1"]), features)
    return graph.add("Add", x, y, name=f"{name}/add")


def _upsample(graph: Graph, x: str, name: str, params: Params, kind: str) -> str:
    if kind == "transpose":
        return graph.conv_transpose(x, f"{name}/ConvTranspose_0", params["ConvTranspose_0"])
    if kind == "nearest":
        x = graph.repeat_pixels(x, f"{name}/resize")
        return graph.conv(x, f"{name}/Conv_0", params["Conv_0"], padding=1)
    x = graph.conv(x, f"{name}/Conv_0", params["Conv_0"], padding=1)
    return graph.depth_to_space(x, f"{name}/depth_to_space")


def _told(graph: Graph, guide: str) -> str:
    """Adds `told` of a guide [N, C], without glasses."""
    gender = _part(graph, guide, slice(0, 1))
    male = graph.add("Mul", gender, graph.constant("guide/male_factor", MALE_FACTOR), name="guide/male")
    gender = graph.add("Min", gender, male, name="guide/gender")
    return graph.add("Concat", gender, _part(graph, guide, slice(1, GLASSES)), name="guide/told", axis=1)


def _part(graph: Graph, guide: str, part: slice) -> str:
    """Adds a part of a guide [N, C]."""
    bounds = (graph.constant(f"[{n}]", [n], np.int64) for n in (part.start, part.stop, 1))
    return graph.add("Slice", guide, *bounds, name=f"guide/{part.start}-{part.stop}")


def _colour(graph: Graph, guide: str, part: slice) -> str:
    """Adds a colour of a guide as [N, 3, 1]."""
    x = _part(graph, guide, part)
    return graph.add("Unsqueeze", x, graph.constant("[2]", [2], np.int64), name=f"{x}/colour")


def _reader(graph: Graph, x: str, network: str, params: Params) -> str:
    """Adds `guide_of` what models/reader.py reads: from [N, 3, H, W] in [-1, 1] to [N, C]."""
    for i in range(4):
        down, inner, last = (f"Conv_{max(3 * i - 2, 0) + part}" for part in range(3))
        x = graph.conv(x, f"{network}/{down}", params[down], stride=2, padding=1)
        x = graph.add("Relu", x, name=f"{network}/{down}/relu")
        if i:
            y = graph.conv(x, f"{network}/{inner}", params[inner], padding=1)
            y = graph.relu_conv(y, f"{network}/{last}", params[last])
            y = graph.add("Mul", y, graph.constant("branch", BRANCH), name=f"{network}/{last}/branch")
            x = graph.add("Add", x, y, name=f"{network}/{last}/add")
    x = graph.add("ReduceMean", x, name=f"{network}/mean", axes=[2, 3], keepdims=0)
    x = graph.dense(x, f"{network}/Dense_0", params["Dense_0"])
    female, colours, *glasses = (
        graph.add("Slice", x, *(graph.constant(f"[{n}]", [n], np.int64) for n in (*part, 1)), name=f"{network}/{part}")
        for part in ((0, 1), (1, GLASSES), (GLASSES, MOUTH))
        if part[0] < len(params["Dense_0"]["bias"])
    )
    bias = graph.constant("glasses/bias", GLASSES_BIAS)
    glasses = [graph.add("Add", logit, bias, name=f"{logit}/biased") for logit in glasses]
    female, *glasses = (graph.add("Tanh", logit, name=f"{logit}/tanh") for logit in (female, *glasses))
    colours = graph.add("Clip", colours, graph.constant("-1", -1.0), graph.constant("1", 1.0), name=f"{network}/clip")
    return graph.add("Concat", female, colours, *glasses, name=f"{network}/guide", axis=1)


def _unshade(graph: Graph, photos: str, params: Params, size: int) -> str:
    """Adds models/unshade.py: photos [N, 3, size, size] in [-1, 1] -> the same without cast shadows."""
    x = _unet(graph, photos, "l/unet", params, (size, size), grid=unshade.GRID)
    x = graph.add("Sub", x, photos, name="l/missing")
    bounds = (graph.constant(f"l/{value}", value) for value in (0.0, float(-np.log(unshade.LEAST_LIGHT))))
    x = graph.add("Exp", graph.add("Clip", x, *bounds, name="l/clipped"), name="l/light")
    x = graph.add("Mul", graph.add("Add", photos, "1", name="l/from_black"), x, name="l/lighter")
    return graph.add("Min", graph.add("Sub", x, "1", name="l/centred"), "1", name="l/photos")


def _unet(
    graph: Graph,
    x: str,
    network: str,
    params: Params,
    sizes: tuple[int, int],
    *,
    grid: int = GRID,
    guide: str | None = None,
) -> str:
    """Adds models/unet.py: from [N, 3, S, S] to [N, 3, T, T], where `sizes` are S and T."""
    images, (input_size, output_size) = x, sizes
    size = min(input_size, grid)
    # Flax numbers layers of a kind in the order they are called.
    blocks, ups, guided_maps = itertools.count(), itertools.count(), itertools.count()

    def guided(x: str) -> str:
        if guide is None:
            return x
        layer = f"_Guided_{next(guided_maps)}"
        name, dense = f"{network}/{layer}", params[layer]["Dense_0"]
        (scale_kernel, kernel), (scale_bias, bias) = (np.split(dense[k], 2, axis=-1) for k in ("kernel", "bias"))
        as_maps = graph.constant("as_maps", [0, -1, 1, 1], np.int64)
        scale, shift = (
            graph.add("Reshape", graph.dense(guide, f"{name}/{part}", layers), as_maps, name=f"{name}/{part}/maps")
            for part, layers in (
                ("scale", {"kernel": scale_kernel, "bias": scale_bias + 1}),
                ("shift", {"kernel": kernel, "bias": bias}),
            )
        )
        return graph.add("Add", graph.add("Mul", x, scale, name=f"{name}/mul"), shift, name=f"{name}/add")

    def relu_conv(x: str, layer: str, stride: int = 1) -> str:
        return graph.relu_conv(x, f"{network}/{layer}", params[layer], stride=stride)

    def block(x: str) -> str:
        layer = f"_Block_{next(blocks)}"
        y = graph.relu_conv(x, f"{network}/{layer}/Conv_0", params[layer]["Conv_0"])
        y = graph.relu_conv(y, f"{network}/{layer}/Conv_1", params[layer]["Conv_1"])
        return graph.add("Add", x, y, name=f"{network}/{layer}/add")

    def up(x: str) -> str:
        layer = f"Upsample_{next(ups)}"
        x = graph.add("Relu", x, name=f"{network}/{layer}/relu")
        return _upsample(graph, x, f"{network}/{layer}", params[layer], "nearest")

    def up_and_add(x: str, skip: str) -> str:
        x = up(x)
        return graph.add("Add", x, skip, name=f"{x}/add")

    if input_size > size:
        # Its channels are those of `space_to_depth`: row, column, colour.
        x = graph.add("SpaceToDepth", x, name=f"{network}/space_to_depth", blocksize=input_size // size)
    fine = block(guided(graph.conv(x, f"{network}/Conv_0", params["Conv_0"], padding=1)))
    middle = block(relu_conv(fine, "Conv_1", stride=2))
    coarse = block(block(relu_conv(middle, "Conv_2", stride=2)))
    x = guided(relu_conv(coarse, "Conv_3", stride=2))
    for _ in range(3):
        x = block(x)
    x = block(up_and_add(x, coarse))
    x = block(up_and_add(x, middle))
    x = block(guided(block(up_and_add(x, fine))))

    while 2 * size < output_size:
        x, size = block(up(x)), 2 * size
    x = relu_conv(x, "Conv_4")
    if size < output_size:
        x = graph.depth_to_space(x, f"{network}/depth_to_space")
    images = graph.resize(images, input_size, output_size, f"{network}/residual")
    return graph.add("Add", x, images, name=f"{network}/add")
