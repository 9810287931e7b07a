"""The page that needs no server, as people use it: in a browser, against the translator and the server's answers."""

import base64
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import ExifTags, Image

from bitmoji_jax.data.images import UnusableImageError, load_photo
from bitmoji_jax.data.synthetic.jobs import list_jobs, render_job
from bitmoji_jax.faces.align import FaceError
from bitmoji_jax.inference.translator import Translator
from bitmoji_jax.inference.weights import pretrained_weights
from bitmoji_jax.web.errors import MAX_PIXELS, sentence, unusable_photo
from tests.static_host import AXE, CHROMIUM, RUNTIME, Host, hosting
from tests.web_server import until

sync_api = pytest.importorskip("playwright.sync_api")
pytest.importorskip("onnx")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on PATH"),
    pytest.mark.skipif(not RUNTIME.is_dir(), reason=f"no {RUNTIME}: npm install onnxruntime-web, or set NODE_MODULES"),
]

SIZE = 256
ASTRONAUT = skimage.data.astronaut()
RESULT = "#result:not([aria-busy]) .face, #result:not([aria-busy]) .error"
TRANSLATE = """async ([data, options]) => {
    const { translate } = await import("./backend.js");
    const file = new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], "photo");
    const png = async (url) => {
        const image = new Image();
        image.src = url;
        await image.decode();
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
        canvas.getContext("2d").drawImage(image, 0, 0);
        return canvas.toDataURL("image/png").split(",")[1];
    };
    try {
        const faces = await translate({ file }, options, new AbortController().signal, () => {});
        const pictures = faces.map(async (f) => ({ ...f, crop: await png(f.crop), avatar: await png(f.avatar) }));
        return { faces: await Promise.all(pictures) };
    } catch (error) {
        return { error: error.message };
    }
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from bitmoji_jax.web.export_site import export_site

    folder = tmp_path_factory.mktemp("export") / "site"
    export_site(pretrained_weights(), folder, RUNTIME, pretrained=True)
    return folder


@pytest.fixture(scope="module")
def host(site: Path) -> Iterator[Host]:
    with hosting(site) as host:
        yield host


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator["sync_api.Browser"]:
    video = tmp_path_factory.mktemp("video") / "astronaut.mjpeg"  # frames, one after the other
    video.write_bytes(encoded(Image.fromarray(ASTRONAUT).resize((640, 640)).crop((0, 0, 640, 480)), "JPEG") * 2)
    options = [
        "--no-sandbox",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={video}",
    ]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(browser: "sync_api.Browser", host: Host) -> Iterator["sync_api.Page"]:
    """The page with everything loaded; whatever it writes on the console is an error."""
    context = browser.new_context(permissions=["camera"])
    context.set_default_timeout(120_000)
    page = context.new_page()
    console: list[str] = []
    page.on("console", lambda message: console.append(message.text))
    page.on("pageerror", lambda error: console.append(str(error)))
    page.goto(host.address)
    page.wait_for_selector("html[data-loaded=avatar]")
    assert page.evaluate("crossOriginIsolated")  # otherwise there are no threads
    yield page
    context.close()
    assert not console


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator.pretrained()


def encoded(image: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def decoded(png: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        return np.asarray(image.convert("RGB"), np.float64)


def ask(page: "sync_api.Page", photo: bytes, **options: Any) -> dict[str, Any]:
    """What the page's back end answers: faces or an error."""
    options = {"all_faces": False, "force": False, "look": {}, "variants": [1]} | options
    return page.evaluate(TRANSLATE, [base64.b64encode(photo).decode(), options])


