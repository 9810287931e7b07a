"""Gender, colours, glasses, mouth and hat of an avatar: as they are read from a photo, or as a person wants them."""

import dataclasses
import re
from typing import Literal, get_args

import numpy as np

from bitmoji_jax.models.reader import GENDER, GLASSES, GUIDE, HAIR_COLOUR, HAT, MOUTH, SKIN_COLOUR

Gender = Literal["female", "male"]
Mouth = Literal["open", "closed"]

Colour = tuple[int, int, int]
"""sRGB, 0 to 255."""

_HEX = re.compile(r"#?([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")


@dataclasses.dataclass(frozen=True)
class Look:
    """What an avatar looks like; None: as the photo says."""

    gender: Gender | None = None
    skin: Colour | None = None
    hair: Colour | None = None
    glasses: bool | None = None
    mouth: Mouth | None = None
    hat: bool | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for another gender or mouth, or numbers that are no colour."""
        if self.gender is not None and self.gender not in get_args(Gender):
            raise ValueError(f"gender {self.gender!r}: it is female or male")
        if self.mouth is not None and self.mouth not in get_args(Mouth):
            raise ValueError(f"mouth {self.mouth!r}: it is open or closed")
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

    def guide(self, size: int = GUIDE) -> np.ndarray:
        """Returns float32 [size] as models/reader.py describes it, NaN where the photo decides.

        `size` is the `guide_size` of the weights: what they do not know is left out.
        """
        guide = np.full(GUIDE, np.nan, np.float32)
        traits = (
            (GENDER, self.gender, "female"),
            (GLASSES, self.glasses, True),
            (MOUTH, self.mouth, "open"),
            (HAT, self.hat, True),
        )
        for place, trait, positive in traits:
            if trait is not None:
                guide[place] = 1 if trait == positive else -1
        for colour, part in ((self.skin, SKIN_COLOUR), (self.hair, HAIR_COLOUR)):
            if colour is not None:
                guide[part] = np.asarray(colour, np.float32) / 127.5 - 1
        return guide[:size]


def look_of(guide: np.ndarray) -> Look:
    """Returns the look that a guide without NaN stands for: the likelier gender, glasses, mouth and hat.

    Without their numbers, the last three are None.
    """
    colours = (np.rint((guide[part] + 1) * 127.5) for part in (SKIN_COLOUR, HAIR_COLOUR))
    skin, hair = (tuple(int(level) for level in colour) for colour in colours)
    glasses = bool(guide[GLASSES] > 0) if len(guide) > GLASSES else None
    mouth: Mouth | None = ("open" if guide[MOUTH] > 0 else "closed") if len(guide) > MOUTH else None
    hat = bool(guide[HAT] > 0) if len(guide) > HAT else None
    return Look("female" if guide[GENDER] > 0 else "male", skin, hair, glasses, mouth, hat)  # type: ignore[arg-type]


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
