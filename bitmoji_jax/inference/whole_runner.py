"""Makes the avatar of the largest face in a photo: python run.py PHOTO AVATAR.

Needs numpy, onnxruntime and pillow (which only reads and writes pictures), and the networks beside this file. Photos
are uint8 [H, W, 3], sRGB. Coordinates are continuous, (0, 0) is the top left corner. A square of a photo is given by a
matrix [2, 3] that maps (x, y, 1) in it to (x, y) in the photo.
"""

import functools
import itertools
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


@functools.cache
def network(name: str) -> onnxruntime.InferenceSession:
    """Loads "detector", "mesh", "segmentation" or "avatar"."""
    return onnxruntime.InferenceSession(Path(__file__).with_name(f"{name}.onnx"), providers=["CPUExecutionProvider"])


def run(name: str, image: np.ndarray) -> list[Any]:
    """Returns the outputs of a network for one picture, [size, size, 3] in [0, 255]."""
    images = image.astype(np.uint8)[None]
    return [output[0] for output in network(name).run(None, {network(name).get_inputs()[0].name: images})]


def square(centre: np.ndarray, side: float, angle: float, size: int) -> np.ndarray:
    """Returns the matrix of a square of `size` pixels, by its centre, side and clockwise angle in the photo."""
    turn = side / size * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return np.column_stack([turn, centre - turn @ (size / 2, size / 2)])


