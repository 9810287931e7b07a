"""A running web page, for tests."""

import asyncio
import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from aiohttp import web

from bitmoji_jax.faces.align import FaceError
from bitmoji_jax.inference.look import Look
from bitmoji_jax.inference.translator import Guided, Portrait, Translator
from bitmoji_jax.models.reader import GLASSES, GUIDE, HAT, MOUTH
from bitmoji_jax.web.server import make_runner


def make_translator() -> Translator:
    """Finds faces with the real networks; its avatars are the inverted crops at 32 px."""
    return Translator({"x2y": lambda photos: 255 - photos[:, ::8, ::8]}, size=32, cut_out=True)


def make_guided_translator(*, glasses: bool = True, mouth: bool = True) -> Translator:
    """As `make_translator`, with a reader to which all are women with skin (200, 150, 120) and hair (40, 30, 20).

    The upper half of its avatars has the colour of the hair, the lower half that of the skin. With `glasses` they are
    read as none; where there are some, the middle is black. With `mouth`, which needs `glasses`, it is read as closed;
    where it is open, a part of the lower half is white; where there is a hat, a part of the upper half is grey.
    """
    size = GUIDE if mouth else MOUTH if glasses else GLASSES
    read = Look("female", (200, 150, 120), (40, 30, 20), glasses=False, mouth="closed", hat=False).guide(size)

    def read_all(photos: np.ndarray) -> np.ndarray:
        return np.tile(read, (len(photos), 1))

    def draw(photos: np.ndarray, guide: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        followed = np.where(np.isnan(guide), read, guide)
        halves = np.rint((followed[[[4, 5, 6], [1, 2, 3]]] + 1) * 127.5).astype(np.uint8)
        avatars = np.broadcast_to(halves.repeat(16, 0)[None, :, None], (len(photos), 32, 32, 3)).copy()
        if glasses and followed[GLASSES] > 0:
            avatars[:, 12:20] = 0
        if mouth and followed[MOUTH] > 0:
            avatars[:, 24:28] = 255
        if mouth and followed[HAT] > 0:
            avatars[:, 4:8] = 128
        return avatars, read_all(photos)

    guided = Guided(draw, read_all, size)
    drawn = {"x2y": lambda photos: draw(photos, Look().guide(size))[0]}
    return Translator(drawn, size=32, cut_out=True, guided=guided)


class QuickTranslator(Translator):
    """Takes a picture of 90 pixels or more for a face, others if forced; compiles nothing."""

    def __init__(self) -> None:
        super().__init__({}, size=8, cut_out=True)

    def portraits(
        self,
        source: Any,
        *,
        force: bool = False,
        all_faces: bool = False,
        look: Look | None = None,
        variants: Sequence[int] = (1,),
    ) -> list[Portrait]:
        del look
        error = FaceError("no face", "no face found")
        found = min(source.shape[:2]) >= 90
        if not found and not force:
            raise error
        image = np.zeros((8, 8, 3), np.uint8)
        portrait = Portrait(image, image, float(found), float(found), () if found else (str(error),))
        faces = [portrait] * (2 if all_faces else 1)
        return [dataclasses.replace(face, variant=variant) for face in faces for variant in variants]


class PausedTranslator(Translator):
    """Translates when `resume` is set; counts the calls that have begun."""

    def __init__(self) -> None:
        super().__init__({}, size=8, cut_out=True)
        self._translator = make_translator()
        self.resume = threading.Event()
        self.calls = 0

    def portraits(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        assert self.resume.wait(100)
        return self._translator.portraits(*args, **kwargs)


@contextlib.contextmanager
def running(app: web.Application) -> Iterator[int]:
    """Serves in a thread with the runner of `serve`; yields the port."""
    ports: list[int] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    done = asyncio.Event()

    async def run() -> None:
        runner = make_runner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ports.append(runner.addresses[0][1])
        ready.set()
        await done.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(30)
        assert not thread.is_alive()
        loop.close()


def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition, for a minute at most."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
