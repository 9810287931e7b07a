"""Scores of what becomes of each photo: is the person kept? What can't be had says why."""

import dataclasses
import io
from collections.abc import Mapping
from typing import Literal

import numpy as np
from PIL import Image

from bitmoji_jax.evaluation.reference import EFFICIENTNET
from bitmoji_jax.evaluation.results import Group, JudgeCard, PerImage, Score, taken
from bitmoji_jax.evaluation.subject import Subject
from bitmoji_jax.metrics.colour import delta_e, srgb_to_lab
from bitmoji_jax.metrics.face_colour import hair_colour, skin_colour
from bitmoji_jax.metrics.images import cycle_psnr, high_frequency_hiding, nme, shadow_sensitivity
from bitmoji_jax.metrics.shadow import cast_shadow

_JPEG_QUALITY = 75
_ANOTHERS = "another photo's avatar"
"""What a translator scores that ignores who is in the photo."""


def gender_score(subject: Subject) -> Score:
    """Whether the avatar has the gender of the photo's label."""
    labels = subject.photos.female
    score = Score("gender_kept", "Gender kept", "%", "higher")
    if (why := subject.judges.missing.get("gender_y")) is not None:
        return dataclasses.replace(score, note=why)
    if not np.isfinite(labels).any():
        return dataclasses.replace(score, note="no photo's gender is labelled")
    female = subject.judges.classify("gender", subject.fake_y) > 0.5
    kept = np.where(np.isfinite(labels), 100.0 * (female == (labels == 1)), np.nan)
    card = _card(subject, "gender_y")
    score = dataclasses.replace(
        score, references={"classifier on real avatars": 100 * card.value}, reliable=card.reliable, note=_caveat(card)
    )
    return _mean(score, kept, subject.subsets)


def colour_score(subject: Subject, name: Literal["skin", "hair"]) -> tuple[Score, PerImage]:
    """The distance of the avatar's skin or hair from the photo's."""
    score = Score(f"{name}_delta_e", f"{name.capitalize()} colour, photo to avatar", "ΔE2000", "lower")
    wanted = subject.photos.skin if name == "skin" else subject.photos.hair
    if (why := subject.judges.missing.get("landmarks_y")) is not None:
        return _unknown(subject, score, why)
    if not np.isfinite(wanted).any():
        return _unknown(subject, score, f"no photo has attributes {name}_r, {name}_g, {name}_b or landmarks")
    measure = skin_colour if name == "skin" else hair_colour
    drawn = measure(subject.fake_y, subject.judges.landmarks("y", subject.fake_y))
    errors = delta_e(srgb_to_lab(wanted), srgb_to_lab(drawn))
    if not np.isfinite(errors).any():
        return _unknown(subject, score, f"{name} was found on no avatar")
    others = delta_e(srgb_to_lab(wanted), srgb_to_lab(np.roll(drawn, 1, axis=0)))
    score = dataclasses.replace(score, references={_ANOTHERS: float(np.nanmean(others))})
    return _mean(score, errors, subject.subsets), _per_image(score, errors)


def landmark_score(subject: Subject, domain: Literal["x", "y"]) -> tuple[Score, PerImage]:
    """How far eyes, nose and mouth move: of G's avatars (y), or of F's photos (x)."""
    fakes, source, what, whose = {
        "y": (subject.fake_y, subject.photos, "photo to avatar", _ANOTHERS),
        "x": (subject.fake_x, subject.avatars, "avatar to photo", "another avatar's photo"),
    }[domain]
    score = Score(f"landmarks_{domain}", f"Landmarks, {what}", "NME", "lower")
    if (why := subject.judges.missing.get(f"landmarks_{domain}")) is not None:
        return _unknown(subject, score, why)
    if not np.isfinite(source.landmarks).any():
        return _unknown(subject, score, "no landmarks are labelled")
    points = subject.judges.landmarks(domain, fakes)
    errors = nme(points, source.landmarks).per_image
    card = _card(subject, f"landmarks_{domain}")
    score = dataclasses.replace(
        score,
        references={
            whose: nme(np.roll(points, 1, axis=0), source.landmarks).mean,
            "regressor on real images": card.value,
        },
        reliable=card.reliable,
        note=_caveat(card),
    )
    return _mean(score, errors, subject.subsets if domain == "y" else {}), _per_image(score, errors)


def shadow_score(subject: Subject) -> Score:
    """How much of a cast shadow reaches the avatar."""
    photos = subject.reference.images["x"]
    shadowed = cast_shadow(photos)
    value = shadow_sensitivity(photos, shadowed, subject.fake_y, subject.translator.x2y(shadowed))
    return Score(
        name="shadow",
        title="Cast shadow: change of the avatar over that of the photo",
        unit="",
        better="lower",
        value=value,
        images=len(photos),
        references={"copying the photo": 1.0},
    )


