"""From a photo to the training framing, on a face that comes with scikit-image."""

import functools
import math
import pickle
import tracemalloc

import numpy as np
import pytest
import skimage.data
from PIL import Image

from benchmarks.alignment import invert
from bitmoji_jax.faces.align import AlignedFace, FaceError, align, crop_matrix
from bitmoji_jax.faces.resample import apply, square_matrix, warp

SIZE = 64
CORNERS = SIZE * np.array([[0, 0], [0, 1], [1, 0], [1, 1]])


@functools.cache
def reference() -> AlignedFace:
    (face,) = align(skimage.data.astronaut(), size=SIZE)
    return face


def placed(angle: float, scale: float, width: int = 700, height: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """The astronaut turned clockwise (degrees), scaled and put aside; and the matrix from the photo to the result."""
    photo = Image.fromarray(skimage.data.astronaut())
    pixels = round(512 * scale)
    centre = np.array([width * 0.55, height * 0.6])
    matrix = square_matrix(centre, pixels, math.radians(angle), 512)
    back = invert(square_matrix(centre, pixels, math.radians(angle), pixels))
    image = photo.resize((pixels, pixels), Image.Resampling.LANCZOS).transform(
        (width, height), Image.Transform.AFFINE, tuple(back.ravel()), Image.Resampling.BICUBIC, fillcolor=(40, 90, 60)
    )
    return np.asarray(image), matrix


def framing_error(found: np.ndarray, true: np.ndarray) -> float:
    side = SIZE * math.sqrt(np.linalg.det(true[:, :2]))
    return float(np.linalg.norm(apply(found, CORNERS) - apply(true, CORNERS), axis=1).mean() / side)


def test_an_upright_photo_is_framed_as_training_photos_are() -> None:
    face = reference()
    assert face.image.shape == (SIZE, SIZE, 3)
    assert face.image.dtype == np.uint8
    assert face.foreground.shape == (SIZE, SIZE)
    assert face.points.shape == (468, 2)
    assert face.warnings == ()
    assert face.confidence > 0.9
    # Pupils and the mouth's middle, read off the photo by eye; and where training photos have them.
    points = apply(invert(face.matrix), np.array([[203.5, 101.2], [246.8, 103.3], [224.0, 141.2]])) / SIZE
    np.testing.assert_allclose(points, [[0.376, 0.476], [0.624, 0.476], [0.5, 0.727]], atol=0.03)


@pytest.mark.parametrize(
    ("angle", "scale"), [(0, 0.5), (30, 0.9), (-45, 1.1), (70, 0.7), (90, 0.8), (-90, 0.8), (135, 0.8), (180, 0.9)]
)
def test_a_turned_and_scaled_photo_gives_the_same_crop(angle: float, scale: float) -> None:
    photo, matrix = placed(angle, scale)
    (face,) = align(photo, size=SIZE)
    true = np.concatenate(
        [matrix[:, :2] @ reference().matrix[:, :2], apply(matrix, reference().matrix[:, 2])[:, None]], 1
    )
    assert framing_error(face.matrix, true) < 0.04
    assert face.warnings == ()
    np.testing.assert_allclose(face.points, apply(matrix, reference().points), atol=0.03 * 512 * scale)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_give_the_same_picture(turns: int) -> None:
    (face,) = align(np.rot90(skimage.data.astronaut(), turns).copy(), size=SIZE)
    assert np.abs(face.image.astype(float) - reference().image).mean() < 10


def test_the_matrix_and_the_points_say_where_the_crop_is() -> None:
    photo = skimage.data.astronaut()
    (face,) = align(photo, size=SIZE, cut_out=False)
    np.testing.assert_array_equal(face.image, warp(photo, face.matrix, SIZE))
    np.testing.assert_allclose(face.matrix, crop_matrix(face.points, SIZE))
    assert (face.foreground == 1).all()


def test_the_person_is_on_white() -> None:
    face = reference()
    centre = slice(SIZE * 3 // 8, SIZE * 5 // 8)
    assert face.foreground[centre, centre].min() > 0.95
    assert face.foreground[:8, [0, -1]].max() < 0.05
    assert (face.image[face.foreground == 0] == 255).all()
    (whole,) = align(skimage.data.astronaut(), size=SIZE, cut_out=False)
    np.testing.assert_array_equal(face.image[face.foreground == 1], whole.image[face.foreground == 1])


def test_outside_the_photo_is_white_if_cut_out_and_the_edge_otherwise() -> None:
    photo = skimage.data.astronaut()[25:, :300].copy()  # the crop begins at row 14
    (face,) = align(photo, size=SIZE)
    assert (face.image[0] == 255).all()
    assert (face.foreground[0] == 0).all()
    (face,) = align(photo, size=SIZE, cut_out=False)
    assert (face.image[0] < 255).any()


def test_a_grey_photo_is_as_good() -> None:
    grey = skimage.data.astronaut().mean(axis=2).astype(np.uint8)
    (face,) = align(np.repeat(grey[..., None], 3, axis=2), size=SIZE)
    assert framing_error(face.matrix, reference().matrix) < 0.02


def several() -> np.ndarray:
    """Three astronauts, the middle one the largest, the last too small to use; on grey."""
    picture = np.full((640, 1100, 3), 120, np.uint8)
    photo = Image.fromarray(skimage.data.astronaut())
    for left, top, side in ((20, 250, 330), (380, 40, 540), (960, 20, 120)):
        picture[top : top + side, left : left + side] = photo.resize((side, side), Image.Resampling.LANCZOS)
    return picture


def test_of_several_faces_the_largest_or_all_come_the_largest_first() -> None:
    (face,) = align(several(), size=SIZE)
    assert 380 < face.points[:, 0].mean() < 920
    faces = align(several(), size=SIZE, all_faces=True)
    assert [round(face.points[:, 0].mean(), -2) for face in faces] == [600, 200]
    forced = align(several(), size=SIZE, all_faces=True, force=True)
    assert [[fault.reason for fault in face.warnings] for face in forced] == [[], [], ["too small"]]


def test_a_small_face_in_a_large_picture_is_found() -> None:
    picture = np.random.default_rng(0).integers(0, 90, (1200, 1600, 3), dtype=np.uint8)
    picture[700:1100, 300:700] = np.asarray(Image.fromarray(skimage.data.astronaut()).resize((400, 400)))
    (face,) = align(picture, size=SIZE)
    # From the photo's 512 pixels to 400.
    true = reference().matrix * 400 / 512 + np.array([[0, 0, 300], [0, 0, 700]])
    assert framing_error(face.matrix, true) < 0.03


def refused(photo: np.ndarray) -> FaceError:
    with pytest.raises(FaceError) as caught:
        align(photo, size=SIZE)
    assert "\n" not in str(caught.value)
    (face,) = align(photo, size=SIZE, force=True)
    assert face.warnings[0].reason == caught.value.reason
    return caught.value


def test_a_face_of_few_pixels_is_too_small() -> None:
    photo = np.asarray(Image.fromarray(skimage.data.astronaut()).resize((180, 180), Image.Resampling.LANCZOS))
    assert refused(photo).reason == "too small"


# A third of the face is outside. Much less is found of a half, and then there is no face, or it is unsure.
@pytest.mark.parametrize("slices", [np.s_[:, 205:], np.s_[:, :240], np.s_[105:], np.s_[:140]])
def test_a_face_that_leaves_the_picture_is_cut_off(slices: tuple[slice, ...]) -> None:
    assert refused(skimage.data.astronaut()[slices].copy()).reason == "cut off"


@pytest.mark.parametrize("slices", [np.s_[:, 222:], np.s_[:, :222], np.s_[115:]])
def test_half_a_face_is_not_taken(slices: tuple[slice, ...]) -> None:
    assert refused(skimage.data.astronaut()[slices].copy()).reason in ("cut off", "unsure", "no face")


def test_a_profile_is_turned_too_far() -> None:
    grey = skimage.data.camera()
    assert refused(np.repeat(grey[..., None], 3, axis=2)).reason == "turned"


@pytest.mark.parametrize("name", ["coffee", "brick", "noise", "black", "chelsea"])
def test_a_picture_without_a_human_face_is_refused(name: str) -> None:
    if name == "noise":
        photo = np.random.default_rng(0).integers(0, 256, (200, 250, 3), dtype=np.uint8)
    elif name == "black":
        photo = np.zeros((250, 200, 3), np.uint8)
    else:
        photo = np.asarray(Image.fromarray(getattr(skimage.data, name)()).convert("RGB").resize((300, 200)))
    assert refused(photo).reason in ("no face", "unsure")


def test_without_a_face_force_takes_the_middle() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (100, 150, 3), dtype=np.uint8)
    (face,) = align(photo, size=100, cut_out=False, force=True)
    np.testing.assert_array_equal(face.image, photo[:, 25:125])
    assert [fault.reason for fault in face.warnings] == ["no face"]
    assert face.confidence == 0
    assert np.isnan(face.points).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 5000), (127, 129)])
def test_odd_pictures_are_refused_not_crashed_on(shape: tuple[int, int]) -> None:
    assert refused(np.full((*shape, 3), 200, np.uint8)).reason == "no face"


@pytest.mark.parametrize("photo", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), np.uint8)])
def test_what_is_no_photo_is_a_mistake_of_the_caller(photo: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        align(photo, size=SIZE)


def test_an_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(FaceError("turned", "the face is turned")))
    assert (error.reason, str(error)) == ("turned", "the face is turned")


def test_a_large_picture_takes_little_memory_besides() -> None:
    picture = np.full((4000, 6000, 3), 90, np.uint8)
    picture[:2048, 1000:3048] = np.asarray(Image.fromarray(skimage.data.astronaut()).resize((2048, 2048)))
    align(skimage.data.astronaut(), size=SIZE)  # compiles
    tracemalloc.start()
    align(picture, size=SIZE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < picture.nbytes / 2
