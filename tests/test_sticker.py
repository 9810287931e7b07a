"""Animated stickers, of a drawn face whose points are known."""

import io

import numpy as np
import pytest
from PIL import Image

from bitmoji_jax.inference import sticker
from bitmoji_jax.inference.sticker import POSES, animate, make_sticker

SIZE = 128
SKIN, DARK, GREEN, BLUE = (230, 170, 140), (40, 25, 25), (0, 200, 0), (0, 0, 220)
EYES, MOUTH, TOP = [(0.36, 0.45), (0.64, 0.45)], [(0.40, 0.72), (0.60, 0.72)], (0.5, 0.12)
REST, CLOSED, SMILE = (POSES.index(pose) for pose in ((0, 0, 700), (1, 0, 90), (0, 1, 400)))


def drawn(*, eyes: bool = True) -> np.ndarray:
    """A face on white with two eyes, green corners of the mouth, blue hair, and a neck that reaches the lower edge."""
    y, x = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE

    def disc(centre: tuple[float, float], across: float, down: float) -> np.ndarray:
        return np.square((x - centre[0]) / across) + np.square((y - centre[1]) / down) < 1

    avatar = np.full((SIZE, SIZE, 3), 255, np.uint8)
    avatar[disc((0.5, 0.52), 0.36, 0.4) | ((abs(x - 0.5) < 0.1) & (y > 0.8))] = SKIN
    avatar[disc(TOP, 0.08, 0.04)] = BLUE
    for eye in EYES if eyes else []:
        for across, down, colour in ((0.09, 0.045, DARK), (0.08, 0.04, (255, 255, 255)), (0.03, 0.03, DARK)):
            avatar[disc(eye, across, down)] = colour
    for corner in MOUTH:
        avatar[disc(corner, 0.02, 0.02)] = GREEN
    return avatar


@pytest.fixture(autouse=True)
def mesh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mesh that is as wrong about eyes as the real one is of some avatars."""
    points = np.full((469, 3), 0.5)
    for indices, (x, y) in zip(((33, 133), (362, 263)), EYES, strict=True):
        points[list(indices), :2] = x + 0.01, y - 0.04
    points[[61, 291], :2] = MOUTH
    points[[105, 334], :2] = np.array(EYES) - (0, 0.12)
    points[152, :2] = 0.5, 0.92
    monkeypatch.setattr(sticker, "run_network", lambda *_: points * 192)


def place(frame: np.ndarray, colour: tuple[int, int, int], half: slice = slice(None)) -> np.ndarray:
    """The middle (x, y) of what has a colour in some columns, as fractions."""
    like = np.abs(frame[:, half, :3].astype(int) - colour).sum(axis=-1) < 60
    rows, columns = np.nonzero(like & (frame[:, half, 3] > 128))
    return np.array([columns.mean() + (half.start or 0), rows.mean()]) / SIZE


def whites(frame: np.ndarray) -> int:
    return int(((frame[..., :3].min(axis=-1) > 235) & (frame[..., 3] > 200)).sum())


def test_eyes_are_found_closed_by_lids_and_open_again() -> None:
    frames = animate(drawn())
    assert (frames.shape, frames.dtype) == ((len(POSES), SIZE, SIZE, 4), np.uint8)
    np.testing.assert_array_equal(frames[CLOSED + 2], frames[REST])
    for frame, pose in zip(frames, POSES, strict=True):  # also where the head is tilted
        least, most = {0: (100, 200), 0.5: (10, 90), 1: (0, 0)}[pose.closed]
        assert least <= whites(frame) <= most
    changed = np.nonzero(np.any(frames[CLOSED] != frames[REST], axis=(1, 2)))[0] / SIZE
    assert changed.min() > 0.38
    assert changed.max() < 0.6  # nothing but the eyes


def test_a_face_without_eyes_does_not_blink() -> None:
    frames = animate(drawn(eyes=False))
    np.testing.assert_array_equal(frames[CLOSED], frames[REST])


def test_the_mouth_goes_up_and_apart_the_head_to_the_right_and_the_neck_stays() -> None:
    frames = animate(drawn())
    left, right = slice(0, SIZE // 2), slice(SIZE // 2, SIZE)
    before, after = (np.array([place(frames[i], GREEN, half) for half in (left, right)]) for i in (REST, SMILE))
    assert np.ptp(after[:, 0]) > np.ptp(before[:, 0]) + 0.01
    assert after[:, 1].mean() < before[:, 1].mean() - 0.01
    assert (place(frames[SMILE], BLUE) - place(frames[REST], BLUE))[0] > 0.03
    np.testing.assert_array_equal(frames[SMILE][-1], frames[REST][-1])
    assert frames[:, 0, :, 3].max() == 0  # nothing is cut off at the top


@pytest.mark.parametrize(("format", "size"), [("webp", 512), ("png", SIZE)])
def test_a_file_has_all_frames_their_times_and_no_end(format: str, size: int) -> None:
    exif = Image.Exif()
    exif[305] = "here"
    content = make_sticker(drawn(), format, exif)  # type: ignore[arg-type]
    with Image.open(io.BytesIO(content)) as image:
        assert (image.format, image.size, image.n_frames, image.info["loop"]) == (format.upper(), (size, size), 16, 0)
        assert image.getexif()[305] == "here"
        times = []
        for frame in range(16):
            image.seek(frame)
            image.load()
            times.append(image.info["duration"])
            assert image.convert("RGBA").getpixel((0, 0))[3] == 0
    assert times == [pose.milliseconds for pose in POSES]


def test_a_file_that_is_too_large_has_less_quality(monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = drawn()
    noisy[30:90, 30:90] = np.random.default_rng(0).integers(0, 256, (60, 60, 3))
    content = make_sticker(noisy)
    monkeypatch.setattr(sticker, "MOST_BYTES", int(0.9 * len(content)))
    assert len(make_sticker(noisy)) <= 0.9 * len(content)
