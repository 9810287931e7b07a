import io

import numpy as np
import pytest
from PIL import Image

from bitmoji_jax.data.pipeline import Dataset
from bitmoji_jax.metrics.paired import paired_error

SIZE = 8


def flat_image(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (SIZE, SIZE), (value, value, value)).save(buffer, "PNG")
    return buffer.getvalue()


def dataset_of(photos: list[int], avatars: list[int], train_avatars: list[int]) -> Dataset:
    """Partners are photos[i] and avatars[i]; avatars are stored in another order than photos."""
    return Dataset(
        {
            "testA": [{"id": b"%d" % i, "image": flat_image(v)} for i, v in enumerate(photos)],
            "testB": [{"id": b"%d" % i, "image": flat_image(v)} for i, v in enumerate(avatars)][::-1],
            "trainB": [{"image": flat_image(v)} for v in train_avatars],
        },
        stored_size=SIZE,
        paired_test=True,
    )


PHOTOS, AVATARS = [0, 100, 40], [30, 110, 250]
SMALL = dataset_of(PHOTOS, AVATARS, train_avatars=[10, 21])


def test_doing_nothing_scores_the_distance_of_photos_from_their_partners() -> None:
    result = paired_error(lambda photos: photos, SMALL)
    assert result.translated == result.copied == pytest.approx((30 + 10 + 210) / 3)


def test_the_true_avatars_score_0() -> None:
    partner = np.zeros(256, np.uint8)
    partner[PHOTOS] = AVATARS
    result = paired_error(lambda photos: partner[photos], SMALL)
    assert result.translated == 0
    assert result.copied == pytest.approx((30 + 10 + 210) / 3)


def test_the_mean_avatar_is_that_of_the_training_split_unrounded() -> None:
    result = paired_error(lambda photos: photos, SMALL)
    assert result.mean_avatar == pytest.approx((abs(30 - 15.5) + abs(110 - 15.5) + abs(250 - 15.5)) / 3)


def test_differences_do_not_wrap_around() -> None:
    result = paired_error(lambda photos: np.zeros_like(photos), dataset_of([0], [255], [0]))
    assert (result.translated, result.copied, result.mean_avatar) == (255, 255, 255)


@pytest.mark.parametrize("count", [1, 33])
def test_every_photo_counts_once(count: int) -> None:
    photos = list(range(count))
    avatars = [2 * value + 20 for value in photos]
    result = paired_error(lambda images: images * 2, dataset_of(photos, avatars, train_avatars=[0]))
    assert result.images == count
    assert result.translated == 20
    assert result.copied == pytest.approx(np.mean([value + 20 for value in photos]))
    assert result.mean_avatar == pytest.approx(np.mean(avatars))
