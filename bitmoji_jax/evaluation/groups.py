"""The groups of persons by which scores of single photos are compared: gender, skin tone and age."""

import numpy as np

from bitmoji_jax.metrics.colour import ITA_GROUPS, ita_group

FEMALE, MALE = "female", "male"
SKIN_GROUP = "skin: "
"""Prefix of the names of the groups by skin tone."""

_AGE_GROUP = "age: "  # prefix of the names of the groups by age
_AGE_GROUPS = {"under 20": (0, 20), "20 to 39": (20, 40), "40 to 59": (40, 60), "60 and over": (60, 120)}
"""From and below how many years. They are the nine groups of FairFace (Kärkkäinen and Joo, arXiv 1908.04913) put
together to four, of which a test set of some hundred photos has enough each. Other numbers, such as −1 or the year of
birth, are no ages."""


def groups_of_persons(female: np.ndarray, ita: np.ndarray, age: np.ndarray) -> dict[str, np.ndarray]:
    """Finds the members, bool [N], of each group by its name; a group may have none.

    Args:
      female: [N], 1 female, 0 male.
      ita: individual typology angle of the skin [N], in degrees.
      age: [N], in years.
        All are NaN where unknown, and a person of whom something is unknown is in no group by it.
    """
    tones = np.array([ita_group(angle) for angle in ita])
    return {
        FEMALE: female == 1,
        MALE: female == 0,
        **{f"{SKIN_GROUP}{tone}": tones == tone for tone in ITA_GROUPS},
        **{f"{_AGE_GROUP}{name}": (age >= first) & (age < end) for name, (first, end) in _AGE_GROUPS.items()},
    }


def is_of_persons(name: str) -> bool:
    """Tells the names of groups of persons from those of groups by what a photo shows, such as "glasses"."""
    return name in (FEMALE, MALE) or name.startswith((SKIN_GROUP, _AGE_GROUP))