def shown_scores(subject: Subject, name: Literal["glasses", "hat"]) -> list[Score]:
    """Whether glasses or a hat in the photo are in the avatar, and whether there are some without cause."""
    kept = Score(f"{name}_kept", f"{name.capitalize()} kept", "%", "higher")
    invented = Score(f"{name}_invented", f"{name.capitalize()} invented", "%", "lower")
    why = subject.judges.missing.get(f"{name}_y")
    if why is None and name not in subject.photos.shown:
        why = f"the photos have no attribute {name}"
    if why is not None:
        return [dataclasses.replace(score, note=why) for score in (kept, invented)]
    found = 100.0 * (subject.judges.classify(name, subject.fake_y) > 0.5)
    card = _card(subject, f"{name}_y")
    scores = []
    for score, wanted in ((kept, 1), (invented, 0)):
        members = subject.photos.shown[name] == wanted
        if members.any():
            score = dataclasses.replace(score, reliable=card.reliable, note=_caveat(card))
            scores.append(_mean(score, np.where(members, found, np.nan), {}))
        else:
            scores.append(dataclasses.replace(score, note=f"no test photo's {name} is {wanted}"))
    return scores


def cycle_scores(subject: Subject) -> tuple[list[Score], PerImage]:
    """How well photo and avatar come back, and how much of that is hidden in faint high frequencies."""
    translator, reals = subject.translator, subject.reference.images
    rec_x, rec_y = translator.y2x(subject.fake_y), translator.x2y(subject.fake_x)
    per_image = cycle_psnr(reals["x"], rec_x)
    cycle_x = Score("cycle_psnr_x", "Cycle: photo to avatar and back", "dB", "higher")
    cycle_y = Score("cycle_psnr_y", "Cycle: avatar to photo and back", "dB", "higher")
    hiding = Score(
        name="high_frequency_hiding",
        title=f"Cycle error after JPEG {_JPEG_QUALITY} of the avatar, over that without",
        unit="",
        better="near 1",
        images=len(rec_x),
        references={"nothing hidden": 1.0},
    )
    after_jpeg = translator.y2x(_jpeg(subject.fake_y))
    hiding = taken(hiding, lambda: high_frequency_hiding(reals["x"], rec_x, after_jpeg))
    scores = [_mean(cycle_x, per_image, subject.subsets), _mean(cycle_y, cycle_psnr(reals["y"], rec_y), {}), hiding]
    return scores, _per_image(cycle_x, per_image)


def paired_score(subject: Subject, pairs: list[tuple[int, int]], mean_avatar: np.ndarray) -> tuple[Score, PerImage]:
    """The exact error where true avatars are known: mean absolute difference in grey levels.

    Args:
      subject: what is judged.
      pairs: indices in testA and testB of each photo and its true avatar.
      mean_avatar: [S, S, 3], the mean of all training avatars.
    """
    photos, avatars = (list(indices) for indices in zip(*pairs, strict=True))
    truth = subject.reference.images["y"][avatars].astype(np.float64)

    def errors(images: np.ndarray) -> np.ndarray:
        return np.abs(images - truth).mean(axis=(1, 2, 3))

    per_image = np.full(len(subject.fake_y), np.nan)
    per_image[photos] = errors(subject.fake_y[photos])
    score = Score(
        "paired_error",
        "Difference from the true avatar",
        "grey levels",
        "lower",
        references={
            "the mean avatar for everybody": float(errors(mean_avatar).mean()),
            "the photo itself": float(errors(subject.reference.images["x"][photos]).mean()),
        },
    )
    return _mean(score, per_image, subject.subsets), _per_image(score, per_image)


def likeness(subject: Subject) -> PerImage:
    """How far an avatar's features lie from those of the real avatar most like it."""
    fakes = subject.fake_y_features[EFFICIENTNET].astype(np.float64)
    reals = subject.reference.networks[EFFICIENTNET].features["y"].astype(np.float64)
    squares = (fakes**2).sum(1)[:, None] + (reals**2).sum(1)[None] - 2 * fakes @ reals.T
    distances = np.sqrt(np.maximum(squares.min(axis=1), 0))
    return PerImage("distance_to_real", "Distance from the nearest real avatar, in features", "", "lower", distances)


def _mean(score: Score, values: np.ndarray, subsets: Mapping[str, np.ndarray]) -> Score:
    """The score with the mean over the images whose value is known, whole and by subset."""
    known = ~np.isnan(values)
    groups = {
        name: Group(float(values[members & known].mean()), int((members & known).sum()))
        for name, members in subsets.items()
        if (members & known).any()
    }
    return dataclasses.replace(score, value=float(values[known].mean()), images=int(known.sum()), groups=groups)


def _unknown(subject: Subject, score: Score, why: str) -> tuple[Score, PerImage]:
    return dataclasses.replace(score, note=why), _per_image(score, np.full(len(subject.fake_y), np.nan))


def _per_image(score: Score, values: np.ndarray) -> PerImage:
    return PerImage(score.name, score.title, score.unit, score.better, values)


def _card(subject: Subject, name: str) -> JudgeCard:
    return next(card for card in subject.judges.cards if card.name == name)


def _caveat(card: JudgeCard) -> str:
    if card.reliable:
        return ""
    if card.measure == "accuracy":
        return f"the classifier is right on {100 * card.value:.1f} % of real avatars only"
    return f"the regressor's own error on real images is {card.value:.2f}"


def _jpeg(images: np.ndarray) -> np.ndarray:
    def through(image: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=_JPEG_QUALITY)
        return np.asarray(Image.open(file))

    return np.stack([through(image) for image in images])