def check_same(
    answer: dict[str, Any], translator: Translator, photo: bytes, *, variants: Sequence[int] = (1,), **options: bool
) -> None:
    """Checks an answer against the server's to the same photo."""
    error = None
    try:
        faces = translator.align(load_photo(photo, max_pixels=MAX_PIXELS), **options)
    except (UnusableImageError, FaceError) as raised:
        error = unusable_photo(raised).message
    assert answer.get("error") == error
    if error is not None:
        return
    corners = np.array([[0, 0, 1], [SIZE, 0, 1], [0, SIZE, 1], [SIZE, SIZE, 1]])
    portraits = translator.translate_faces(faces, variants=variants)
    faces = [face for face in faces for _ in variants]
    for face, portrait, shown in zip(faces, portraits, answer["faces"], strict=True):
        scale = math.sqrt(np.linalg.det(face.matrix[:, :2]))
        moved = corners @ (np.reshape(shown["matrix"], (2, 3)) - face.matrix).T / scale
        assert np.linalg.norm(moved, axis=1).max() < 1.5
        assert np.abs(decoded(shown["crop"]) - portrait.crop).mean() < 2
        # A rounding error of the resize moves the points that are found in 64 px, and lines with them.
        assert np.abs(decoded(shown["avatar"]) - portrait.avatar).mean() < 6
        assert shown["confidence"] == pytest.approx(portrait.confidence, abs=0.02)
        assert shown["quality"] == pytest.approx(portrait.quality, abs=0.02)
        assert shown["warnings"] == [sentence(warning) for warning in portrait.warnings]
        assert shown["variant"] == portrait.variant


def test_crops_and_avatars_are_those_of_the_translator(page: "sync_api.Page", translator: Translator) -> None:
    jobs = list_jobs(train_images=0, test_images=20, seed=7)[:20]
    for image in (ASTRONAUT, *(render_job(job, 300 if i % 2 else 400) for i, job in enumerate(jobs))):
        photo = encoded(Image.fromarray(image))
        check_same(ask(page, photo), translator, photo)
    check_same(ask(page, photo, variants=[2, 3]), translator, photo, variants=(2, 3))


def test_looks_are_those_of_the_translator_and_can_be_chosen(page: "sync_api.Page", translator: Translator) -> None:
    photo = encoded(Image.fromarray(ASTRONAUT))
    (portrait,), (face,) = translator.portraits(photo), ask(page, photo)["faces"]
    assert portrait.look is not None
    traits = {"gender": ("female", "male"), "glasses": (True, False), "mouth": ("open", "closed")}
    traits["hat"] = True, False
    read = {name: getattr(portrait.look, name) for name in traits}
    assert {name: face["look"][name] for name in traits} == read
    other = {name: values[values[0] == read[name]] for name, values in traits.items() if read[name] is not None}
    wanted = {name: str(int(value)) if isinstance(value, bool) else value for name, value in other.items()}
    (drawn,) = ask(page, photo, look=wanted | {"hair": "#ff0040"})["faces"]
    assert drawn["look"] == face["look"] | other | {"hair": "#ff0040"}
    assert np.abs(decoded(drawn["avatar"]) - decoded(face["avatar"])).mean() > 1


def test_odd_photos_get_the_answers_of_the_server(page: "sync_api.Page", translator: Translator) -> None:
    portrait = Image.fromarray(ASTRONAUT)
    lying = Image.Exif()
    lying[ExifTags.Base.Orientation] = 6
    two = Image.new("RGB", (900, 512), "white")
    two.paste(portrait)
    two.paste(portrait.resize((300, 300)).transpose(Image.Transpose.FLIP_LEFT_RIGHT), (560, 100))
    large = portrait.resize((2500, 2500)).resize((7070, 7070), Image.Resampling.NEAREST)  # 50 million pixels
    photos = {
        "EXIF": encoded(portrait.rotate(90), "JPEG", exif=lying, quality=95),
        "turned": encoded(portrait.rotate(130, expand=True)),
        "large": encoded(large, "JPEG"),
        "too large": encoded(Image.new("L", (7200, 7200)), "JPEG"),
        "small": encoded(portrait.resize((130, 130))),
        "no face": encoded(Image.new("RGB", (90, 80), "gray")),
        "text": b"hello",
        "cut off": encoded(portrait)[:100_000],
        "damaged": encoded(portrait, "JPEG")[:300] + bytes(3000) + b"\xff\xd9",
    }
    for photo in photos.values():
        check_same(ask(page, photo), translator, photo)
    answer = ask(page, encoded(two), all_faces=True)
    assert len(answer["faces"]) == 2
    check_same(answer, translator, encoded(two), all_faces=True)
    forced = ask(page, photos["small"], force=True)
    assert len(forced["faces"][0]["warnings"]) == 1
    check_same(forced, translator, photos["small"], force=True)


