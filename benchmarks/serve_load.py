"""The web server under many simultaneous requests.

    python -m benchmarks.serve_load [--clients 50] [--rounds 3] [--fastapi]

starts `python -m bitmoji_jax serve`, sends phone-sized photos from many clients at the same moment, and prints a line
of JSON for each round: how many were answered, how many of them had to retry, seconds from the first request of a
client to its avatar, and the server's memory. A client that gets 503 retries after a while, as the page does. With
--fastapi, examples/fastapi_app.py is measured in turns with it.
"""

import argparse
import asyncio
import contextlib
import io
import json
import random
import socket
import statistics
import subprocess
import sys
import threading
import time

import aiohttp
import numpy as np
import psutil  # type: ignore[import-untyped]
from PIL import Image

from benchmarks.measured_command import resident
from bitmoji_jax.data.synthetic.jobs import list_jobs, render_job

_SIZE = (4000, 3000)  # of a photo, as phones make them
_KINDS = 8
_SERVERS = {  # of each the command, to which a port is added, and the path that takes a photo
    "serve": (["bitmoji_jax", "serve"], "/api/avatar"),
    "fastapi": (["uvicorn", "--app-dir", "examples", "--log-level", "error", "fastapi_app:app"], "/avatar"),
}


def make_photos() -> list[bytes]:
    """Returns JPEGs of 12 megapixels and 1.6 MB: a drawn head at a random place in a noisy picture."""
    rng = np.random.default_rng(0)
    photos = []
    for job in list_jobs(0, _KINDS, 0)[:_KINDS]:
        head = Image.fromarray(render_job(job, 256)).resize((1500, 1500), Image.Resampling.LANCZOS)
        photo = Image.new("RGB", _SIZE, (120, 130, 140))
        photo.paste(head, (int(rng.integers(0, 2500)), int(rng.integers(0, 1500))))
        pixels = np.asarray(photo).astype(np.int16)
        pixels += rng.integers(-6, 7, pixels.shape, dtype=np.int16)
        buffer = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
        photos.append(buffer.getvalue())
    return photos


async def run_client(session: aiohttp.ClientSession, address: str, photo: bytes) -> tuple[float, int, int]:
    """Sends one photo until it is answered; returns the seconds, the number of retries and the last status."""
    started, retries = time.perf_counter(), 0
    while True:
        async with session.post(address, data=photo) as response:
            await response.read()
            if response.status != 503:
                return time.perf_counter() - started, retries, response.status
            seconds = int(response.headers["Retry-After"])
        retries += 1
        await asyncio.sleep(seconds * (1 + random.random()))


async def run_round(address: str, photos: list[bytes], clients: int) -> dict[str, object]:
    """Runs all clients at once, each with its own connection."""
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        started = time.perf_counter()
        results = await asyncio.gather(
            *(run_client(session, address, photos[i % len(photos)]) for i in range(clients)), return_exceptions=True
        )
        wall = time.perf_counter() - started
    answered = [result for result in results if not isinstance(result, BaseException)]
    seconds = sorted(second for second, _, status in answered if status == 200)
    return {
        "clients": clients,
        "avatars": len(seconds),
        "other_statuses": sorted(status for _, _, status in answered if status != 200),
        "failed_connections": len(results) - len(answered),
        "retried": sum(retries > 0 for _, retries, _ in answered),
        "most_retries": max((retries for _, retries, _ in answered), default=0),
        "median_s": round(statistics.median(seconds), 2),
        "p95_s": round(seconds[int(0.95 * (len(seconds) - 1))], 2),
        "avatars_per_s": round(len(seconds) / wall, 2),
    }


class PeakMemory:
    """Greatest resident memory of a process since the last call of `take`."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._peak = 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while self._process.is_running():
            try:
                self._peak = max(self._peak, resident(self._process))
            except psutil.NoSuchProcess:
                return
            time.sleep(0.02)

    def take(self) -> int:
        """Returns it in MB and starts again from 0."""
        peak, self._peak = self._peak, 0
        return round(peak / 1e6)


def start(name: str) -> tuple[psutil.Popen, str]:
    """Starts a server; returns it when it listens, and the address that takes a photo."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command, path = _SERVERS[name]
    server = psutil.Popen([sys.executable, "-m", *command, "--port", str(port)], stdout=subprocess.DEVNULL)
    while server.poll() is None:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return server, f"http://127.0.0.1:{port}{path}"
        time.sleep(0.1)
    raise SystemExit(f"{name} did not start")


def main() -> None:
    """Runs the rounds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fastapi", action="store_true")
    arguments = parser.parse_args()
    photos = make_photos()
    with contextlib.ExitStack() as stack:
        servers = {}
        for name in ["serve", *(["fastapi"] if arguments.fastapi else [])]:
            server, address = start(name)
            stack.callback(server.wait)
            stack.callback(server.terminate)
            servers[name] = server, address, PeakMemory(server)
            print(json.dumps({"server": name, "idle_rss_mb": round(resident(server) / 1e6)}), flush=True)
        for _ in range(arguments.rounds):
            for name, (_server, address, memory) in servers.items():
                memory.take()
                figures = asyncio.run(run_round(address, photos, arguments.clients))
                print(json.dumps({"server": name, **figures, "peak_rss_mb": memory.take()}), flush=True)
        time.sleep(2)
        for name, (server, _, _) in servers.items():
            memory_after = round(resident(server) / 1e6)
            print(json.dumps({"server": name, "rss_after_mb": memory_after, "alive": server.poll() is None}))


if __name__ == "__main__":
    main()
