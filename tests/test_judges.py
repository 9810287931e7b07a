from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

from bitmoji_jax.config import DataConfig
from bitmoji_jax.data.augment import MIRRORED_LANDMARKS
from bitmoji_jax.data.builder import Example, encode_image, write_dataset
from bitmoji_jax.data.pipeline import Dataset, open_dataset
from bitmoji_jax.evaluation import judge_network
from bitmoji_jax.evaluation import judges as judges_module
from bitmoji_jax.evaluation.judges import Judges, load_judges, train_judges
from bitmoji_jax.metrics import glasses, mouth
from bitmoji_jax.metrics.images import nme

SIZE = 32
STEPS = 120
COUNTS = {"trainA": 205, "trainB": 240, "testA": 20, "testB": 60}
COLOURS = np.array([[200, 0, 0], [0, 160, 0], [0, 0, 200], [0, 160, 160], [160, 0, 160]], np.float32)


def drawn(index: int, female: bool, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """A soft dot at each of five points, light where female, dark where not; the points as fractions [5, 2]."""
    random = np.random.default_rng(index)
    upright = np.array([[0.35, 0.4], [0.65, 0.4], [0.5, 0.55], [0.4, 0.7], [0.6, 0.7]])
    points = (upright + random.uniform(-0.08, 0.08, 2)).astype(np.float32)
    centres = (np.arange(size) + 0.5) / size
    image = np.full((size, size, 3), 110.0)
    for x, y in points:
        near = np.exp(-((centres - x) ** 2 + (centres[:, None] - y) ** 2) / (2 * 0.05**2))
        image += near[..., None] * (100 if female else -100)
    return image.round().clip(0, 255).astype(np.uint8), points


def examples(split: str) -> list[Example]:
    """Gender is visible, glasses are random, nobody has a hat; some points are unknown."""
    throws = np.random.default_rng(len(split)).integers(0, 2, COUNTS[split])
    made = []
    for index in range(COUNTS[split]):
        female = index % 2 == 0
        image, points = drawn(1000 * list(COUNTS).index(split) + index, female)
        if index % 5 == 0:
            points[2:4] = np.nan
        made.append(
            Example(
                id=f"{index:03}",
                image=encode_image(image),
                gender="unknown" if index % 12 == 0 else ("male", "female")[female],
                landmarks=None if split.endswith("A") and index % 10 == 1 else points,
                attributes={"glasses": float(throws[index]), "hat": 0.0},
            )
        )
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "dots"
    attributes = {"glasses": float, "hat": float}
    write_dataset(folder, {s: examples(s) for s in COUNTS}, size=SIZE, attributes=attributes, description="tests")
    return folder


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return open_dataset(DataConfig(dir=str(folder)))


def light_mouths(images: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """In place of the teeth, which these images are too small for: light dots are an open mouth."""
    assert (images.shape, landmarks.shape) == ((1, SIZE, SIZE, 3), (1, 5, 2))
    return np.array([images.mean() > 110], float)


@pytest.fixture(scope="module")
def judges(dataset: Dataset) -> Judges:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mouth, "shows_teeth", light_mouths)
        return train_judges(dataset, steps=STEPS)


@pytest.fixture
def quiet() -> Console:
    return Console(quiet=True)


def images_and_points(size: int, count: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    female = np.arange(count) % 3 > 0
    images, points = zip(*(drawn(9000 + i, f, size) for i, f in enumerate(female)), strict=True)
    return np.stack(images), np.stack(points), female


@pytest.mark.parametrize("size", [32, 100])
def test_visible_labels_are_learnt_for_any_size(judges: Judges, size: int) -> None:
    images, points, female = images_and_points(size)
    found = judges.landmarks("y", images)
    assert found.dtype == np.float32
    assert nme(found, points).mean < 0.1
    probability = judges.classify("gender", images)
    assert probability.dtype == np.float64
    np.testing.assert_array_equal(probability > 0.5, female)
    np.testing.assert_array_equal(judges.classify("mouth_open", images) > 0.5, female)


def test_a_mirrored_image_has_mirrored_points(judges: Judges) -> None:
    images, points, _ = images_and_points(64)
    mirrored = (points * [-1, 1] + [1, 0])[:, MIRRORED_LANDMARKS]
    assert nme(judges.landmarks("y", images[:, :, ::-1]), mirrored).mean < 0.1


def test_accuracies_are_high_for_visible_labels_and_at_chance_for_random_ones(judges: Judges) -> None:
    accuracies = {accuracy.name: accuracy for accuracy in judges.accuracies}
    assert list(accuracies) == ["landmarks_y", "gender_y", "glasses_y", "mouth_open_y"]
    assert accuracies["gender_y"].value == 1
    assert accuracies["gender_y"].reliable
    assert accuracies["gender_y"].images == 55
    mouths = accuracies["mouth_open_y"]  # of all avatars, also those whose gender is not labelled
    assert (mouths.title, mouths.value, mouths.images) == ("mouth open of avatars", 1, 60)
    assert accuracies["landmarks_y"].value < 0.1
    assert accuracies["landmarks_y"].reliable
    assert accuracies["landmarks_y"].images == 60
    assert 0.25 < accuracies["glasses_y"].value < 0.75
    assert not accuracies["glasses_y"].reliable
    for accuracy in accuracies.values():
        assert set(accuracy.under) == {
            "noise 8",
            "noise 20",
            "blur 1 px",
            "blur 2 px",
            "JPEG 30",
            "checkerboard 8, 2 px",
            "checkerboard 16, 4 px",
        }
        assert np.isfinite(list(accuracy.under.values())).all()


def test_too_few_labels_make_no_judge(judges: Judges) -> None:
    assert judges.missing == {
        "landmarks_x": "trainA and testA have 184 and 18 images with landmarks, 200 and 20 are needed",
        "hat_y": "trainB and testB have 240 and 60 avatars labelled no hat, 0 and 0 labelled hat, "
        "50 and 5 of each are needed",
    }
    images = np.zeros((1, 8, 8, 3), np.uint8)
    with pytest.raises(LookupError, match="trainA and testA have 184"):
        judges.landmarks("x", images)
    with pytest.raises(LookupError, match="0 and 0 labelled hat"):
        judges.classify("hat", images)
    with pytest.raises(LookupError, match="no such name"):
        judges.classify("beard", images)


def test_glasses_are_measured_where_avatars_have_no_label(monkeypatch: pytest.MonkeyPatch, dataset: Dataset) -> None:
    monkeypatch.setattr(glasses, "wears_glasses", lambda images, _: np.ones(len(images)))
    rows = [{**dataset.splits["trainB"][i], "attributes": {"glasses": np.nan if i < 13 else 0.0}} for i in range(40)]
    judges = train_judges(Dataset({"trainB": rows}, SIZE))  # of too few labels, so no network is trained
    assert judges.missing["glasses_y"].startswith(
        "trainB and testB have 27 and 0 avatars labelled no glasses, 13 and 0 labelled glasses"
    )


def test_without_enough_labels_there_are_no_judges_and_that_is_saved_too(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # other tests may have saved judges of this dataset
    dataset, console = open_dataset(DataConfig(dir=str(tiny_dataset))), Console(record=True, width=200)
    for _ in range(2):
        judges = load_judges(dataset, console)
        assert judges.accuracies == ()
        assert set(judges.missing) == {"landmarks_x", "landmarks_y", "gender_y", "glasses_y", "hat_y", "mouth_open_y"}
    assert console.export_text().count("Training") == 1


def test_the_same_seed_trains_the_same_judges(dataset: Dataset) -> None:
    first, second = train_judges(dataset, steps=3), train_judges(dataset, steps=3)
    jax.tree.map(np.testing.assert_array_equal, first.params, second.params)
    assert first.accuracies == second.accuracies


def test_saved_judges_are_the_same_and_not_trained_again(
    dataset: Dataset, judges: Judges, quiet: Console, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    trained = []
    monkeypatch.setattr(judges_module, "train_judges", lambda *_, **__: trained.append(1) or judges)
    load_judges(dataset, quiet)
    again = load_judges(dataset, quiet)
    assert len(trained) == 1
    jax.tree.map(np.testing.assert_array_equal, again.params, judges.params)
    assert (again.accuracies, again.missing) == (judges.accuracies, judges.missing)


@pytest.mark.parametrize("damage", ["cut", "changed", "text"])
def test_a_damaged_file_is_replaced(
    dataset: Dataset, judges: Judges, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    trained = []
    monkeypatch.setattr(judges_module, "train_judges", lambda *_, **__: trained.append(1) or judges)
    console = Console(record=True, width=200)
    load_judges(dataset, console)
    (path,) = (tmp_path / "bitmoji_jax").iterdir()
    content = path.read_bytes()
    path.write_bytes(
        {"cut": content[:-1000], "changed": content[:-8] + bytes(8), "text": b"not a tensor in it"}[damage]
    )
    load_judges(dataset, console)
    assert len(trained) == 2
    assert "damaged" in console.export_text()
    assert path.read_bytes() == content
    load_judges(dataset, console)
    assert len(trained) == 2


def full_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_cache_that_cannot_be_written_is_reported_and_no_error(
    dataset: Dataset, judges: Judges, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(judges_module, "train_judges", lambda *_, **__: judges)
    monkeypatch.setattr(judges_module, "_write", full_disk)
    console = Console(record=True, width=200)
    assert load_judges(dataset, console) is judges
    assert "could not be saved" in console.export_text()


def test_changed_labels_train_new_judges(
    dataset: Dataset, judges: Judges, quiet: Console, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(judges_module, "train_judges", lambda *_, **__: judges)
    load_judges(dataset, quiet)
    rows = [dict(dataset.splits["trainB"][i]) for i in range(240)]
    load_judges(Dataset({**dataset.splits, "trainB": rows}, SIZE), quiet)
    assert len(list((tmp_path / "bitmoji_jax").iterdir())) == 1
    rows[7]["gender"] = 1 - rows[7]["gender"]
    load_judges(Dataset({**dataset.splits, "trainB": rows}, SIZE), quiet)
    assert len(list((tmp_path / "bitmoji_jax").iterdir())) == 2


@pytest.mark.parametrize("module", ["judges", "judge_network", "glasses", "mouth"])
def test_judges_of_other_code_are_not_taken(
    dataset: Dataset, judges: Judges, quiet: Console, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(judges_module, "train_judges", lambda *_, **__: judges)
    load_judges(dataset, quiet)
    modules = {"judges": judges_module, "judge_network": judge_network, "glasses": glasses, "mouth": mouth}
    changed = modules[module]
    (tmp_path / "changed.py").write_bytes(Path(str(changed.__file__)).read_bytes() + b"\n")
    monkeypatch.setattr(changed, "__file__", str(tmp_path / "changed.py"))
    load_judges(dataset, quiet)
    assert len(list((tmp_path / "bitmoji_jax").iterdir())) == 2


def test_any_number_of_images_is_compiled_once(judges: Judges) -> None:
    images = np.concatenate([images_and_points(48)[0]] * 4)
    every = judges.landmarks("y", images)
    compiled = judge_network.predict._cache_size()
    for count in (1, 63, 64, 65, 0):
        some = judges.landmarks("y", images[:count])
        assert some.shape == (count, 5, 2)
        np.testing.assert_array_equal(some, every[:count])
    assert judges.classify("gender", images[:0]).shape == (0,)
    assert judge_network.predict._cache_size() == compiled


@pytest.mark.parametrize(
    "images",
    [np.zeros((1, 8, 8, 3), np.float32), np.zeros((8, 8, 3), np.uint8), np.zeros((1, 8, 9, 3), np.uint8)],
)
def test_other_types_and_shapes_are_refused(judges: Judges, images: np.ndarray) -> None:
    with pytest.raises(ValueError, match="not uint8"):
        judges.classify("gender", images)
