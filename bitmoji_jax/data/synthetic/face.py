"""The features of a face as SVG, in canvas units: an avatar's drawn lines, a photo's soft colours."""

import numpy as np

from bitmoji_jax.data.synthetic.layers import library_part
from bitmoji_jax.data.synthetic.spec import RGB, AvatarSpec

LINE: RGB = (26, 21, 23)  # of an avatar's outlines
EYE_LEFT, EYE_RIGHT, NOSE_TIP = (106.0, 108.0), (158.0, 108.0), (132.0, 134.0)
# Of an avatar and of a photo: half the width of the mouth, the y of its corners, and how far below them the lower lip
# of the avatar is, or how far the mouth of the photo is open.
_MOUTHS = {
    "SMILE": ((19.0, 151.0, 22.0), (22.0, 150.0, 7.0)),
    "BIG_SMILE": ((25.0, 151.0, 25.0), (26.0, 149.0, 10.0)),
    "TWINKLE": ((14.0, 153.0, 13.0), (22.0, 152.0, 0.0)),
    "SERIOUS": ((12.0, 157.0, 6.0), (19.0, 154.0, 0.0)),
}
_AVATAR_EYE = {"open": 7.5, "wide": 9.0, "narrow": 5.5}
_PHOTO_EYE = {"open": 6.0, "wide": 7.2, "narrow": 4.6}


def landmarks_on_canvas(spec: AvatarSpec, *, photo: bool) -> np.ndarray:
    """Returns eyes, nose and mouth corners, image-left first: float32 [5, 2] in canvas units."""
    half, height, _ = _MOUTHS[spec.mouth][photo]
    return np.array([EYE_LEFT, EYE_RIGHT, NOSE_TIP, (132 - half, height), (132 + half, height)], np.float32)


def avatar_features(spec: AvatarSpec) -> str:
    """Returns jaw, ears, nose, brows, mouth, and the eyes of a bitmoji: whites, iris, a heavy upper lid."""
    skin, line = np.array(spec.skin, np.float32), _hex(LINE)
    dark = _hex(_mix(skin, (60, 20, 10), 0.45))
    parts = [
        _stroke("M86 162 A56 56 0 0 0 178 162", line, 3.2),
        _stroke("M72 106 q-3 8 2 15 M192 106 q3 8 -2 15", dark, 2.2),
        _stroke("M124 131 q0 6 8 6 q8 0 8 -6", dark, 3.2),
        _brows(spec, _mix(spec.hair_colour, LINE, 0.45)),
        library_part("Mouth", mouth=spec.mouth),
    ]
    half, height, depth = _MOUTHS[spec.mouth][0]
    if spec.gender == "female":
        lip = _hex(_mix(skin, (190, 40, 60), 0.55))
        parts.append(_stroke(f"M{132 - 0.55 * half} {height + depth} q{0.55 * half} 4 {1.1 * half} 0", lip, 3.6))
    opening = _AVATAR_EYE[spec.eyes]
    for side, (cx, cy) in ((-1, EYE_LEFT), (1, EYE_RIGHT)):
        lid = f"M{cx - 11.5} {cy + 1} Q{cx} {cy - 2 * opening} {cx + 11.5} {cy + 1}"
        white = f"{lid} Q{cx} {cy + 1.7 * opening} {cx - 11.5} {cy + 1}Z"
        parts += [
            f'<path d="{white}" fill="#fff" stroke="{line}"/>',
            _circle(cx, cy, min(6.0, opening), _hex(spec.eye_colour)),
            _circle(cx, cy, 3.2, "#120c0c"),
            _stroke(lid, line, 3.2),
        ]
        if spec.gender == "female":
            parts.append(_stroke(f"M{cx + side * 11} {cy} q{side * 4} -1 {side * 6} -5", line, 2.6))
    return "".join(parts)


