"""Scores of the outputs as a set: do they look like avatars, are they varied, do they share a fault?"""

from bitmoji_jax.evaluation.results import Score, measured
from bitmoji_jax.evaluation.testset import EFFICIENTNET, Outputs
from bitmoji_jax.metrics.checkerboard import checkerboard
from bitmoji_jax.metrics.diversity import coverage, nearest_neighbour_ratio
from bitmoji_jax.metrics.images import colour_inversion, does_nothing
from bitmoji_jax.metrics.kid import kid, low_pass

_TO_THOUSANDTHS = 1000.0  # the customary unit of KID
_KID_NOTE = "these features react to fine noise and blur first"
_LOW_PASS_NOTE = "insensitive to lines and noise: palette, pose, large shapes"


def kid_scores(outputs: Outputs) -> list[Score]:
    """Measures the KID of avatars and of photos made of avatars by every network, as they are and blurred."""
    scores = []
    for network, features in outputs.test_set.networks.items():
        key, by = ("kid", "") if network == EFFICIENTNET else (f"kid_{network.lower()}", f" by {network}")
        for domain, images, subject, untouched in (
            ("y", outputs.fake_y, "avatars", "untranslated photos"),
            ("x", outputs.fake_x, "photos made of avatars", "untranslated avatars"),
        ):
            for blur in (False, True):
                fakes = features(low_pass(images)) if blur else outputs.features[network][domain]
                scale = (outputs.test_set.low_pass_scales if blur else outputs.test_set.scales)[network]
                distance = kid(fakes, scale.features[domain])
                scores.append(
                    Score(
                        name=f"{key}_{domain}" + ("_low_pass" if blur else ""),
                        title=f"KID × 1000{by} of {subject}" + (", both sides blurred" if blur else ""),
                        unit="",
                        better="lower",
                        value=_TO_THOUSANDTHS * distance.mean,
                        images=len(images),
                        sd=_TO_THOUSANDTHS * distance.sd,
                        references={
                            "real against real": _TO_THOUSANDTHS * scale.floor[domain].mean,
                            untouched: _TO_THOUSANDTHS * scale.ceiling.mean,
                        },
                        note=_LOW_PASS_NOTE if blur else _KID_NOTE,
                    )
                )
    return scores


def diversity(outputs: Outputs) -> list[Score]:
    """Measures whether avatars are as varied as real ones."""
    fakes, reals = outputs.features[EFFICIENTNET]["y"], outputs.test_set.scales[EFFICIENTNET].features["y"]
    spread = Score(
        name="nearest_neighbour_ratio",
        title="Distance of an avatar from the nearest other one, over that of real avatars",
        unit="",
        better="near 1",
        images=len(fakes),
        references={"one avatar for everybody": 0.0},
        note="noise and artefacts lift it above 1",
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
