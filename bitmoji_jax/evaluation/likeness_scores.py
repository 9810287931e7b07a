"""Scores of whether an avatar has its photo's face: where nose and mouth are, and whether the mouth is open.

No network that training uses looks at an avatar here. The mesh of points, which training may use, sees photos only.
"""

import dataclasses

import numpy as np

from bitmoji_jax.evaluation.photo_scores import OTHER_AVATAR
from bitmoji_jax.evaluation.results import Score, averaged, in_groups, judged
from bitmoji_jax.evaluation.testset import Outputs
from bitmoji_jax.metrics.mouth import lips_apart
from bitmoji_jax.metrics.whitened import correlations, from_eyes, own_and_other_distances, whiten
from bitmoji_jax.models.face_networks import SIZES, run_network
from bitmoji_jax.ops.batching import resized

_COORDINATES = tuple(f"{point} {axis}" for point in ("nose", "left corner", "right corner") for axis in "xy")


def whitened_landmark_scores(outputs: Outputs) -> list[Score]:
    """Measures whether nose and mouth are where the photo's are, each compared with what is usual in its own domain.

    The photos' points are labels, whitened by those of all test photos; an avatar's are the judge's, whitened by what
    the judge finds on real test avatars. The scores are their distance, its ratio to that from other photos' avatars,
    and the mean correlation of the six coordinates.
    """
    title = "Nose and mouth, whitened, photo to avatar"
    distance = Score("landmarks_whitened", title, "standard deviations", "lower")
    ratio = Score("landmarks_whitened_ratio", f"{title}, over that of other photos' avatars", "", "lower")
    correlation = Score("landmark_correlation", "Correlation of nose and mouth, photo with avatar", "", "higher")
    scores = [distance, ratio, correlation]
    photos, judges = outputs.test_set.photos, outputs.judges
    if (reason := judges.missing.get("landmarks_y")) is not None:
        return [dataclasses.replace(score, note=reason) for score in scores]
    labels = from_eyes(photos.landmarks)
    real, made = (from_eyes(judges.landmarks("y", images)) for images in (outputs.test_set.images["y"], outputs.fake_y))
    try:
        targets, found = whiten(labels, labels), whiten(made, real)
    except ValueError as error:
        return [dataclasses.replace(score, note=f"landmarks of photos or avatars: {error}") for score in scores]
    accuracy = judges.accuracy("landmarks_y")
    distance, ratio, correlation = (judged(score, accuracy) for score in scores)

    own, others = own_and_other_distances(targets, found)
    references = {OTHER_AVATAR: float(np.nanmean(others)), "the mean avatar for everybody": _from_mean(targets)}
    distance = averaged(dataclasses.replace(distance, references=references), own, photos.subsets)
    known = np.isfinite(own)

    def over_others(some: np.ndarray) -> float:
        return float(own[some].mean() / others[some].mean())

    def correlated(some: np.ndarray) -> float:
        return float(correlations(targets[some], found[some]).mean())

    ratio = dataclasses.replace(
        ratio,
        value=over_others(known),
        images=distance.images,
        references={"ignoring who is there": 1.0},
        groups=in_groups(over_others, known, photos.subsets),
    )
    each = correlations(targets, found)
    judge = correlations(whiten(from_eyes(outputs.test_set.avatars.landmarks), real), whiten(real, real))
    correlation = dataclasses.replace(
        correlation,
        value=float(each.mean()),
        images=distance.images,
        references={"judge with labels of real avatars": float(judge.mean()), "ignoring who is there": 0.0},
        groups=in_groups(correlated, known, photos.subsets),
        note="; ".join(
            [f"{name} {value:.2f}" for name, value in zip(_COORDINATES, each, strict=True)]
            + ([correlation.note] if correlation.note else [])
        ),
    )
    return [distance, ratio, correlation]


def mouth_score(outputs: Outputs) -> Score:
    """Measures how often the avatar's mouth is open where the photo's is, and closed where that is closed.

    The photo's mouth is seen by the mesh of points, which leaves out those in between; the avatar's by the judge.
    """
    photos = outputs.test_set.photos
    score = Score("mouth_open_kept", "Mouth open or closed as in the photo", "%", "higher")
    if (reason := outputs.judges.missing.get("mouth_open_y")) is not None:
        return dataclasses.replace(score, note=reason)
    small = resized(photos.images, SIZES["mesh"])
    labels = lips_apart(np.stack([run_network("mesh", photo) for photo in small]))
    if not np.isfinite(labels).any():
        return dataclasses.replace(score, note="no photo's mouth is clearly open or closed")
    accuracy = outputs.judges.accuracy("mouth_open_y")
    found = outputs.judges.classify("mouth_open", outputs.fake_y) > 0.5
    kept = np.where(np.isfinite(labels), 100.0 * (found == (labels == 1)), np.nan)
    commoner = 100 * max(np.nanmean(labels), 1 - np.nanmean(labels))
    score = dataclasses.replace(
        score,
        references={"classifier on real avatars": 100 * accuracy.value, "one mouth for everybody": float(commoner)},
    )
    groups = {"mouth open": labels == 1, "mouth closed": labels == 0, **photos.subsets}
    return averaged(judged(score, accuracy), kept, groups)


def _from_mean(targets: np.ndarray) -> float:
    """The distance of whitened targets [N, D] from rows of zeros."""
    return float(np.nanmean(own_and_other_distances(targets, np.zeros_like(targets))[0]))
