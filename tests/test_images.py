from collections.abc import Mapping

import numpy as np
import pytest

from bitmoji_jax.data.builder import Example
from bitmoji_jax.data.images import decode_image
from bitmoji_jax.data.prepare import Report, prepare
from tests.hostile_images import SIZE, Fate, write_corpus
from tests.image_folders import fill, read

Hostile = tuple[Mapping[str, Fate], Report, Mapping[str, Example]]


@pytest.fixture(scope="module")
def hostile(
    tmp_path_factory: pytest.TempPathFactory,
) -> Hostile:
    root = tmp_path_factory.mktemp("hostile")
    fates = write_corpus(root / "photos", root / "outside")
    report = prepare([root / "photos"], fill(root / "avatars", 3, seed=1), root / "out", size=SIZE, workers=1)
    splits = read(root / "out")
    return fates, report, splits["trainA"] | splits["testA"]


def test_every_kind_of_file_is_accepted_or_listed(hostile: Hostile) -> None:
    fates, report, accepted = hostile
    assert len(fates) >= 90
    wrong = []
    reasons = {each.file: each.reason for each in (*report.dropped, *report.skipped)}
    for name, fate in fates.items():
        if fate.reason is not None:
            if reasons.get(name) != fate.reason or name in accepted:
                wrong.append(f"{name!r}: want {fate.reason}, got {reasons.get(name, 'accepted')}")
        elif name not in accepted:
            wrong.append(f"{name!r}: want it accepted, got {reasons.get(name, 'nothing at all')}")
    assert not wrong, "\n".join(wrong)
    assert set(accepted) | set(reasons) == set(fates)
    assert all(each.detail for each in report.dropped)


def test_every_accepted_image_has_the_right_colours(hostile: Hostile) -> None:
    fates, _, accepted = hostile
    wrong = []
    for name, example in accepted.items():
        rgb = decode_image(example.image)
        assert rgb.shape == (SIZE, SIZE, 3)
        middles = [
            rgb[y - 4 : y + 4, x - 4 : x + 4].mean((0, 1))
            for y in (SIZE // 4, 3 * SIZE // 4)
            for x in (SIZE // 4, 3 * SIZE // 4)
        ]
        worst = np.abs(np.array(middles) - fates[name].colours).max()
        if worst > fates[name].tolerance:
            wrong.append(f"{name!r}: {np.rint(middles).tolist()} for {fates[name].colours}")
    assert not wrong, "\n".join(wrong)


def test_a_format_that_is_not_known_comes_with_a_hint(hostile: Hostile) -> None:
    details = {each.file: each.detail for each in hostile[1].dropped}
    assert "convert it to JPEG" in details["no-phone.heic"]
    assert "photos/plain.jpg" in details["plain2.jpg"]