def test_the_page_works_offline_and_requests_nothing_once_loaded(
    browser: "sync_api.Browser", site: Path, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(encoded(Image.fromarray(ASTRONAUT)))
    context = browser.new_context()
    context.set_default_timeout(120_000)
    page = context.new_page()
    with hosting(site) as host:
        page.goto(host.address)
        page.wait_for_selector("html[data-loaded=avatar]")
        requests: list[str] = []
        context.on("request", lambda request: requests.append(request.url))
        for _ in range(2):
            page.set_input_files("#photo", photo)
            page.wait_for_selector(RESULT)
            page.click("#examples button >> nth=2")
            page.wait_for_selector("#result[aria-busy]")
            page.wait_for_selector(RESULT)
        assert not [url for url in requests if not url.startswith("blob:")]
        assert [cookie for cookie in context.cookies() if cookie] == []
        host.stop()
        page.reload()
        page.wait_for_selector("html[data-loaded=avatar]")
        page.set_input_files("#photo", photo)
        page.wait_for_selector(RESULT)
        assert page.inner_text("#status") == "Done."
        assert not page.query_selector(".downloads button")  # stickers need a server
    context.close()


def test_the_page_works_with_the_keyboard_alone(page: "sync_api.Page") -> None:
    page.reload()
    steps = [
        ("Tab", "photo"),
        ("Tab", "camera"),
        ("Enter", "take"),  # the dialog is open
        ("Tab", "close"),
        ("Enter", "camera"),
        ("Tab", "all_faces"),
        ("Space", "all_faces"),
        ("Tab", "force"),
        ("Tab", "example"),
        ("Tab", "example"),
        ("Enter", "example"),  # makes an avatar
        ("Shift+Tab", "example"),
    ]
    for key, focused in steps:
        page.keyboard.press(key)
        page.wait_for_selector(f":is(#{focused}, [name={focused}]):focus")
        # What has the focus, or the label that stands for it, shows it.
        assert page.evaluate(
            "(e => [e, ...(e.labels ?? [])].some(n => getComputedStyle(n).outlineStyle == 'solid'))"
            "(document.activeElement)"
        )
    page.wait_for_selector(RESULT)
    assert page.is_checked("[name=all_faces]")
    assert page.inner_text("#status") == "Done."
    for _ in range(7):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.download"):
            break
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "avatar.png"


def test_the_avatar_follows_the_camera(page: "sync_api.Page") -> None:
    page.click("#camera")
    until(lambda: page.evaluate("Number(document.getElementById('preview').dataset.drawn ?? 0)") >= 3)
    pixels = page.evaluate("""() => {
        const canvas = document.getElementById("preview");
        return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
    }""")
    drawn = np.reshape(pixels, (SIZE, SIZE, 4))[..., :3]
    assert drawn[:30, :30].mean() > 235  # the background is white
    assert drawn[110:180, 100:160].mean() < 235  # the face is not
    page.click("#take")
    page.wait_for_selector(RESULT)
    assert page.inner_text("#status") == "Done."


@pytest.mark.skipif(not AXE.is_file(), reason=f"no {AXE}: npm install axe-core, or set NODE_MODULES")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_complain_of(page: "sync_api.Page", tmp_path: Path, scheme: str) -> None:
    text = tmp_path / "text.txt"
    text.write_text("hello")
    page.emulate_media(color_scheme=scheme)
    page.reload()
    page.evaluate(AXE.read_text(encoding="utf-8"))

    def check() -> None:
        found = page.evaluate("async () => (await axe.run()).violations.map(v => [v.id, v.nodes.map(n => n.html)])")
        assert found == []

    check()
    page.click("#examples button >> nth=0")
    page.wait_for_selector(RESULT)
    check()
    page.set_input_files("#photo", text)
    page.wait_for_selector(".error")
    check()
    page.click("#camera")
    page.wait_for_selector("#viewfinder[open]")
    check()
    page.click("#close")
