"""The page: one template, filled with nothing, a result or a problem. It works with JavaScript and without."""

import base64
import html
import importlib.resources
import string
from collections.abc import Sequence

from bitmoji_jax.web.avatars import Avatar
from bitmoji_jax.web.examples import EXAMPLES
from bitmoji_jax.web.problems import MAX_BYTES, NO_FACE, ProblemError, sentence

_LOOK_TWICE = 0.5  # of `Portrait.quality`


def read_file(name: str) -> bytes:
    """A file of this package."""
    return (importlib.resources.files(__package__) / name).read_bytes()


class Page:
    """Renders the page of one server."""

    def __init__(self, *, local: bool, pretrained: bool) -> None:
        """Args say what the page tells: whether only this computer can reach it, and whose weights they are."""
        where = "the program on this computer" if local else "the computer that shows this page"
        buttons = "\n".join(
            f'<button name="example" value="{name}"><img src="examples/{name}.jpg" alt="{html.escape(text)}" '
            'width="96" height="96"></button>'
            for name, text in EXAMPLES.items()
        )
        self._template = string.Template(
            string.Template(read_file("page.html").decode()).safe_substitute(
                where=where,
                examples=buttons,
                max_bytes=MAX_BYTES,
                terms=_TERMS if pretrained else "",
            )
        )

    def empty(self) -> str:
        """As it is first seen."""
        return self._render('<p class="nothing">The avatar will appear here.</p>')

    def problem(self, problem: ProblemError) -> str:
        """With what is wrong."""
        hint = _ANYWAY if problem.status == NO_FACE else ""
        return self._render(f'<p class="problem" role="alert">{html.escape(problem.message)}{hint}</p>')

    def avatars(self, avatars: Sequence[Avatar]) -> str:
        """With a result."""
        faces = "\n".join(_face(avatar, number, len(avatars)) for number, avatar in enumerate(avatars, 1))
        return self._render(f'<ul class="faces">\n{faces}\n</ul>')

    def _render(self, result: str) -> str:
        return self._template.substitute(result=result)


_ANYWAY = " Or tick “Try even if the face is hard to use”, and see."
_TERMS = (
    "<p>These avatars are made with the pretrained weights: for research only, not for commercial use, and no avatar "
    "is a Bitmoji.</p>"
)


def _face(avatar: Avatar, number: int, count: int) -> str:
    which = f" {number} of {count}" if count > 1 else ""
    name = f"avatar-{number}.png" if count > 1 else "avatar.png"
    image = _data(avatar.image)
    warnings = "".join(f'<p class="warning">{html.escape(sentence(text))}</p>' for text in avatar.warnings)
    return f"""<li class="face">
<div class="pair">
<figure><img src="{_data(avatar.crop)}" alt="The face{which} as it was cut out"><figcaption>Face</figcaption></figure>
<figure><img src="{image}" alt="The avatar{which}"><figcaption>Avatar</figcaption></figure>
</div>
{warnings}
<dl>
<div><dt>Face</dt><dd>{_of_face(avatar.confidence)}</dd></div>
<div><dt>Avatar</dt><dd>{_of_avatar(avatar.quality)}</dd></div>
</dl>
<a class="button" href="{image}" download="{name}">Download the avatar{which} <small>PNG</small></a>
</li>"""


def _of_face(confidence: float) -> str:
    words = "clear" if confidence >= 0.8 else "usable" if confidence >= 0.5 else "none, or hard to make out"
    return f"{words} <small>({min(confidence, 0.99):.0%} sure)</small>"


def _of_avatar(quality: float) -> str:
    return "nothing unusual noticed" if quality >= _LOOK_TWICE else "unusual: look twice before you use it"


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
