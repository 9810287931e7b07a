"""The page as people use it: in a browser."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from bitmoji_jax.inference.picture import transparent
from bitmoji_jax.web.app import make_app
from bitmoji_jax.web.errors import MAX_BYTES
from bitmoji_jax.web.queue import RequestQueue
from bitmoji_jax.web.server import warm_up
from tests.test_picture import avatar
from tests.web_server import PausedTranslator, make_guided_translator, make_translator, running, until

sync_api = pytest.importorskip("playwright.sync_api")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = [
    "--no-sandbox",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on PATH"),
]

RESULT = "#result:not([aria-busy]) .face, #result:not([aria-busy]) .error"


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    translator = make_translator()
    warm_up(translator)
    with running(make_app(translator, local=True, pretrained=True)) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    Image.fromarray(skimage.data.astronaut()).save(folder / "photo.jpg")
    Image.new("RGB", (90, 80), "gray").save(folder / "wall.png")
    (folder / "text.txt").write_text("hello")
    (folder / "large.jpg").write_bytes(bytes(MAX_BYTES + 1))
    return folder


class Visit:
    """An open page, its requests, and its messages on the console."""

    def __init__(self, browser: "sync_api.Browser", address: str, **context: object) -> None:
        self.context = browser.new_context(**context)
        self.context.set_default_timeout(60_000)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.console: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.console.append(str(error)))
        self.page.on("console", lambda message: self.console.append(message.text))
        self.page.goto(address)

    def choose(self, file: Path) -> str:
        """Chooses a file; returns the text of the result."""
        self.page.set_input_files("#photo", file)
        self.page.wait_for_selector(RESULT)
        return self.page.inner_text("#output")


@pytest.fixture
def visit(browser: "sync_api.Browser", address: str) -> Iterator[Visit]:
    visit = Visit(browser, address)
    yield visit
    visit.context.close()
    assert not [url for url in visit.requests if not url.startswith((address, "data:", "blob:"))]
    assert not [text for text in visit.console if "server responded with a status of 4" not in text]


def test_a_photo_goes_in_and_an_avatar_comes_out(visit: Visit, files: Path, tmp_path: Path) -> None:
    assert visit.page.title() == "Photo to avatar"
    assert "clear (99% sure)" in visit.choose(files / "photo.jpg")
    assert visit.page.inner_text("#status") == "Done."
    sizes = visit.page.eval_on_selector_all(".pair img", "images => images.map(i => [i.complete, i.naturalWidth])")
    assert sizes == [[True, 256], [True, 32]]
    with visit.page.expect_download() as download:
        visit.page.click("text=Download the avatar")
    assert download.value.suggested_filename == "avatar.png"
    download.value.save_as(tmp_path / "avatar.png")
    with Image.open(tmp_path / "avatar.png") as image:
        assert (image.format, image.size) == ("PNG", (32, 32))


def test_the_sticker_is_that_of_the_avatar_that_is_chosen(visit: Visit, files: Path, tmp_path: Path) -> None:
    page, portraits = visit.page, make_translator().portraits(files / "photo.jpg", variants=(1, 3))
    visit.choose(files / "photo.jpg")
    for portrait in portraits:
        page.check(f".choice label:nth-of-type({portrait.variant}) input")
        page.focus(".downloads button")
        with page.expect_download() as download:
            page.keyboard.press("Enter")
        assert download.value.suggested_filename == "avatar-sticker.webp"
        download.value.save_as(tmp_path / "sticker.webp")
        assert (tmp_path / "sticker.webp").read_bytes() == portrait.sticker()
        page.wait_for_selector(".downloads button:focus:not([aria-disabled])")
        assert page.inner_text("#status") == "Done."


def test_a_sticker_that_cannot_be_made_leaves_the_avatar_and_says_why(visit: Visit, files: Path) -> None:
    page = visit.page
    visit.choose(files / "photo.jpg")
    page.wait_for_selector(".choice label:nth-of-type(3) input")
    page.route("**/api/avatar", lambda route: route.abort())
    page.click(".downloads button")
    page.wait_for_selector("#status:has-text('The server does not answer')")
    assert page.is_visible(".avatar")
    assert page.is_enabled(".downloads button:not([aria-disabled])")
    visit.console.clear()  # of the request


def test_an_avatar_is_chosen_from_three_and_stays_chosen_until_the_next_photo(
    visit: Visit, files: Path, tmp_path: Path
) -> None:
    page, radio = visit.page, ".choice label:nth-of-type({}) input"

    def choice() -> tuple[int, str]:
        """The number of the one that is chosen, once all are there, and the address of what is shown."""
        page.wait_for_selector(radio.format(3))
        (address,) = {page.get_attribute(".avatar", "src"), page.get_attribute(".downloads a", "href")}
        chosen = [i for i in (1, 2, 3) if page.is_checked(radio.format(i))]
        assert address == page.get_attribute(radio.format(chosen[0]) + " + img", "src")
        return *chosen, address or ""

    visit.choose(files / "photo.jpg")
    number, first = choice()
    assert number == 1
    cut_out = page.get_attribute(".downloads a ~ a", "href")
    page.focus(radio.format(1))
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    number, third = choice()
    assert (number, third == first) == (3, False)
    until(lambda: page.get_attribute(".downloads a ~ a", "href") != cut_out)
    with page.expect_download() as download:
        page.click("text=Download the avatar")
    download.value.save_as(tmp_path / "avatar.png")
    expected = make_translator().portraits(files / "photo.jpg", variants=(3,))[0].avatar
    with Image.open(tmp_path / "avatar.png") as image:
        np.testing.assert_array_equal(np.asarray(image), expected)

    asked = len(visit.requests)
    page.check("[name=force]")
    page.wait_for_selector("#result[aria-busy]", state="detached")
    assert choice() == (3, third)
    assert len([url for url in visit.requests[asked:] if "/api/" in url]) == 2  # what was chosen, and the others
    visit.choose(files / "photo.jpg")
    assert choice() == (1, first)


def test_a_transparent_avatar_is_that_of_python(visit: Visit, files: Path, tmp_path: Path) -> None:
    large = np.asarray(Image.fromarray(avatar()).resize((256, 256), Image.Resampling.BICUBIC))
    opaque = np.dstack([large, np.full((256, 256), 255)])
    found = visit.page.evaluate(
        """async (levels) => {
            const { removeBackground } = await import("./cut_out.js");
            const data = Uint8ClampedArray.from(levels);
            removeBackground({ data, width: 256, height: 256 });
            return [...data];
        }""",
        opaque.ravel().tolist(),
    )
    np.testing.assert_array_equal(np.reshape(found, opaque.shape), transparent(large))

    visit.choose(files / "photo.jpg")
    pictures = []
    for text in ("Download the avatar", "With a transparent background"):
        with visit.page.expect_download() as download:
            visit.page.click(f"text={text}")
        download.value.save_as(tmp_path / "picture.png")
        with Image.open(tmp_path / "picture.png") as image:
            pictures.append(np.asarray(image.convert("RGBA")))
    assert download.value.suggested_filename == "avatar-transparent.png"
    found, expected = pictures[1], transparent(pictures[0][..., :3])
    np.testing.assert_array_equal(found[..., 3], expected[..., 3])
    # A canvas keeps colours multiplied by alpha: where that is small, little of a colour is left.
    shown, wanted = (cut[..., :3] * (cut[..., 3:] / 255.0) for cut in (found, expected))
    np.testing.assert_allclose(shown, wanted, atol=1)


def test_a_file_that_gets_no_avatar_gets_a_reason(visit: Visit, files: Path) -> None:
    assert visit.choose(files / "text.txt").startswith("This file is not a picture.")
    visit.page.wait_for_selector("#status:empty", state="attached")
    asked = len(visit.requests)
    assert visit.choose(files / "large.jpg").startswith("This file is larger than 20 MB.")
    assert len(visit.requests) == asked
    visit.page.set_input_files("#photo", files / "wall.png")
    visit.page.wait_for_selector("text=No face found")
    visit.page.check("[name=force]")  # sends the same photo again
    visit.page.wait_for_selector(".face .warning")
    assert "No face found" in visit.page.inner_text(".warning")


def test_the_page_works_with_the_keyboard_alone(visit: Visit) -> None:
    page = visit.page
    stops = []
    for _ in range(12):
        page.keyboard.press("Tab")
        stops.append(page.evaluate("(e => e.id || e.name + (e.value ?? ''))(document.activeElement)"))
        # What has the focus, or the label that stands for it, shows it.
        assert page.evaluate(
            "(e => [e, ...(e.labels ?? [])].some(n => getComputedStyle(n).outlineStyle == 'solid'))"
            "(document.activeElement)"
        )
        if stops[-1].startswith("example"):
            break
    assert stops[:2] == ["photo", "camera"]
    page.keyboard.press("Enter")
    page.wait_for_selector(RESULT)
    assert page.inner_text("#status") == "Done."
    assert page.get_by_role("img", name="The avatar").count() == 1
    assert page.get_by_role("status").inner_text() == "Done."


def test_a_file_can_be_dropped_or_pasted(visit: Visit) -> None:
    send = """([kind, text]) => {
        const transfer = new DataTransfer();
        if (text) transfer.setData("text/plain", text);
        else transfer.items.add(new File(["no picture"], "a.jpg", {type: "image/jpeg"}));
        const data = kind == "drop" ? {dataTransfer: transfer} : {clipboardData: transfer};
        const event = kind == "drop" ? new DragEvent("drop", {...data, bubbles: true, cancelable: true})
            : new ClipboardEvent("paste", {...data, bubbles: true, cancelable: true});
        document.querySelector("#drop").dispatchEvent(event);
        return event.defaultPrevented;
    }"""
    for kind in ("drop", "paste"):
        assert visit.page.evaluate(send, [kind, "words"])
        visit.page.wait_for_selector("text=That was no file.")
        assert visit.page.evaluate(send, [kind, ""])
        visit.page.wait_for_selector("text=This file is not a picture.")


def test_the_camera_takes_a_photo_and_is_switched_off(browser: "sync_api.Browser", address: str) -> None:
    visit = Visit(browser, address, permissions=["camera"])
    page = visit.page
    page.click("#camera")
    page.wait_for_selector("#viewfinder[open]")
    track = page.evaluate_handle("document.querySelector('video').srcObject.getTracks()[0]")
    page.click("#close")
    page.wait_for_selector("#viewfinder", state="hidden")
    assert track.evaluate("t => t.readyState") == "ended"
    page.click("#camera")
    page.wait_for_selector("#viewfinder[open]")
    until(lambda: page.evaluate("document.querySelector('video').videoWidth > 0"))
    page.click("#take")
    page.wait_for_selector("text=No face found")  # the browser's fake camera shows a ball
    assert page.evaluate("document.querySelector('video').srcObject") is None
    visit.context.close()


def test_the_form_works_without_scripts(browser: "sync_api.Browser", address: str, files: Path) -> None:
    visit = Visit(browser, address, java_script_enabled=False)
    page = visit.page
    for file, selector in (("photo.jpg", ".face"), ("text.txt", "text=This file is not a picture.")):
        page.set_input_files("#photo", files / file)
        page.click("text=Make the avatar")
        page.wait_for_selector(selector)
    page.click("#examples button >> nth=0")
    page.wait_for_selector(".face")
    assert page.url == f"{address}#result"
    visit.context.close()


def test_the_page_waits_for_a_full_queue_until_it_is_cancelled(browser: "sync_api.Browser", files: Path) -> None:
    paused = PausedTranslator()
    with running(make_app(paused, local=True, pretrained=True, queue=RequestQueue(waiting=0))) as port:
        first, second, third = (Visit(browser, f"http://127.0.0.1:{port}/") for _ in range(3))
        first.page.set_input_files("#photo", files / "wall.png")
        until(lambda: paused.calls == 1)
        for visit in (second, third):
            visit.page.set_input_files("#photo", files / "wall.png")
            visit.page.wait_for_selector("text=Many photos are waiting.")
        third.page.click("#cancel")
        third.page.wait_for_selector("text=Cancelled.")
        paused.resume.set()
        for visit in (first, second):
            visit.page.wait_for_selector("text=No face found")
        assert paused.calls == 2
        for visit in (first, second, third):
            visit.context.close()


def test_a_server_that_does_not_answer_is_an_error(browser: "sync_api.Browser", files: Path) -> None:
    with running(make_app(make_translator(), local=True, pretrained=True)) as port:
        visit = Visit(browser, f"http://127.0.0.1:{port}/")
    assert visit.choose(files / "wall.png").startswith("The server does not answer.")
    visit.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off_and_text_stands_out(
    browser: "sync_api.Browser", address: str, files: Path, scheme: str
) -> None:
    visit = Visit(browser, address, color_scheme=scheme)
    visit.choose(files / "photo.jpg")
    for width in (320, 390, 1280):
        visit.page.set_viewport_size({"width": width, "height": 700})
        assert visit.page.evaluate("document.documentElement.scrollWidth") == width
        for button in visit.page.query_selector_all("button:visible, .button:visible"):
            box = button.bounding_box()
            assert box is not None
            assert min(box["width"], box["height"]) >= 43
    ratios = contrasts(visit)
    visit.choose(files / "text.txt")
    ratios += contrasts(visit)
    assert len(ratios) > 20
    assert min(ratios) >= 4.5
    visit.context.close()


def contrasts(visit: Visit) -> list[float]:
    """Contrasts of all visible elements with text against the nearest background (WCAG 2.2, 1.4.3)."""
    pairs = visit.page.evaluate("""() => [...document.querySelectorAll("body *")].filter(e =>
        e.checkVisibility() && [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim())).map(e => {
            let back = e;
            while (back && getComputedStyle(back).backgroundColor == "rgba(0, 0, 0, 0)") back = back.parentElement;
            return [getComputedStyle(e).color, getComputedStyle(back).backgroundColor];
        })""")
    found = []
    for pair in pairs:
        dark, light = sorted(map(luminance, pair))
        found.append((light + 0.05) / (dark + 0.05))
    return found


def luminance(colour: str) -> float:
    assert colour.startswith("rgb(")
    channels = np.array([int(value) for value in re.findall(r"\d+", colour)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_the_look_can_be_changed_until_the_next_photo(browser: "sync_api.Browser", files: Path) -> None:
    translator = make_guided_translator()
    warm_up(translator)
    with running(make_app(translator, local=True, pretrained=True)) as port:
        visit = Visit(browser, f"http://127.0.0.1:{port}/")
        page = visit.page

        def shown() -> list[object]:
            """The values of the choices, and the avatar's colours at its top, hat, middle and mouth."""
            return page.evaluate(
                """async () => {
                    const image = document.querySelectorAll(".face img")[1], canvas = document.createElement("canvas");
                    await image.decode();
                    const context = canvas.getContext("2d", { willReadFrequently: true });
                    context.drawImage(image, 0, 0);
                    const pixels = [2, 6, 16, 26].map((y) => [...context.getImageData(5, y, 1, 1).data.slice(0, 3)]);
                    const elements = document.getElementById("form").elements;
                    const names = ["gender", "skin", "hair", "glasses", "mouth", "hat"];
                    return [...names.map((name) => elements[name].value), ...pixels];
                }"""
            )

        skin, hair = [200, 150, 120], [40, 30, 20]
        as_read = ["", "#c89678", "#281e14", "", "", "", hair, hair, skin, skin]
        assert not page.is_visible("#look")
        visit.choose(files / "photo.jpg")
        assert shown() == as_read
        assert page.is_disabled("#as-photo")
        page.fill("[name=hair]", "#ff0040")
        page.dispatch_event("[name=hair]", "change")
        page.wait_for_selector(RESULT)
        page.select_option("[name=gender]", "male")
        page.wait_for_selector(RESULT)
        assert shown() == ["male", "#c89678", "#ff0040", "", "", "", [255, 0, 64], [255, 0, 64], skin, skin]
        for name, value, place, pixel, level in (
            ("glasses", "1", 3, 8, 0),
            ("mouth", "open", 4, 9, 255),
            ("hat", "1", 5, 7, 128),
        ):
            page.click("#as-photo")
            page.wait_for_selector("#as-photo[disabled]")
            assert shown() == as_read
            page.select_option(f"[name={name}]", value)
            page.wait_for_selector("#as-photo:enabled")
            expected = list(as_read)
            expected[place], expected[pixel] = value, [level] * 3
            assert shown() == expected
        page.click("#as-photo")
        page.wait_for_selector("#as-photo[disabled]")
        assert shown() == as_read
        page.check(".choice label:nth-of-type(3) input")  # the third is told the same colours
        assert shown() == as_read
        page.fill("[name=skin]", "#ffffff")
        page.dispatch_event("[name=skin]", "change")
        page.wait_for_selector("#as-photo:enabled")
        visit.choose(files / "photo.jpg")
        page.wait_for_selector("#as-photo[disabled]")
        assert not visit.console
        visit.context.close()
