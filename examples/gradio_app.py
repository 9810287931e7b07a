"""A page with Gradio: `pip install gradio && python examples/gradio_app.py`.

Gradio keeps photos in a temporary folder, here for an hour or two; `bitmoji serve` keeps none.
"""

import gradio as gr
from PIL import Image

import bitmoji_jax as bj

translator = bj.Translator.pretrained()


def translate(photo: Image.Image | None) -> Image.Image:
    if photo is None:
        raise gr.Error("Choose a photo first.")
    try:
        return translator.photo(photo)
    except bj.InputError as error:
        raise gr.Error(str(error)) from None


page = gr.Interface(
    translate,
    gr.Image(type="pil", label="Photo", sources=["upload", "webcam", "clipboard"]),
    gr.Image(type="pil", label="Avatar", format="png"),
    title="Photo to avatar",
    flagging_mode="never",
    analytics_enabled=False,
    delete_cache=(3600, 3600),
)

if __name__ == "__main__":
    page.launch()