def place(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Maps points [..., 2] of a square to the photo."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def linear(distance: np.ndarray) -> np.ndarray:
    """Returns the weight of a pixel by its distance, at most 1, along an axis."""
    return 1 - np.abs(distance)


def cubic(distance: np.ndarray) -> np.ndarray:
    """Returns the weight of a pixel by its distance, at most 2, along an axis: sharper than `linear`."""
    d = np.abs(distance)
    return np.where(d < 1, (d - 2) * d * d + 1, ((5 - d) * d - 8) * d + 4)


def sample(photo: np.ndarray, matrix: np.ndarray, size: int, draft: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pixels of a square, [size, size, C], the photo's edge going on outside; and the share inside of each.

    Blocks of pixels are averaged first. A draft, good enough for networks that look for something, then takes one
    sample a pixel of the square, otherwise up to 2 x 2 are averaged.
    """
    scale = np.hypot(*matrix[:, 0])  # pixels of the photo along one of the square
    block = max(1, round(scale) if draft else int(scale))
    fine = 1 if draft else math.ceil(max(1, scale / block))
    corners = place(matrix, size * np.array([[0, 0], [0, 1], [1, 0], [1, 1]]))
    first = np.floor(corners.min(axis=0)).astype(int) - 3 * block
    first -= np.where(first < 0, first % block, 0)  # no block is partly outside
    wide, high = np.ceil((corners.max(axis=0) - first) / block).astype(int) + 3
    axes = []
    for start, count, length in zip(first, (wide, high), photo.shape[1::-1], strict=True):
        blocks = np.clip(np.arange(count), -start // block, (length - 1 - start) // block)  # those that have pixels
        axes.append(np.clip((start + block * blocks[:, None] + np.arange(block)).ravel(), 0, length - 1))
    part = photo[np.ix_(axes[1], axes[0])]
    if block > 1:
        part = np.floor(part.reshape(high, block, wide, block, -1).mean(axis=(1, 3), dtype=np.float32) + 0.5)
    centres = (np.arange(size * fine) + 0.5) / fine
    points = place(matrix, np.stack(np.meshgrid(centres, centres), axis=-1))
    inside = ((points >= 0) & (points <= photo.shape[1::-1])).all(axis=-1)
    points = (points - first) / block - 0.5
    left, top = np.floor(points).astype(int).transpose(2, 0, 1)
    right, down = (points % 1).astype(np.float32).transpose(2, 0, 1)[..., None]
    kernel, taps = (linear, range(2)) if draft else (cubic, range(-1, 3))
    pixels = sum(kernel(down - i) * kernel(right - j) * part[top + i, left + j] for i in taps for j in taps)
    return tuple(a.reshape(size, fine, size, fine, -1).mean(axis=(1, 3)) for a in (pixels, inside))


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes [H, W, 3] to [height, width, 3], each pixel the average under a triangle two pixels wide.

    Rounded after each axis, as Pillow does: a face that the detector only just sees is seen by it here too.
    """

    def weights(before: int, after: int) -> np.ndarray:
        scale = before / after
        distances = np.abs((np.arange(after)[:, None] + 0.5) * scale - np.arange(before) - 0.5)
        shares = np.maximum(0, 1 - distances / max(1, scale))
        return shares / shares.sum(axis=1, keepdims=True)

    rows, columns = weights(len(image), height), weights(image.shape[1], width)
    narrow = [np.floor(image[..., channel] @ columns.T + 0.5) for channel in range(3)]
    return np.floor(np.stack([rows @ channel for channel in narrow], axis=-1) + 0.5)


def detect(photo: np.ndarray, side: float, upside_down: bool) -> list[np.ndarray]:
    """Finds faces in overlapping squares of a photo of this side; rows of the detector in the photo's pixels."""
    scale = 128 / side
    small = resize(photo, *(max(1, round(length * scale)) for length in photo.shape[:2]))
    missing = np.maximum(0, 128 - np.array(small.shape[:2]))
    padded = np.pad(small, [(pixels // 2, pixels - pixels // 2) for pixels in missing] + [(0, 0)])  # black
    starts = (
        np.linspace(0, length - 128, math.ceil(2 * length / 128) - 1).round().astype(int) for length in padded.shape[:2]
    )
    found = []
    for top, left in itertools.product(*starts):
        window = padded[top : top + 128, left : left + 128]
        (rows,) = run("detector", window[::-1, ::-1] if upside_down else window)
        for row in rows[rows[:, 0] > 0.5]:  # a score, then in fractions of the window: centre, size, eyes, ...
            points = side * row[1:].reshape(8, 2)
            placed = (side - points if upside_down else points) + (np.array([left, top]) - missing[::-1] // 2) / scale
            placed[1] = points[1]
            found.append(np.append(row[0], placed))
    return suppress(np.array(sorted(found, key=lambda row: -row[0])).reshape(-1, 17))


def suppress(rows: np.ndarray) -> list[np.ndarray]:
    """Averages rows whose boxes overlap by 30 %, weighted by their scores; `rows` [N, 17], the best first."""
    merged = []
    while len(rows):
        low, high = rows[:, 1:3] - rows[:, 3:5] / 2, rows[:, 1:3] + rows[:, 3:5] / 2
        shared = np.maximum(0, np.minimum(high, high[0]) - np.maximum(low, low[0])).prod(axis=1)
        area = rows[:, 3:5].prod(axis=1)
        same = shared >= 0.3 * (area + area[0] - shared)
        merged.append(np.average(rows[same], axis=0, weights=rows[same, 0]))
        rows = rows[~same]
    return merged[:16]


def measure(photo: np.ndarray, row: np.ndarray) -> tuple[Any, ...]:
    """Measures a detected face: (confidence, centre, size, points [468, 2], yaw in degrees)."""
    x, y = row[7:9] - row[5:7]  # the eyes
    centre, side, angle = row[1:3], 1.5 * max(row[3:5]), math.atan2(y, x)
    points = np.full((468, 2), np.inf)
    for _ in range(4):  # each time the square is better placed, by the points of the time before
        matrix, last = square(centre, side, angle, 192), points
        mesh, logit = run("mesh", sample(photo, matrix, 192)[0])  # (x, y, z) in pixels of the square
        points = place(matrix, mesh[:, :2])
        if np.abs(points - last).mean() < 0.002 * side:
            break
        x, y = points[263] - points[33]  # the outer corners of the eyes
        angle = math.atan2(y, x)
        upright = square(np.zeros(2), 1, angle, 1)[:, :2]
        low, high = (points @ upright).min(axis=0), (points @ upright).max(axis=0)
        centre, side = upright @ (low + high) / 2, 1.5 * max(high - low)
    confidence = 1 / (1 + math.exp(min((10 - logit[0]) / 3, 50)))
    x, _, z = mesh[454] - mesh[234]  # the cheeks
    return confidence, points.mean(axis=0), np.ptp(points, axis=0).max(), points, math.degrees(math.atan2(z, x))


def distinct(faces: list[Any]) -> list[Any]:
    """Keeps the most confident of faces in the same place; the most confident first."""
    kept: list[Any] = []
    for face in sorted(faces, key=lambda face: -face[0]):
        if all(np.hypot(*(face[1] - other[1])) > 0.5 * max(face[2], other[2]) for other in kept):
            kept.append(face)
    return kept


def find(photo: np.ndarray) -> tuple[Any, ...]:
    """Finds the largest face, as of `measure`: in the whole photo, then in smaller squares, until one is sure."""
    long, short = max(photo.shape[:2]), min(photo.shape[:2])
    faces: list[Any] = []
    for side in [long, 1.5 * long, *(side for side in (short, short / 2, short / 4) if 96 <= side < long)]:
        for upside_down in (False, True):
            if not faces or faces[0][0] < 0.75:
                faces = distinct(faces + [measure(photo, row) for row in detect(photo, side, upside_down)])
    if not faces or faces[0][0] < 0.1:
        sys.exit("no face found: use a photo of a face that looks at the camera and is well lit")
    return max([face for face in faces if face[0] >= 0.5] or faces[:1], key=lambda face: face[2])


def crop_matrix(points: np.ndarray) -> np.ndarray:
    """Returns the square of 256 pixels that the avatar's network was trained on: by the eyes and the mouth."""
    left, right, mouth = (points[list(corners)].mean(axis=0) for corners in ((33, 133), (362, 263), (61, 291)))
    across, down = right - left, mouth - (left + right) / 2
    x = across + 0.823 * np.array([down[1], -down[0]])
    angle, side = math.atan2(x[1], x[0]), 4.02 * max(np.hypot(*across), 0.923 * np.hypot(*down))
    up = np.array([math.sin(angle), -math.cos(angle)])
    return square((left + right) / 2 + 0.120 * down + 0.012 * side * up, side, angle, 256)


def fault(photo: np.ndarray, face: tuple[Any, ...]) -> str:
    """Returns why a face cannot be used, or nothing."""
    confidence, _, _, points, yaw = face
    if 0.63 * 256 * np.hypot(*crop_matrix(points)[:, 0]) < 48:
        return "the face is too small: use a larger photo"
    if ((points < 0) | (points > photo.shape[1::-1])).any(axis=1).mean() > 0.15:
        return "the face is cut off: use a photo with all of it"
    if abs(yaw) > 40:
        return "the face is turned: use a photo that looks at the camera"
    return "" if confidence >= 0.5 else "this may not be a human face: use a clear photo of a person"


def person(photo: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Returns how much of each pixel of a crop is the person in its middle, [256, 256, 1] in [0, 1]."""
    wider = np.array([[1.3, 0, -0.15 * 256], [0, 1.3, -0.15 * 256], [0, 0, 1]])  # shows more of the shoulders
    pixels, inside = sample(photo, matrix @ wider, 256)
    if inside.mean() <= 0.8:
        wider, pixels = np.eye(3), sample(photo, matrix, 256)[0]
    share = np.clip((run("segmentation", pixels)[0] - 0.4) / 0.4, 0, 1)
    # What is connected to the face in the middle: an area that grows by a pixel, until it grows no more.
    area, size = np.pad(np.zeros(share.shape, bool), 1), -1
    area[78:180, 78:180] = share[77:179, 77:179] > 0
    while size < (size := area.sum()):
        near = area[:-2, 1:-1] | area[2:, 1:-1] | area[1:-1, :-2] | area[1:-1, 2:] | area[1:-1, 1:-1]
        area[1:-1, 1:-1] = near & (share > 0)
    matte = (share * share * (3 - 2 * share) * area[1:-1, 1:-1])[..., None]
    return sample(matte, np.linalg.inv(wider)[:2], 256)[0]


def avatar(photo: np.ndarray) -> np.ndarray:
    """Returns the avatar of the largest face, uint8 [S, S, 3]; ends the program where there is none to use."""
    face = find(photo)
    if text := fault(photo, face):
        sys.exit(text)
    matrix = crop_matrix(face[3])
    crop, inside = sample(photo, matrix, 256, draft=False)
    crop = np.floor(np.clip(crop, 0, 255))
    metadata = network("avatar").get_modelmeta().custom_metadata_map
    if json.loads(metadata["config"])["data"]["cut_out"]:
        alpha = person(photo, matrix) * inside
        crop = crop * alpha + 255 * (1 - alpha)
    return run("avatar", resize(np.rint(crop), *[int(metadata["input_size"])] * 2))[0]


def read(path: str) -> np.ndarray:
    """Decodes a photo: upright, on white where it is transparent, at most 2,000 pixels a side."""
    image = ImageOps.exif_transpose(Image.open(path))
    image.thumbnail((2000, 2000), Image.Resampling.LANCZOS)
    return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")))[..., :3]


if __name__ == "__main__":
    Image.fromarray(avatar(read(sys.argv[1]))).save(sys.argv[2])
