"""Scores of the outputs as a set: do they look like avatars, are they varied, what is wrong with all of them?"""

from bitmoji_jax.evaluation.reference import EFFICIENTNET
from bitmoji_jax.evaluation.results import Score, taken
from bitmoji_jax.evaluation.subject import Subject
from bitmoji_jax.metrics.checkerboard import checkerboard
from bitmoji_jax.metrics.diversity import coverage, nearest_neighbour_ratio
from bitmoji_jax.metrics.images import Alarm, colour_inversion, does_nothing
from bitmoji_jax.metrics.kid import kid, low_pass

_TO_THOUSANDTHS = 1000.0  # KID is printed so


def kid_scores(subject: Subject) -> list[Score]:
    """KID of both directions by each network, as it is and with both sides blurred."""
    fakes = {"y": subject.fake_y, "x": subject.fake_x}
    scores = []
    for network, features in subject.networks.items():
        reference = subject.reference.networks[network]
        prefix, by = ("kid", "") if network == EFFICIENTNET else (f"kid_{network.lower()}", f" by {network}")
        for domain, who, untouched in (
            ("y", "avatars", "untranslated photos"),
            ("x", "photos made of avatars", "untranslated avatars"),
        ):
            plain = subject.fake_y_features[network] if domain == "y" else features(fakes[domain])
            blurred = features(low_pass(fakes[domain]))
            for name, title, distance, floor, ceiling, note in (
                (
                    f"{prefix}_{domain}",
                    f"KID × 1000{by} of {who}",
                    kid(plain, reference.features[domain]),
                    reference.floor[domain],
                    reference.ceiling,
                    "these features see fine noise and blur before all else",
                ),
                (
                    f"{prefix}_{domain}_low_pass",
                    f"KID × 1000{by} of {who}, both sides blurred",
                    kid(blurred, reference.low_pass_features[domain]),
                    reference.low_pass_floor[domain],
                    reference.low_pass_ceiling,
                    "blind to lines and noise: palette, pose, large shapes",
                ),
            ):
                scores.append(
                    Score(
                        name=name,
                        title=title,
                        unit="",
                        better="lower",
                        value=_TO_THOUSANDTHS * distance.mean,
                        images=len(fakes[domain]),
                        sd=_TO_THOUSANDTHS * distance.sd,
                        references={
                            "real against real": _TO_THOUSANDTHS * floor.mean,
                            untouched: _TO_THOUSANDTHS * ceiling.mean,
                        },
                        note=note,
                    )
                )
    return scores


def diversity(subject: Subject) -> list[Score]:
    """Whether avatars are as varied as real ones."""
    fakes = subject.fake_y_features[EFFICIENTNET]
    reals = subject.reference.networks[EFFICIENTNET].features["y"]
    spread = Score(
        name="nearest_neighbour_ratio",
        title="Distance between an avatar and the one most like it, over that of real avatars",
        unit="",
        better="near 1",
        images=len(fakes),
        references={"one avatar for everybody": 0.0},
        note="noise and artefacts lift it above 1",
    )
    covered = Score(
        name="coverage",
        title="Real avatars with a made one as near as their fifth neighbour",
        unit="%",
        better="higher",
        images=len(fakes),
        references={"fresh real avatars": 97.0},
        note="near 0 as long as KID is large",
    )
    return [
        taken(spread, lambda: nearest_neighbour_ratio(fakes, reals)),
        taken(covered, lambda: 100 * coverage(fakes, reals)),
    ]


def checkerboards(subject: Subject) -> list[Score]:
    """The pattern that upsampling leaves."""
    fakes, reals = checkerboard(subject.fake_y), checkerboard(subject.reference.images["y"])
    return [
        Score(
            name=f"checkerboard_{period}",
            title=f"Checkerboard of period {period} px",
            unit="× the spectrum beside",
            better="near 1",
            value=getattr(fakes, f"period_{period}"),
            images=len(subject.fake_y),
            references={"real avatars": getattr(reals, f"period_{period}")},
            reliable=len(subject.fake_y) >= 50,
            note="" if len(subject.fake_y) >= 50 else "under 50 images it is lifted by chance",
        )
        for period in (2, 4)
    ]


def alarms(subject: Subject) -> list[Score]:
    """Two ways to fail that the losses don't show."""
    photos = subject.reference.images["x"]

    def alarm(name: str, title: str, unit: str, found: Alarm, what: str) -> Score:
        note = f"ALARM: {what}" if found.raised else ""
        return Score(name, title, unit, "higher", found.value, len(photos), note=note)

    return [
        alarm(
            "luma_correlation",
            "Correlation of photo and avatar in brightness",
            "",
            colour_inversion(photos, subject.fake_y),
            "dark has become light",
        ),
        alarm(
            "output_change",
            "Difference of photo and avatar",
            "grey levels",
            does_nothing(photos, subject.fake_y),
            "the avatars are the photos all over again",
        ),
    ]
