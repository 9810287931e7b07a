"""Scores of each photo's avatar: is the person recognisable? A score that cannot be computed has the reason as note."""

import dataclasses
from typing import Literal

import numpy as np

from bitmoji_jax.evaluation.groups import FEMALE, MALE, SKIN_GROUP
from bitmoji_jax.evaluation.results import FEW, NO_F, Score, averaged, in_groups, judged, measured
from bitmoji_jax.evaluation.testset import PLAIN, Outputs, Pairs
from bitmoji_jax.metrics.colour import delta_e, srgb_to_lab
from bitmoji_jax.metrics.face_colour import hair_colour, skin_colour
from bitmoji_jax.metrics.images import (
    compress_jpeg,
    cycle_psnr,
    high_frequency_hiding,
    nme,
    paired_error,
)
from bitmoji_jax.ops.batching import resized

_JPEG_QUALITY = 75
OTHER_AVATAR = "another photo's avatar"
"""The reference for a translator that ignores who is in the photo."""


def gender_scores(outputs: Outputs) -> list[Score]:
    """Measures how often the avatar has the gender of the photo's label, and how that differs between the genders."""
    photos = outputs.test_set.photos
    score = Score("gender_kept", "Gender kept", "%", "higher")
    gap = Score("gender_gap", "Gender kept, difference between women and men", "points", "lower")
    reason = outputs.judges.missing.get("gender_y")
    if reason is None and not np.isfinite(photos.female).any():
        reason = "no photo's gender is labelled"
    if reason is not None:
        return [dataclasses.replace(score, note=reason), dataclasses.replace(gap, note=reason)]
    female = outputs.judges.classify("gender", outputs.fake_y) > 0.5
    kept = np.where(np.isfinite(photos.female), 100.0 * (female == (photos.female == 1)), np.nan)
    accuracy = outputs.judges.accuracy("gender_y")
    score = dataclasses.replace(score, references={"classifier on real avatars": 100 * accuracy.value})
    score = averaged(judged(score, accuracy), kept, photos.subsets)
    genders = {name: score.groups[name] for name in (FEMALE, MALE) if name in score.groups}
    if len(genders) < 2:
        return [score, dataclasses.replace(gap, note="the test photos are of one gender")]
    gap = dataclasses.replace(
        judged(gap, accuracy),
        value=abs(genders[FEMALE].value - genders[MALE].value),
        images=score.images,
    )
    return [score, gap]


def skin_ratio_score(skin: Score) -> Score:
    """Divides the skin colour's error in the worst skin group by that in the best, from the score of the colour."""
    score = Score("skin_delta_e_ratio", "Skin colour error, worst skin group over best", "", "near 1")
    groups = {name: group for name, group in skin.groups.items() if name.startswith(SKIN_GROUP)}
    values = [group.value for group in groups.values()]
    if len(groups) < 2 or not min(values):
        reason = skin.note if skin.value is None else "it needs photos of two skin groups, each with an error"
        return dataclasses.replace(score, note=reason)
    few = [f"{group.images} of {name}" for name, group in groups.items() if group.images < FEW]
    return dataclasses.replace(
        score,
        value=max(values) / min(values),
        images=sum(group.images for group in groups.values()),
        reliable=not few,
        note=f"few photos: {', '.join(few)}" if few else "",
    )


def colour_score(outputs: Outputs, name: Literal["skin", "hair"]) -> Score:
    """Measures the distance of the avatar's skin or hair colour from the photo's."""
    photos = outputs.test_set.photos
    score = Score(f"{name}_delta_e", f"{name.capitalize()} colour, photo to avatar", "ΔE2000", "lower")
    targets = photos.skin if name == "skin" else photos.hair
    if (reason := outputs.judges.missing.get("landmarks_y")) is not None:
        return dataclasses.replace(score, note=reason)
    if not np.isfinite(targets).any():
        return dataclasses.replace(score, note=f"no photo has attributes {name}_r, {name}_g, {name}_b or landmarks")
    measure = skin_colour if name == "skin" else hair_colour
    colours = measure(outputs.fake_y, outputs.judges.landmarks("y", outputs.fake_y))
    errors = delta_e(srgb_to_lab(targets), srgb_to_lab(colours))
    if not np.isfinite(errors).any():
        return dataclasses.replace(score, note=f"{name} was found on no avatar")
    others = delta_e(srgb_to_lab(targets), srgb_to_lab(np.roll(colours, 1, axis=0)))
    score = dataclasses.replace(score, references={OTHER_AVATAR: float(np.nanmean(others))})
    return averaged(score, errors, photos.subsets)


def landmark_scores(outputs: Outputs, domain: Literal["x", "y"]) -> list[Score]:
    """Measures how far eyes, nose and mouth move, in G's avatars (y) or in F's photos (x).

    The second score is the ratio to the same error with another image's output: drawings have other proportions than
    photos, which moves the landmarks of all outputs alike and hides in the first score whether a face keeps its own.
    """
    photos, avatars = outputs.test_set.photos, outputs.test_set.avatars
    fakes, source, title, other = {
        "y": (outputs.fake_y, photos, "photo to avatar", OTHER_AVATAR),
        "x": (outputs.fake_x, avatars, "avatar to photo", "another avatar's photo"),
    }[domain]
    score = Score(f"landmarks_{domain}", f"Landmarks, {title}", "NME", "lower")
    ratio = Score(f"landmarks_{domain}_ratio", f"Landmarks, {title}, over those of {other}", "", "lower")
    reason = NO_F if fakes is None else outputs.judges.missing.get(f"landmarks_{domain}", "")
    if not reason and not np.isfinite(source.landmarks).any():
        reason = "no landmarks are labelled"
    if fakes is None or reason:
        return [dataclasses.replace(missing, note=reason) for missing in (score, ratio)]
    points = outputs.judges.landmarks(domain, fakes)
    errors = nme(points, source.landmarks).per_image
    accuracy = outputs.judges.accuracy(f"landmarks_{domain}")
    others = nme(np.roll(points, 1, axis=0), source.landmarks).per_image
    subsets = photos.subsets if domain == "y" else {}
    references = {other: float(np.nanmean(others)), "regressor on real images": accuracy.value}
    score = averaged(judged(dataclasses.replace(score, references=references), accuracy), errors, subsets)

    def over_others(chosen: np.ndarray) -> float:
        if not others[chosen].mean() > 0:
            raise ValueError("the landmarks have no error to compare with")
        return float(errors[chosen].mean() / others[chosen].mean())

    known = np.isfinite(errors) & np.isfinite(others)
    ratio = dataclasses.replace(
        judged(ratio, accuracy),
        images=score.images,
        references={"ignoring who is there": 1.0},
        groups=in_groups(over_others, known, subsets),
    )
    return [score, measured(ratio, lambda: over_others(known))]


