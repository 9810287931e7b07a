"""Scores of the avatars of photos with a fault put into them: a shadow, a natural background, a tight crop."""

import dataclasses

import numpy as np

from bitmoji_jax.evaluation.results import Score, averaged, in_groups
from bitmoji_jax.evaluation.testset import Outputs
from bitmoji_jax.faces.matte import on_white, person_matte
from bitmoji_jax.metrics.images import shadow_sensitivity
from bitmoji_jax.metrics.residue import RESIDUE, background_residue, natural_backgrounds, replace_background
from bitmoji_jax.metrics.shadow import cast_shadow
from bitmoji_jax.metrics.silhouette import crop_tightly, cut_flat
from bitmoji_jax.ops.background import white_border

_WHITE = 255
_ENOUGH = 100  # real avatars for a 99th percentile


def shadow_score(outputs: Outputs) -> Score:
    """Measures how much of a cast shadow reaches the avatar."""
    photos = outputs.test_set.images["x"]
    shadowed = cast_shadow(photos)
    avatars = outputs.translator.x2y(shadowed)

    def sensitivity(chosen: np.ndarray) -> float:
        return shadow_sensitivity(photos[chosen], shadowed[chosen], outputs.fake_y[chosen], avatars[chosen])

    everyone = np.ones(len(photos), bool)
    return Score(
        name="shadow",
        title="Cast shadow: change of the avatar over that of the photo",
        unit="",
        better="lower",
        value=sensitivity(everyone),
        images=len(photos),
        groups=in_groups(sensitivity, everyone, outputs.test_set.photos.subsets),
        references={"copying the photo": 1.0},
    )


def residue_score(outputs: Outputs) -> Score:
    """Counts avatars in which a natural background drawn behind the person is visible.

    Where the translator is for people cut out onto white, the photo is cut out first, as a user's is.
    """
    score = Score("background_residue", "Avatars with residue of a natural background", "%", "lower")
    photos, reals = outputs.test_set.photos.images, outputs.test_set.images["y"]
    chosen = np.array([white_border(photo) for photo in photos])
    if not chosen.any():
        return dataclasses.replace(score, note="no test photo is of a person on white, to put a background behind")
    photos, avatars = photos[chosen], outputs.fake_y[chosen]
    composed = replace_background(photos, natural_backgrounds(len(photos), photos.shape[1]))
    if outputs.translator.cut_out:
        composed = np.stack([on_white(photo, person_matte(photo, np.eye(2, 3), len(photo))) for photo in composed])

    def visible(images: np.ndarray, references: np.ndarray) -> np.ndarray:
        return 100.0 * (background_residue(images, references) > RESIDUE)

    residue = np.full(len(chosen), np.nan)
    residue[chosen] = visible(outputs.translator.x2y(composed), avatars)
    score = dataclasses.replace(
        score,
        references={
            "the same photos on white": float(visible(avatars, avatars).mean()),
            "real avatars": float(visible(reals, reals).mean()),
        },
        note="after the background was removed, as from a user's photo" if outputs.translator.cut_out else "",
    )
    return averaged(score, residue, outputs.test_set.photos.subsets)


def flat_head_score(outputs: Outputs) -> Score:
    """Counts avatars of tightly cropped photos whose head is cut flat, as the photo is."""
    score = Score("heads_cut_flat", "Heads cut flat in avatars of tight portraits", "%", "lower")
    photos, reals = outputs.test_set.photos, outputs.test_set.images["y"]
    known = np.isfinite(photos.landmarks[:, [0, 1, 3, 4]]).all(axis=(1, 2))
    if not known.any():
        return dataclasses.replace(score, note="no photo has landmarks to crop it by")
    fill = _WHITE if outputs.translator.cut_out else None
    tight = crop_tightly(photos.images[known], photos.landmarks[known], fill)
    flat = np.full(len(known), np.nan)
    flat[known] = 100.0 * cut_flat(outputs.translator.x2y(tight), reals)
    score = dataclasses.replace(
        score,
        references={
            "real avatars": 100 * float(cut_flat(reals, reals).mean()),
            "the whole photos": 100 * float(cut_flat(outputs.fake_y, reals).mean()),
        },
        reliable=len(reals) >= _ENOUGH,
        note="" if len(reals) >= _ENOUGH else f"compared with {len(reals)} real avatars only",
    )
    return averaged(score, flat, photos.subsets)
