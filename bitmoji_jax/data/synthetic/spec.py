"""What the synthetic set draws: an `AvatarSpec` is the identity of a head, a `Nuisance` the conditions of a photo.

The two come from separate random streams and are independent; an avatar shows its spec only.
"""

import dataclasses

import numpy as np

RGB = tuple[int, int, int]

# Names of `python_avatars`' enumerations, without hair that ignores its colour, has props or hides an eye, and without
# grimaces.
FEMALE_HAIR = (
    "BIG_HAIR", "BOB", "BRAIDS", "BUN", "CURLY", "CURVY", "DREADS", "FRO", "LONG_NOT_TOO_LONG",
    "LOOSE_HAIR", "MIA_WALLACE", "PIXIE", "STRAIGHT_1", "STRAIGHT_STRAND", "TWIST_LONG_HAIR",
    "TWIST_LONG_HAIR_2", "WILD",
)  # fmt: skip
MALE_HAIR = (
    "NONE", "BUZZCUT", "CAESAR", "CAESAR_SIDE_PART", "CORNROWS", "DREADLOCKS", "ELVIS", "FRIZZLE", "MOWGLI",
    "POMPADOUR", "QUIFF", "SHAGGY", "SHORT_CURLY", "SHORT_DREADS_1", "SHORT_DREADS_2", "SHORT_FLAT",
    "SHORT_ROUND", "SHORT_WAVED", "SIDES",
)  # fmt: skip
FACIAL_HAIR = ("BEARD_LIGHT", "BEARD_MEDIUM", "BEARD_MAGESTIC", "MOUSTACHE_FANCY", "MOUSTACHE_MAGNUM")
GLASSES = ("PRESCRIPTION_2", "ROUND", "WAYFARERS_2", "SUNGLASSES")
BROWS = ("DEFAULT_NATURAL", "FLAT_NATURAL", "RAISED_EXCITED_NATURAL", "UP_DOWN_NATURAL")
MOUTHS = ("SMILE", "BIG_SMILE", "TWINKLE", "SERIOUS")
EYES = ("open", "wide", "narrow")
CLOTHING = ("HOODIE", "SHIRT_CREW_NECK", "SHIRT_SCOOP_NECK", "SHIRT_V_NECK")
HATS = ("beanie", "cap")

