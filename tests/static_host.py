"""A host of static files, and the browser and npm packages, for tests of the page that needs no server."""

import contextlib
import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

NODE_MODULES = Path(os.environ.get("NODE_MODULES", "node_modules"))
RUNTIME = NODE_MODULES / "onnxruntime-web"
AXE = NODE_MODULES / "axe-core" / "axe.min.js"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


class Host:
    """A server of a folder, as simple as there is: it sends no headers of its own choice and compresses nothing."""

    def __init__(self, folder: Path) -> None:
        handler = functools.partial(_Handler, directory=str(folder))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}/"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(30)


@contextlib.contextmanager
def hosting(folder: Path) -> Iterator[Host]:
    """Serves a folder; it may be stopped before the context ends."""
    host = Host(folder)
    try:
        yield host
    finally:
        host.stop()
