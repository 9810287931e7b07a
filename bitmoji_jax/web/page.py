"""The page: one template, for a server and for the browser alone.

A server fills it with nothing, portraits or an error; it works with JavaScript and without.
"""

import base64
import importlib.resources
import io
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from bitmoji_jax.inference.picture import transparent
from bitmoji_jax.web.errors import sentence
from bitmoji_jax.web.words import grade, page_words

EXAMPLES = {
    "0": "A woman with blond hair and glasses",
    "1": "A man with brown skin and swept-up dark hair",
    "22": "A woman with red hair",
    "46": "A man with a black beard",
    "28": "A woman with dark skin and pinned-up black hair",
    "34": "A man with a ginger beard and a woollen hat",
}
"""Name of a drawing in examples/, without .jpg -> what it shows. Nobody in them exists; tools/draw_examples.py draws
them."""


def read_file(name: str) -> bytes:
    """Reads a file of this package."""
    return (importlib.resources.files(__package__) / name).read_bytes()


def load_page(*, local: bool, pretrained: bool, looks: bool, glasses: bool, mouth: bool) -> jinja2.Template:
    """Loads the page of one server.

    Args:
      local: whether only this computer can reach it.
      pretrained: whether the weights are those of the package, whose terms the page states.
      looks: whether gender and colours can be chosen with them.
      glasses: whether glasses can be, too.
      mouth: whether an open or closed mouth, and a hat, can be, too.

    Returns:
      A template whose `render` takes `portraits` (`Portrait`s), `error` (a `RequestError`) or nothing.
    """
    variables = {"local": local, "pretrained": pretrained, "looks": looks, "glasses": glasses, "mouth": mouth}
    return _template(**variables, in_browser=False)


def render_browser_page(*, policy: str, pretrained: bool, looks: bool, glasses: bool, mouth: bool) -> str:
    """Renders the page that makes avatars in the browser, as `load_page`; `policy` is its Content-Security-Policy."""
    variables = {"policy": policy, "pretrained": pretrained, "looks": looks, "glasses": glasses, "mouth": mouth}
    return _template(**variables, in_browser=True).render()


def _template(**variables: Any) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, ""),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"png_base64": png_base64, "transparent": transparent, "sentence": sentence, "grade": grade}
    defaults: dict[str, Any] = {"words": page_words(), "examples": EXAMPLES, "portraits": [], "error": None}
    return environment.get_template("page.html", globals=defaults | variables)


def png_base64(image: np.ndarray) -> str:
    """Encodes uint8 [H, W, 3], or [H, W, 4] with alpha, as a PNG file in base64."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()