SKIN_TONES: tuple[RGB, ...] = (
    (250, 216, 192), (246, 206, 176), (238, 192, 154), (228, 176, 132), (208, 150, 104),
    (186, 126, 82), (158, 102, 66), (126, 80, 54), (98, 62, 44),
)  # fmt: skip
HAIR_COLOURS: tuple[RGB, ...] = (
    (34, 28, 30), (52, 36, 32), (80, 52, 40), (112, 70, 46), (148, 92, 52),
    (184, 132, 74), (222, 184, 112), (176, 66, 30), (140, 42, 36), (160, 160, 164),
)  # fmt: skip
EYE_COLOURS: tuple[RGB, ...] = (
    (78, 48, 28), (56, 36, 26), (96, 74, 38), (72, 104, 62), (64, 108, 150), (104, 116, 124),
)  # fmt: skip
CLOTHING_COLOURS: tuple[RGB, ...] = (
    (40, 46, 60), (60, 98, 150), (170, 58, 60), (88, 128, 96), (200, 196, 190), (120, 84, 120),
    (214, 164, 74), (70, 70, 74),
)  # fmt: skip
BACKDROPS: tuple[RGB, ...] = (
    (238, 236, 232), (206, 200, 190), (150, 156, 162), (92, 98, 108), (52, 54, 60),  # walls and studios
    (176, 150, 120), (128, 96, 70), (92, 116, 78), (134, 156, 104), (142, 178, 208), (196, 214, 226),
    (206, 150, 96),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class AvatarSpec:
    """The identity of a head. Colours are sRGB, 0 to 255; names are from the tuples above."""

    gender: str
    skin: RGB
    hair: str
    hair_colour: RGB
    facial_hair: str  # a name of FACIAL_HAIR, or "NONE"
    glasses: str  # a name of GLASSES, or "NONE"
    eyes: str
    eye_colour: RGB
    brows: str
    mouth: str
    clothing: str
    clothing_colour: RGB


@dataclasses.dataclass(frozen=True)
class Nuisance:
    """The conditions of one photo. Lengths are fractions of the image, angles are in radians."""

    hat: str  # a name of HATS, or "NONE"
    hat_colour: RGB
    light: tuple[float, float, float]  # unit vector towards the light: right, down, towards the camera
    ambient: float  # share of the light that has no direction
    warmth: float  # -1 (blue) to 1 (yellow)
    exposure: float  # gain
    shadow: bool  # a hard cast shadow crosses the face
    shadow_angle: float
    shadow_offset: float  # from the middle of the face to its edge
    rotation: float
    shift: tuple[float, float]
    scale: float
    yaw: float  # out of the plane
    blur: float  # standard deviation of the defocus
    noise: float  # standard deviation of the sensor noise, full scale is 1
    backdrop: tuple[RGB, RGB]
    texture: int  # seed of strands, skin, background and sensor noise


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _colour(rng: np.random.Generator, options: tuple[RGB, ...], jitter: float) -> RGB:
    """Picks one of `options` and varies its brightness and each channel a little."""
    base = np.array(options[int(rng.integers(len(options)))], float)
    gain = 1 + jitter * rng.uniform(-1, 1)
    red, green, blue = np.clip(np.round(base * gain + 60 * jitter * rng.uniform(-1, 1, 3)), 0, 255)
    return int(red), int(green), int(blue)


def sample_spec(rng: np.random.Generator) -> AvatarSpec:
    """Draws an identity: half are men, 40 % of these with a beard or moustache; 12 % of all wear glasses."""
    male, bearded, glasses = rng.random() < 0.5, rng.random() < 0.4, rng.random() < 0.12
    facial_hair, frame = _pick(rng, FACIAL_HAIR), _pick(rng, GLASSES)
    skin = _colour(rng, SKIN_TONES, 0.06)
    dark = sum(skin) < 340  # then no blond or red hair: that is too rare to be learned by a model of this size
    return AvatarSpec(
        gender="male" if male else "female",
        skin=skin,
        hair=_pick(rng, MALE_HAIR if male else FEMALE_HAIR),
        hair_colour=_colour(rng, HAIR_COLOURS[:4] if dark else HAIR_COLOURS, 0.12),
        facial_hair=facial_hair if male and bearded else "NONE",
        glasses=frame if glasses else "NONE",
        eyes=_pick(rng, EYES),
        eye_colour=_colour(rng, EYE_COLOURS[:3] if dark else EYE_COLOURS, 0.1),
        brows=_pick(rng, BROWS),
        mouth=_pick(rng, MOUTHS),
        clothing=_pick(rng, CLOTHING),
        clothing_colour=_colour(rng, CLOTHING_COLOURS, 0.1),
    )


def sample_nuisance(rng: np.random.Generator) -> Nuisance:
    """Draws conditions: 8 % have a hat, 20 % a cast shadow; rotation within ±6°, shift ±3 %, scale ±5 %."""
    hat, shadow = bool(rng.random() < 0.08), bool(rng.random() < 0.20)
    light = np.array([rng.uniform(-0.8, 0.8), rng.uniform(-0.7, -0.15), rng.uniform(0.55, 0.9)])
    light /= np.linalg.norm(light)
    backdrop = (_colour(rng, BACKDROPS, 0.1), _colour(rng, BACKDROPS, 0.1))
    return Nuisance(
        hat=_pick(rng, HATS) if hat else "NONE",
        hat_colour=_colour(rng, CLOTHING_COLOURS, 0.1),
        light=(float(light[0]), float(light[1]), float(light[2])),
        ambient=float(rng.uniform(0.35, 0.6)),
        warmth=float(rng.uniform(-1, 1)),
        exposure=float(rng.uniform(0.88, 1.12)),
        shadow=shadow,
        shadow_angle=float(rng.uniform(-np.pi, np.pi)),
        shadow_offset=float(rng.uniform(-0.08, 0.08)),
        rotation=float(np.deg2rad(rng.uniform(-6, 6))),
        shift=(float(rng.uniform(-0.03, 0.03)), float(rng.uniform(-0.03, 0.03))),
        scale=float(rng.uniform(0.95, 1.05)),
        yaw=float(rng.uniform(-0.22, 0.22)),
        blur=float(rng.uniform(0.001, 0.008)),
        noise=float(rng.uniform(0.005, 0.016)),
        backdrop=backdrop,
        texture=int(rng.integers(2**31)),
    )