def accessory_scores(outputs: Outputs, name: Literal["glasses", "hat"]) -> list[Score]:
    """Measures how often glasses or a hat of the photo are in the avatar, and how often one without is given some."""
    kept = Score(f"{name}_kept", f"{name.capitalize()} kept", "%", "higher")
    invented = Score(f"{name}_invented", f"{name.capitalize()} invented", "%", "lower")
    visible = outputs.test_set.photos.visible
    reason = outputs.judges.missing.get(f"{name}_y")
    if reason is None and name not in visible:
        reason = f"the photos have no attribute {name}"
    if reason is not None:
        return [dataclasses.replace(score, note=reason) for score in (kept, invented)]
    found = 100.0 * (outputs.judges.classify(name, outputs.fake_y) > 0.5)
    others = {group: members for group, members in outputs.test_set.photos.subsets.items() if group != name}
    scores = []
    for score, label in ((kept, 1), (invented, 0)):
        members = visible[name] == label
        if members.any():
            score = averaged(score, np.where(members, found, np.nan), others)
            scores.append(_of_enough_photos(judged(score, outputs.judges.accuracy(f"{name}_y"))))
        else:
            scores.append(dataclasses.replace(score, note=f"no test photo's {name} is {label}"))
    return scores


def _of_enough_photos(score: Score) -> Score:
    """The score, marked as unreliable if it is of few photos."""
    if score.images >= FEW:
        return score
    note = f"{score.note}; few photos: {score.images}" if score.note else f"few photos: {score.images}"
    return dataclasses.replace(score, reliable=False, note=note)


def cycle_scores(outputs: Outputs) -> list[Score]:
    """Measures the cycle's error in both directions, and how much of the photo is hidden in faint high frequencies."""
    translator, reals = outputs.translator, outputs.test_set.images
    cycle_x = Score("cycle_psnr_x", "Cycle: photo to avatar and back", "dB", "higher")
    cycle_y = Score("cycle_psnr_y", "Cycle: avatar to photo and back", "dB", "higher")
    hiding = Score(
        name="high_frequency_hiding",
        title=f"Cycle error after JPEG {_JPEG_QUALITY} of the avatar, over that without",
        unit="",
        better="near 1",
        references={"nothing hidden": 1.0},
    )
    if outputs.fake_x is None:
        return [dataclasses.replace(score, note=NO_F) for score in (cycle_x, cycle_y, hiding)]
    rec_x, rec_y = translator.y2x(outputs.fake_y), translator.x2y(outputs.fake_x)
    photos = resized(reals["x"], rec_x.shape[1])  # F may be of another size than G
    after_jpeg = translator.y2x(np.stack([compress_jpeg(avatar, _JPEG_QUALITY) for avatar in outputs.fake_y]))
    hiding = dataclasses.replace(hiding, images=len(rec_x))
    hiding = measured(hiding, lambda: high_frequency_hiding(photos, rec_x, after_jpeg))
    psnr_x, psnr_y = cycle_psnr(photos, rec_x), cycle_psnr(reals["y"], rec_y)
    return [averaged(cycle_x, psnr_x, outputs.test_set.photos.subsets), averaged(cycle_y, psnr_y, {}), hiding]


def paired_score(outputs: Outputs, pairs: Pairs) -> Score:
    """Measures the mean absolute difference from the true avatar, in grey levels, where it is known."""
    photos, avatars = outputs.test_set.images["x"][pairs.photos], outputs.test_set.images["y"][pairs.avatars]
    error = paired_error(outputs.fake_y[pairs.photos], photos, avatars, pairs.mean_avatar)
    per_image = np.full(len(outputs.fake_y), np.nan)
    per_image[pairs.photos] = error.translated
    score = Score(
        "paired_error",
        "Difference from the true avatar",
        "grey levels",
        "lower",
        references={
            "the mean avatar for everybody": float(error.mean_avatar.mean()),
            "the photo itself": float(error.copied.mean()),
        },
    )
    return averaged(score, per_image, outputs.test_set.photos.subsets)


def distance_to_real(outputs: Outputs) -> Score:
    """Measures the distance of each avatar's features from those of the nearest real avatar."""
    fakes = outputs.features[PLAIN].astype(np.float64)
    reals = outputs.test_set.scales[PLAIN].features["y"].astype(np.float64)
    squares = (fakes**2).sum(1)[:, None] + (reals**2).sum(1)[None] - 2 * fakes @ reals.T
    distances = np.sqrt(np.maximum(squares.min(axis=1), 0))
    title = "Distance from the nearest real avatar, in features"
    return Score("distance_to_real", title, "", "lower", per_image=distances)
