import numpy as np

from bitmoji_jax.inference.picture import before_after, transparent


def avatar() -> np.ndarray:
    """A dark ring with white inside, on white; its outer edge is half mixed with white."""
    y, x = np.mgrid[:32, :32] - 15.5
    radius = np.hypot(x, y)
    image = np.full((32, 32, 3), 255.0)
    image[(radius < 10) & (radius > 5)] = (40, 20, 60)
    image[(radius >= 10) & (radius < 11)] = (147.5, 137.5, 157.5)
    return image.round().astype(np.uint8)


def test_white_around_an_avatar_is_transparent_and_white_inside_stays() -> None:
    rgba = transparent(avatar())
    assert rgba.shape == (32, 32, 4)
    assert rgba[0, 0, 3] == rgba[31, 31, 3] == rgba[0, 16, 3] == 0
    assert rgba[16, 16].tolist() == [255, 255, 255, 255]
    assert rgba[16, 23].tolist() == [40, 20, 60, 255]


def test_an_edge_mixed_with_white_is_half_transparent_and_has_the_colour_that_was_mixed() -> None:
    rgba = transparent(avatar()).astype(int)
    edge = rgba[(rgba[..., 3] > 0) & (rgba[..., 3] < 255)]
    assert len(edge) > 20
    assert np.abs(edge[:, 3] - 128).max() <= 3
    assert np.abs(edge[:, :3] - [40, 20, 60]).max() <= 3


def test_back_on_white_an_avatar_is_what_it_was_also_where_its_background_is_not_quite_white() -> None:
    haze = np.random.default_rng(0).integers(0, 12, (32, 32, 3))
    for image in (avatar(), (avatar() - np.minimum(haze, avatar())).astype(np.uint8)):
        rgba = transparent(image).astype(int)
        on_white = np.rint(255 + (rgba[..., :3] - 255) * rgba[..., 3:] / 255)
        assert np.abs(on_white - image).max() <= 1


def test_a_wide_edge_of_a_large_avatar_leaves_no_pale_seam_and_skin_behind_a_line_stays() -> None:
    y, x = np.mgrid[:256, :256] - 127.5
    radius = np.hypot(x, y)
    line = np.array([40, 20, 60])
    share = np.clip((104 - radius) / 4, 0, 1)[..., None]  # of the line: from white to it within 4 pixels
    image = np.where((radius < 97)[..., None], [250, 200, 170], 255 + share * (line - 255)).round().astype(np.uint8)
    rgba = transparent(image).astype(int)
    on_black = (rgba[..., :3] * rgba[..., 3:] / 255).max(axis=-1)
    assert on_black[radius > 98.5].max() < 100
    np.testing.assert_array_equal(rgba[radius < 96][:, 3], 255)
    np.testing.assert_array_equal(rgba[radius < 96][:, :3], image[radius < 96])


def test_an_avatar_without_white_stays_whole() -> None:
    grey = np.full((8, 8, 3), (90, 100, 110), np.uint8)
    np.testing.assert_array_equal(transparent(grey), np.full((8, 8, 4), (90, 100, 110, 255)))


def test_a_sheet_shows_each_crop_left_of_its_avatar() -> None:
    pairs = [(np.full((256, 256, 3), 10 * i, np.uint8), np.full((64, 64, 3), 100 + 10 * i, np.uint8)) for i in range(4)]
    sheet = np.asarray(before_after(pairs))
    assert sheet.shape == (2 * 136 + 8, 3 * 264 + 8, 3)
    for i in range(4):
        top, left = 8 + i // 3 * 136, 8 + i % 3 * 264
        assert (sheet[top : top + 128, left : left + 128] == 10 * i).all()
        assert (sheet[top : top + 128, left + 128 : left + 256] == 100 + 10 * i).all()
    assert np.asarray(before_after(pairs[:1])).shape == (144, 272, 3)
    large = [(pairs[0][0], np.full((200, 200, 3), 7, np.uint8))]
    assert np.asarray(before_after(large)).shape == (216, 416, 3)
