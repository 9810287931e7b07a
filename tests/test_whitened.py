import numpy as np
import pytest

from bitmoji_jax.metrics.whitened import correlations, from_eyes, own_and_other_distances, whiten

NORMAL = np.random.default_rng(0).normal(size=(500, 6))


def test_places_are_those_from_the_middle_of_the_eyes() -> None:
    landmarks = np.array([[(0.3, 0.4), (0.7, 0.6), (0.5, 0.7), (0.4, 0.9), (0.6, 0.8)]], np.float32)
    np.testing.assert_allclose(from_eyes(landmarks), [[0, 0.2, -0.1, 0.4, 0.1, 0.3]], atol=1e-6)
    np.testing.assert_allclose(from_eyes(landmarks + 0.1), from_eyes(landmarks), atol=1e-6)  # a moved head
    landmarks[0, 1] = np.nan
    assert np.isnan(from_eyes(landmarks)).all()
    with pytest.raises(ValueError, match="5, 2"):
        from_eyes(landmarks[0])


def test_whitened_points_are_counted_from_the_references_mean_in_its_deviations() -> None:
    reference = 3 + 2 * NORMAL
    reference[7, 2] = np.nan  # this image is left out
    kept = np.delete(reference, 7, axis=0)
    found = whiten(NORMAL, reference)
    np.testing.assert_allclose(found, (NORMAL - kept.mean(axis=0)) / kept.std(axis=0))
    own = whiten(kept, kept)
    np.testing.assert_allclose(own.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(own.std(axis=0), 1)
    shrunk = whiten(kept.mean(axis=0) + 0.1 * (kept - kept.mean(axis=0)), kept)
    np.testing.assert_allclose(shrunk.std(axis=0), 0.1)  # outputs that are all alike are not stretched


def test_a_reference_that_says_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="for 2 images"):
        whiten(NORMAL, NORMAL[:2])
    with pytest.raises(ValueError, match="in one place"):
        whiten(NORMAL, np.full((9, 6), 0.1))
    with pytest.raises(ValueError, match="shapes"):
        whiten(NORMAL, NORMAL[:, :4])


def test_other_rows_are_all_but_the_own_one() -> None:
    targets, found = NORMAL[:20].copy(), NORMAL[20:40].copy()
    targets[3, 1] = found[5, 0] = np.nan
    own, others = own_and_other_distances(targets, found)
    assert np.isnan(own[[3, 5]]).all()
    assert np.isnan(others[[3, 5]]).all()
    known = [i for i in range(20) if i not in (3, 5)]
    for i in known:
        distances = {k: np.sqrt(np.mean((targets[i] - found[k]) ** 2)) for k in known}
        assert own[i] == pytest.approx(distances.pop(i))
        assert others[i] == pytest.approx(np.mean(list(distances.values())))


def test_the_ratio_is_0_for_own_points_and_1_for_anyones_or_nobodys() -> None:
    def ratio(found: np.ndarray) -> float:
        own, others = own_and_other_distances(NORMAL, found)
        return own.mean() / others.mean()

    assert ratio(NORMAL) == pytest.approx(0, abs=1e-6)
    assert ratio(np.zeros_like(NORMAL)) == pytest.approx(1)
    assert ratio(np.random.default_rng(1).normal(size=NORMAL.shape)) == pytest.approx(1, abs=0.03)
    own, others = own_and_other_distances(NORMAL[:1], NORMAL[:1])
    assert (own, np.isnan(others)) == ([0], [True])


def test_correlations_are_numpys_and_0_where_nothing_varies() -> None:
    found = 5 - 0.2 * NORMAL + 0.3 * np.random.default_rng(1).normal(size=NORMAL.shape)
    found[:, 3], found[:, 4] = 0.1, NORMAL[:, 4]
    expected = [np.corrcoef(NORMAL[:, k], found[:, k])[0, 1] for k in (0, 1, 2)]
    np.testing.assert_allclose(correlations(NORMAL, found)[:5], [*expected, 0, 1])
    found[0, 0] = np.nan
    np.testing.assert_allclose(correlations(NORMAL, found), correlations(NORMAL[1:], found[1:]))
    assert np.isnan(correlations(NORMAL[:2], NORMAL[:2])).all()
    with pytest.raises(ValueError, match="shapes"):
        correlations(NORMAL, NORMAL[:9])
