"""Gender and colours of an avatar: as a reader finds them in a photo, or as a person wants them."""

import dataclasses
import re
from typing import Literal, get_args

import numpy as np

from bitmoji_jax.models.reader import GUIDE

Gender = Literal["female", "male"]

Colour = tuple[int, int, int]
"""sRGB, 0 to 255."""

_HEX = re.compile(r"#?([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")
_SIGN = {"female": 1.0, "male": -1.0}


@dataclasses.dataclass(frozen=True)
class Look:
    """What an avatar looks like; None: as the photo says."""

    gender: Gender | None = None
    skin: Colour | None = None
    hair: Colour | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for another gender, or numbers that are no colour."""
        if self.gender is not None and self.gender not in get_args(Gender):
            raise ValueError(f"gender {self.gender!r}: it is female or male")
        for name in ("skin", "hair"):
            colour = getattr(self, name)
            if colour is not None and not (len(colour) == 3 and all(0 <= level <= 255 for level in colour)):
                raise ValueError(f"{name} {colour}: a colour is three numbers from 0 to 255")

    def but(self, other: "Look") -> "Look":
        """Returns this look with what `other` says in the place of its own."""
        said = {
            field.name: value
            for field in dataclasses.fields(other)
            if (value := getattr(other, field.name)) is not None
        }
        return dataclasses.replace(self, **said)

    def guide(self) -> np.ndarray:
        """Returns float32 [GUIDE] as models/reader.py describes it, NaN where the photo decides."""
        guide = np.full(GUIDE, np.nan, np.float32)
        if self.gender is not None:
            guide[0] = _SIGN[self.gender]
        for colour, part in ((self.skin, guide[1:4]), (self.hair, guide[4:7])):
            if colour is not None:
                part[:] = np.asarray(colour, np.float32) / 127.5 - 1
        return guide


def look_of(guide: np.ndarray) -> Look:
    """Returns the look that a guide [GUIDE] without NaN stands for, its gender being the likelier one."""
    skin, hair = (tuple(int(level) for level in np.rint((part + 1) * 127.5)) for part in (guide[1:4], guide[4:7]))
    return Look("female" if guide[0] > 0 else "male", skin, hair)  # type: ignore[arg-type]


def parse_colour(text: str) -> Colour:
    """Reads a colour such as "#c68642"; ValueError for other text."""
    match = _HEX.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no colour: write it as in #c68642")
    red, green, blue = (int(part, 16) for part in match.groups())
    return red, green, blue


def colour_text(colour: Colour) -> str:
    """Returns a colour as "#c68642"."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
