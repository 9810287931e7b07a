"""Scores of the outputs as a set: do they look like avatars, are they varied, do they share a fault?"""

import dataclasses
from typing import Literal

import numpy as np

from bitmoji_jax.evaluation.results import NO_F, Score, measured
from bitmoji_jax.evaluation.testset import EFFICIENTNET, KID_SIZE, PLAIN, SQUEEZENET, KidScale, Outputs, View
from bitmoji_jax.metrics.checkerboard import checkerboard
from bitmoji_jax.metrics.diversity import coverage, nearest_neighbour_ratio
from bitmoji_jax.metrics.images import colour_inversion, does_nothing
from bitmoji_jax.metrics.kid import kid

_TO_THOUSANDTHS = 1000.0  # the customary unit of KID
_BLURRED_NOTE = "insensitive to lines and noise: palette, pose, large shapes"
_NOTES = {
    SQUEEZENET: "reacts to blur and traces of JPEG first",
    EFFICIENTNET: "used in training, which can lower it without better pictures; reacts to fine noise and blur first",
}


def kid_scores(outputs: Outputs) -> list[Score]:
    """Measures the KID of avatars in every view, and that of photos made of avatars at `KID_SIZE` pixels."""
    of_avatars, of_photos = [], []
    for view, scale in outputs.test_set.scales.items():
        of_avatars.append(_kid_score(view, "y", scale, outputs.features[view]))
        if view.size == KID_SIZE:
            fakes = None if outputs.fake_x is None else outputs.test_set.features(view, outputs.fake_x)
            of_photos.append(_kid_score(view, "x", scale, fakes))
    return of_avatars + of_photos


def _kid_score(view: View, domain: Literal["x", "y"], scale: KidScale, fakes: np.ndarray | None) -> Score:
    """The KID of one domain's fake features [N, D] in one view; without them, the reason in its place."""
    subject, untouched = {
        "y": ("avatars", "untranslated photos"),
        "x": ("photos made of avatars", "untranslated avatars"),
    }[domain]
    network = view.network.lower().partition("-")[0]
    note = _NOTES.get(view.network, "")
    score = Score(
        name=f"kid_{network}_{domain}_{view.size}" + ("_low_pass" if view.blurred else ""),
        title=f"KID × 1000 by {view.network} of {subject} at {view.size} px"
        + (", both sides blurred" if view.blurred else ""),
        unit="",
        better="lower",
        note="; ".join(filter(None, [note, _BLURRED_NOTE if view.blurred else ""])),
    )
    if fakes is None:
        return dataclasses.replace(score, note=NO_F)
    distance, ceiling = kid(fakes, scale.features[domain]), scale.ceiling.mean
    return dataclasses.replace(
        score,
        value=_TO_THOUSANDTHS * distance.mean,
        images=len(fakes),
        sd=_TO_THOUSANDTHS * distance.sd,
        share=100 * distance.mean / ceiling if ceiling > 0 else None,
        references={
            "real against real": _TO_THOUSANDTHS * scale.floor[domain].mean,
            untouched: _TO_THOUSANDTHS * ceiling,
        },
    )


def diversity(outputs: Outputs) -> list[Score]:
    """Measures whether avatars are as varied as real ones, in the view `PLAIN`."""
    fakes, reals = outputs.features[PLAIN], outputs.test_set.scales[PLAIN].features["y"]
    spread = Score(
        name="nearest_neighbour_ratio",
        title="Distance of an avatar from the nearest other one, over that of real avatars",
        unit="",
        better="near 1",
        images=len(fakes),
        references={"one avatar for everybody": 0.0},
        note="noise and artefacts lift it above 1, blur lowers it",
    )
    covered = Score(
        name="coverage",
        title="Real avatars with a generated one as near as their fifth real neighbour",
        unit="%",
        better="higher",
        images=len(fakes),
        references={"fresh real avatars": 97.0},
        note="near 0 while KID is large",
    )
    return [
        measured(spread, lambda: nearest_neighbour_ratio(fakes, reals)),
        measured(covered, lambda: 100 * coverage(fakes, reals)),
    ]


def checkerboards(outputs: Outputs) -> list[Score]:
    """Measures the patterns that upsampling leaves."""
    fakes, reals = checkerboard(outputs.fake_y), checkerboard(outputs.test_set.images["y"])
    return [
        Score(
            name=f"checkerboard_{period}",
            title=f"Checkerboard of period {period} px",
            unit="× the neighbouring spectrum",
            better="near 1",
            value=getattr(fakes, f"period_{period}"),
            images=len(outputs.fake_y),
            references={"real avatars": getattr(reals, f"period_{period}")},
            reliable=len(outputs.fake_y) >= 50,
            note="" if len(outputs.fake_y) >= 50 else "raised by chance with fewer than 50 images",
        )
        for period in (2, 4)
    ]


def alarms(outputs: Outputs) -> list[Score]:
    """Checks for two failures that the losses do not show."""
    photos = outputs.test_set.images["x"]
    inversion, idleness = colour_inversion(photos, outputs.fake_y), does_nothing(photos, outputs.fake_y)
    return [
        Score(
            name="luma_correlation",
            title="Correlation of photo and avatar in brightness",
            unit="",
            better="higher",
            value=inversion.value,
            images=len(photos),
            note="ALARM: dark has become light" if inversion.raised else "",
        ),
        Score(
            name="output_change",
            title="Difference of photo and avatar",
            unit="grey levels",
            better="higher",
            value=idleness.value,
            images=len(photos),
            note="ALARM: the avatars are nearly the photos" if idleness.raised else "",
        ),
    ]
