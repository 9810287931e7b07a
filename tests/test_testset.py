from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitmoji_jax.config import DataConfig
from bitmoji_jax.data.builder import Example, encode_image, write_dataset
from bitmoji_jax.data.pipeline import Dataset, open_dataset
from bitmoji_jax.errors import InputError
from bitmoji_jax.evaluation.testset import PLAIN, SQUEEZENET, Split, View, make_test_set, read_split

SIZE = 32
FACE = np.array([(0.36, 0.42), (0.64, 0.42), (0.5, 0.55), (0.4, 0.68), (0.6, 0.68)], np.float32)


def dataset_of(folder: Path, examples: list[Example], attributes: dict[str, type]) -> Dataset:
    plain = [Example(id="0", image=encode_image(np.zeros((SIZE, SIZE, 3), np.uint8)))]
    splits = {"trainA": plain, "trainB": plain, "testA": examples}
    write_dataset(folder / "d", splits, size=SIZE, attributes=attributes, description="")
    return open_dataset(DataConfig(dir=str(folder / "d"), image_size=SIZE))


def test_labels_are_read_and_colours_without_a_label_are_measured(tmp_path: Path) -> None:
    brown = encode_image(np.full((SIZE, SIZE, 3), (150, 100, 70), np.uint8))
    attributes: dict[str, type] = dict.fromkeys(("age", "glasses", "skin_r", "skin_g", "skin_b"), float)
    labelled = {"age": 33.0, "glasses": 1.0, "skin_r": 240.0, "skin_g": 205.0, "skin_b": 180.0}
    examples = [
        Example("labelled", brown, "female", None, labelled),
        Example("measured", brown, "male", FACE, {"glasses": 0.0}),
        Example("unknown", brown),
    ]
    dataset = dataset_of(tmp_path, examples, attributes)
    order = [dataset.read("testA", i)["id"] for i in range(3)]
    split = read_split(dataset, "testA")
    at = {name: order.index(name) for name in ("labelled", "measured", "unknown")}
    assert len(split.images) == 3
    np.testing.assert_array_equal(split.female[[at["labelled"], at["measured"], at["unknown"]]], [1, 0, np.nan])
    assert set(split.visible) == {"glasses"}  # nothing is known of hats
    np.testing.assert_array_equal(split.skin[at["labelled"]], [240, 205, 180])
    np.testing.assert_allclose(split.skin[at["measured"]], [150, 100, 70], atol=3)  # JPEG
    assert np.isnan(split.skin[at["unknown"]]).all()

    subsets = split.subsets
    assert {name: order[int(np.flatnonzero(members)[0])] for name, members in subsets.items()} == {
        "female": "labelled",
        "male": "measured",
        "glasses": "labelled",
        "skin: light": "labelled",
        "skin: dark": "measured",
        "age: 20 to 39": "labelled",
    }


def test_a_labelled_skin_tone_is_used_before_the_colour(tmp_path: Path) -> None:
    white = encode_image(np.full((SIZE, SIZE, 3), 255, np.uint8))
    colour = {"skin_r": 240.0, "skin_g": 205.0, "skin_b": 180.0}  # light
    examples = [
        Example("both", white, attributes={"ita": -20.0, **colour}),
        Example("colour", white, attributes=colour),
    ]
    dataset = dataset_of(tmp_path, examples, dict.fromkeys(("ita", "skin_r", "skin_g", "skin_b"), float))
    order = [dataset.read("testA", i)["id"] for i in range(2)]
    subsets = read_split(dataset, "testA").subsets
    assert {name: order[int(np.flatnonzero(members)[0])] for name, members in subsets.items()} == {
        "skin: dark": "both",
        "skin: light": "colour",
    }


def grey(count: int, size: int, level: int) -> Split:
    """Noise around a level, without labels."""
    noise = np.random.default_rng(level).integers(-40, 40, (count, size, size, 3))
    unknown = np.full((count, 5, 2), np.nan, np.float32)
    none = np.full(count, np.nan)
    colours = np.full((count, 3), np.nan)
    return Split((level + noise).astype(np.uint8), unknown, none, {}, skin=colours, hair=colours, ita=none, age=none)


@pytest.mark.parametrize(("size", "sizes"), [(32, [64]), (64, [64]), (96, [64, 96]), (256, [64, 128])])
def test_kid_is_taken_at_64_px_and_at_the_size_of_the_output(size: int, sizes: list[int]) -> None:
    photos, avatars = grey(4, 128, 60), grey(4, 128, 180)
    stored = {"trainA": photos.images, "trainB": avatars.images}

    class Stored:
        splits, stored_size, paired_test = stored, 128, False

        def read(self, split: str, index: int) -> dict[str, np.ndarray]:
            return {"image": stored[split][index]}

    seen = []

    def network(images: np.ndarray) -> np.ndarray:
        seen.append(images.shape[1])
        return images.mean(axis=(1, 2)).astype(np.float32) / 64

    dataset: Any = Stored()
    test_set = make_test_set(dataset, photos, avatars, size, {SQUEEZENET: network})
    assert list(test_set.scales) == [View(SQUEEZENET, pixels, blurred) for pixels in sizes for blurred in (False, True)]
    assert set(seen) == set(sizes)
    assert test_set.images["x"].shape == (4, size, size, 3)
    for scale in test_set.scales.values():
        assert abs(scale.floor["y"].mean) < 0.01 < scale.ceiling.mean
    # Outputs are resized to the view too.
    assert test_set.features(PLAIN, test_set.images["y"]).shape == (4, 3)
    assert seen[-1] == 64


def test_a_dataset_without_test_images_is_refused(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, [Example("0", encode_image(np.zeros((SIZE, SIZE, 3), np.uint8)))], {})
    with pytest.raises(InputError, match=r"0 images in split testB.*prepare"):
        read_split(dataset, "testB")
    with pytest.raises(InputError, match="1 images in split testA"):
        read_split(dataset, "testA")
