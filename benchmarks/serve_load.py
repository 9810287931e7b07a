"""The web server under many simultaneous requests.

    python -m benchmarks.serve_load [--clients 50] [--rounds 3]

starts `python -m bitmoji_jax serve`, sends phone-sized photos from many clients at the same moment, and prints a line
of JSON for each round: how many were answered, how many of them had to retry, seconds from the first request of a
client to its avatar, and the server's memory. A client that gets 503 retries after a while, as the page does.
"""

import argparse
import asyncio
import io
import json
import random
import re
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
        async with session.post(f"{address}/api/avatar", data=photo) as response:
            answer = await response.json()
            if response.status != 503:
                if response.status == 200:
                    assert len(answer["faces"]) == 1
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


def main() -> None:
    """Runs the rounds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    photos = make_photos()
    command = [sys.executable, "-m", "bitmoji_jax", "serve", "--port", "0"]
    with psutil.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            while not (found := re.match(r"(http://\S+)", server.stdout.readline())):
                if server.poll() is not None:
                    raise SystemExit("the server did not start")
            print(json.dumps({"idle_rss_mb": round(resident(server) / 1e6)}), flush=True)
            memory = PeakMemory(server)
            for _ in range(arguments.rounds):
                figures = asyncio.run(run_round(found[1], photos, arguments.clients))
                print(json.dumps({**figures, "peak_rss_mb": memory.take()}), flush=True)
            time.sleep(2)
            print(json.dumps({"rss_after_mb": round(resident(server) / 1e6), "alive": server.poll() is None}))
        finally:
            server.terminate()
        print(json.dumps({"exit_code": server.wait()}))


if __name__ == "__main__":
    main()