def photo_features(spec: AvatarSpec) -> str:
    """Returns eyes, brows, lips and nostrils, which are lit with the skin below them."""
    skin = np.array(spec.skin, np.float32)
    female = spec.gender == "female"
    shade, crease = _hex(_mix(skin * 0.72, (90, 40, 30), 0.2)), _hex(_mix(skin * 0.55, (60, 25, 20), 0.3))
    rouge, strength = ((176, 52, 66), 0.52) if female else ((150, 70, 66), 0.3)
    brow = _mix(np.array(spec.hair_colour, np.float32) * 0.7, skin * 0.6, 0.2)
    parts = [
        f'<g opacity="0.8">{_brows(spec, brow)}</g>',
        f'<ellipse cx="126.5" cy="138.5" rx="2.6" ry="1.5" fill="{crease}"/>',
        f'<ellipse cx="137.5" cy="138.5" rx="2.6" ry="1.5" fill="{crease}"/>',
        _lips(spec, _mix(skin * 0.92, rouge, strength), crease),
    ]
    opening = _PHOTO_EYE[spec.eyes]
    lash, eyeshadow = ("#1c1210", 0.4) if female else (crease, 0.25)
    for side, (cx, cy) in ((-1, EYE_LEFT), (1, EYE_RIGHT)):
        inner, outer, middle = cx - side * 11.5, cx + side * 12.0, cx - side * 3
        upper = f"M{inner} {cy + 2} Q{middle} {cy - 2 * opening} {outer} {cy - 0.5}"
        almond = f"{upper} Q{cx + side * 2} {cy + 1.7 * opening} {inner} {cy + 2}Z"
        lid = f"M{inner} {cy - 4} Q{middle} {cy - 2 * opening - 6} {outer} {cy - 6}"
        parts += [
            f'<ellipse cx="{cx}" cy="{cy - 5}" rx="15" ry="7.5" fill="{shade}" opacity="{eyeshadow}"/>',
            f'<clipPath id="eye{side}"><path d="{almond}"/></clipPath>',
            f'<path d="{almond}" fill="#e6ded8"/>',
            f'<g clip-path="url(#eye{side})">',
            _circle(cx, cy - 0.5, 6.0, _hex(_mix(spec.eye_colour, (10, 8, 8), 0.6))),
            _circle(cx, cy - 0.5, 5.0, _hex(spec.eye_colour)),
            _circle(cx, cy - 0.5, 2.7, "#0b0808"),
            _stroke(upper, "#000", 6.0, opacity=0.35),  # the shadow of the lashes
            "</g>",
            _circle(cx + 1.8, cy - 2.4, 1.1, "#fff"),
            _stroke(upper, lash, 2.6 if female else 1.8),
            _stroke(lid, crease, 1.2, opacity=0.6),
        ]
    return "".join(parts)


def _lips(spec: AvatarSpec, colour: np.ndarray, crease: str) -> str:
    """Returns two lips with a dark line or teeth between them."""
    half, height, opening = _MOUTHS[spec.mouth][1]
    left, right = 132 - half, 132 + half
    sag = {"SERIOUS": 0.5, "TWINKLE": 4.0}.get(spec.mouth, 5.0)  # the middle of a smile is lower than its corners
    line = height + sag
    bottom = line + sag + 2 * opening
    upper = (
        f"M{left} {height} Q{132 - 0.45 * half} {line - 6} 128 {line - 6} Q132 {line - 4} 136 {line - 6} "
        f"Q{132 + 0.45 * half} {line - 6} {right} {height} Q132 {line + sag} {left} {height}Z"
    )
    lower = f"M{left} {height} Q132 {bottom + 11} {right} {height} Q132 {bottom} {left} {height}Z"
    parts = [
        f'<path d="{upper}" fill="{_hex(colour * 0.86)}"/><path d="{lower}" fill="{_hex(colour)}"/>',
        _stroke(f"M126 {bottom + 3.6} Q132 {bottom + 5} 139 {bottom + 3.4}", "#fff", 1.6, opacity=0.25),
    ]
    if opening:
        for inset, end, fill in ((2, bottom + 1, "#3a1414"), (4, bottom - 4, "#e9e2da")):
            start, stop, top = left + inset, right - inset, height + inset / 4
            path = f"M{start} {top} Q132 {line + sag - 0.5} {stop} {top} Q132 {end} {start} {top}Z"
            parts.append(f'<path d="{path}" fill="{fill}"/>')
    else:
        parts.append(_stroke(f"M{left} {height} Q132 {line + sag} {right} {height}", crease, 1.8))
    return "".join(parts)


def _brows(spec: AvatarSpec, colour: np.ndarray) -> str:
    """Returns the library's brows, which are black and translucent, in a colour and opaque."""
    drawn = library_part("Eyebrow", brows=spec.brows)
    return drawn.replace("#000000", _hex(colour)).replace("fill-opacity", "data-opacity")


def _stroke(path: str, colour: str, width: float, opacity: float = 1.0) -> str:
    return (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}" '
        f'stroke-linecap="round" stroke-opacity="{opacity}"/>'
    )


def _circle(cx: float, cy: float, radius: float, fill: str) -> str:
    return f'<circle cx="{cx}" cy="{cy}" r="{radius}" fill="{fill}"/>'


def _hex(colour: np.ndarray | RGB) -> str:
    red, green, blue = (int(np.clip(round(float(c)), 0, 255)) for c in colour)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _mix(a: np.ndarray | RGB, b: np.ndarray | RGB, share: float) -> np.ndarray:
    """Returns the colour `share` of the way from a to b."""
    return np.asarray(a, np.float32) * (1 - share) + np.asarray(b, np.float32) * share
