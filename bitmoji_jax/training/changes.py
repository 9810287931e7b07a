"""What of its configuration may change when a run is continued."""

import dataclasses

from bitmoji_jax.config import PAIR_STAGES, ExperimentConfig, LogConfig, without_folders

MAY_CHANGE: dict[str, set[str]] = {
    "data": {"dir", "name", "read_threads"},
    "train": {"accumulation_steps"},
    "log": {field.name for field in dataclasses.fields(LogConfig)},
}
"""Fields by section that may change when a run is continued.

They change nothing but speed and what is written. A dataset is known by what is in it, see `data/fingerprint.py`.
"""

_MAY_GROW = {
    "train": {"constant_epochs", "decay_epochs", "rounds"},
    **{name: {"images"} for name in ("read", *PAIR_STAGES)},
}


def differences(ours: ExperimentConfig, theirs: ExperimentConfig) -> list[str]:
    """Lines `section.field: ours, theirs` for each field that differs and that a run cannot change.

    It can change those of `MAY_CHANGE` and the folder of `train.init_from`, and get longer schedules (see `longer`) and
    further stages: those that it did not have, and more rounds.
    """
    ours, theirs = without_folders(ours), without_folders(theirs)
    later = {name for name in PAIR_STAGES if getattr(theirs, name).images == 0}
    later |= {"read"} if theirs.teach.images == 0 else set()
    later -= {"invert"} if theirs.train.rounds > 1 else set()  # its refine2 may have begun
    later |= {"refiner"} if theirs.refine.images == 0 else set()
    lines = []
    for section in dataclasses.fields(ExperimentConfig):
        if section.name in later:
            continue
        for field in dataclasses.fields(getattr(ours, section.name)):
            a, b = (getattr(getattr(config, section.name), field.name) for config in (ours, theirs))
            free = field.name in MAY_CHANGE.get(section.name, ())
            grown = field.name in _MAY_GROW.get(section.name, ()) and a > b and (b or section.name == "train")
            if a != b and not free and not grown:
                lines.append(f"{section.name}.{field.name}: {a!r} here, {b!r} in the run")
    return lines


def longer(ours: ExperimentConfig, theirs: ExperimentConfig) -> dict[str, str]:
    """Returns "section.field NEW instead of OLD" for each schedule of the run that is longer here, by section."""
    schedules = [("train", "constant_epochs"), ("train", "decay_epochs")]
    schedules += [(stage, "images") for stage in ("read", *PAIR_STAGES)]
    lines: dict[str, str] = {}
    for section, field in schedules:
        new, old = (getattr(getattr(config, section), field) for config in (ours, theirs))
        if new > old and (old or section == "train"):  # else the run did not have this stage
            line = f"{section}.{field} {new:,} instead of {old:,}"
            lines[section] = f"{lines[section]}, {line}" if section in lines else line
    return lines
