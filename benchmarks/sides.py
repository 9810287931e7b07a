"""The sides of a comparison: programs that take turns, each in its own process.

In a common process their memory could not be separated, and the waiting threads of one library would slow down the
other. So the modules that start sides import none of the libraries that are measured. A side sleeps between its turns.
A turn begins with a step that is not timed, because the other sides have used the caches; then step follows step.

Figures are medians of the turns, with the least and the greatest. Two times of a step are measured: `wall`, and `cpu`,
the CPU time of the process divided by its threads: the time on free and perfectly shared cores. On a machine with other
work `cpu` scatters less, but it includes threads that spin while they wait: PyTorch's do for a short time
(OMP_WAIT_POLICY=passive prevents that, and costs PyTorch wall time).
"""

import contextlib
import multiprocessing
import os
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import psutil  # type: ignore[import-untyped]
import rich.console
import rich.table

from bitmoji_jax.host import available_cores

CORES = available_cores()

Work = Callable[[int], float]
"""Does a number of steps, waits for them, and returns a number that must be finite."""
Start = Callable[..., tuple[Work, float]]
"""Starts a side in its process: returns its work and the FLOP of a step (0 if unknown). A module-level function with
arguments that can be pickled; it imports what it needs inside."""


class Turn(NamedTuple):
    """Seconds of a step in one turn of a side."""

    wall: float
    cpu: float


class Side:
    """One program in its own process."""

    def __init__(self, name: str, start: Start, *arguments: Any, threads: int, turn_s: float) -> None:
        """Starts the process, takes a step to warm up, and times another to choose the steps of a turn of `turn_s` s.

        Raises:
          SystemExit: the side failed.
        """
        self.name, self._threads = name, threads
        self.turns: list[Turn] = []
        self._peak_rss = 0
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, start, arguments, threads), daemon=True)
        self._process.start()
        theirs.close()
        self._memory = psutil.Process(self._process.pid)
        began = time.perf_counter()
        try:
            self.flop: float = self._answer()
            self._ask(1)
            self._start_s = time.perf_counter() - began
            self._start_peak_rss, self._peak_rss = self._peak_rss, 0
            self._steps = max(1, round(turn_s / self._ask(1)[0]))
        except BaseException:
            self.close()
            raise

    def take_turn(self) -> None:
        """Takes a step that is not timed, then the timed steps, and adds their times to `turns`."""
        self._ask(1)
        wall, cpu = self._ask(self._steps)
        self.turns.append(Turn(wall / self._steps, cpu / self._steps / self._threads))

    def figures(self) -> dict[str, Any]:
        """Returns ms of a step, and MB of resident memory while it ran and while it started (and compiled)."""
        return {
            "wall_ms": spread([turn.wall * 1e3 for turn in self.turns]),
            "cpu_ms": spread([turn.cpu * 1e3 for turn in self.turns]),
            "steps_a_turn": self._steps,
            "peak_mb": round(self._peak_rss / 1e6),
            "start_peak_mb": round(self._start_peak_rss / 1e6),
            "start_s": rounded(self._start_s),
        }

    def close(self) -> None:
        """Ends the process."""
        self._pipe.close()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _ask(self, steps: int) -> tuple[float, float]:
        self._pipe.send(steps)
        return self._answer()

    def _answer(self) -> Any:
        answered = False
        while not answered:
            answered = self._pipe.poll(0.02)
            with contextlib.suppress(psutil.NoSuchProcess):
                self._peak_rss = max(self._peak_rss, self._memory.memory_info().rss)
        try:
            failed, answer = self._pipe.recv()
        except EOFError:
            raise SystemExit(f"{self.name}: its process ended") from None
        if failed:
            raise SystemExit(f"{self.name}:\n{answer}")
        return answer


def _serve(pipe: Connection, start: Start, arguments: Sequence[Any], threads: int) -> None:
    """Runs a side in its process until the pipe is closed."""
    if threads < CORES:
        # XLA offers no other way to limit its threads before it starts them; the other libraries follow it too.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    try:
        work, flop = start(*arguments)
        pipe.send((False, flop))
        while True:
            steps = pipe.recv()
            wall, cpu = time.perf_counter(), time.process_time()
            result = work(steps)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if not abs(result) < float("inf"):
                raise ValueError(f"the result is {result}")
            pipe.send((False, (wall, cpu)))
    except (EOFError, BrokenPipeError):
        return  # the benchmark has closed the pipe or has ended
    except Exception:
        pipe.send((True, traceback.format_exc()))


@contextlib.contextmanager
def closing(sides: list[Side]) -> Iterator[list[Side]]:
    """Closes all sides in the list when the context ends."""
    try:
        yield sides
    finally:
        for side in sides:
            side.close()


def take_turns(sides: Sequence[Side], rounds: int) -> None:
    """Lets each side take a turn per round; every other round in reverse, so that no side always follows the same."""
    for number in range(rounds):
        for side in sides[:: -1 if number % 2 else 1]:
            side.take_turn()


def ratios(side: Side, ours: Side) -> dict[str, dict[str, float]]:
    """Returns the time of a side divided by ours, round by round; above 1, ours is faster."""
    pairs = list(zip(side.turns, ours.turns, strict=True))
    return {
        "wall": spread([theirs.wall / mine.wall for theirs, mine in pairs]),
        "cpu": spread([theirs.cpu / mine.cpu for theirs, mine in pairs]),
    }


def start_matmul(size: int) -> tuple[Work, float]:
    """Starts products of square float32 matrices, whose rate is the unit for FLOP/s."""
    import jax
    import jax.numpy as jnp

    a = jax.random.normal(jax.random.key(0), (size, size)) / size**0.5
    product = jax.jit(jnp.matmul)

    def work(steps: int) -> float:
        result = a
        for _ in range(steps):
            result = product(a, a)
        return float(result[0, 0])

    return work, 2.0 * size**3


def matmul_rates(side: Side) -> dict[str, float]:
    """Returns FLOP/s of matrix products, by wall and by CPU time."""
    return {kind: side.flop / statistics.median(getattr(turn, kind) for turn in side.turns) for kind in Turn._fields}


def results(sides: Sequence[Side], matmul: Side, images: int) -> dict[str, Any]:
    """Returns the figures of all sides, of which the first is ours; a step processes `images` images."""
    ours = sides[0]
    rates = matmul_rates(matmul)
    found = {}
    for side in sides:
        figures = side.figures()
        found[side.name] = figures | {
            "images_per_s": rounded(images / figures["wall_ms"]["median"] * 1e3),
            "matmul_share": {
                kind: rounded(ours.flop / (figures[f"{kind}_ms"]["median"] / 1e3) / rates[kind])
                for kind in Turn._fields
            },
        }
    return {
        "gflop": rounded(ours.flop / 1e9),
        "matmul_gflop_per_s": {kind: rounded(rate / 1e9) for kind, rate in rates.items()},
        "sides": found,
        "ratios": {side.name: ratios(side, ours) for side in sides[1:]},
    }


def machine(threads: int) -> dict[str, Any]:
    """Returns cores, threads and load of this machine."""
    return {"cores": os.cpu_count(), "threads": threads, "load": rounded(os.getloadavg()[0])}


def show(what: str, cell: Mapping[str, Any], console: rich.console.Console) -> None:
    """Prints the table of a cell, `results` and `machine` together."""
    table = rich.table.Table(
        *("side", "wall ms", "CPU ms", "images/s", "of matmul rate: wall, CPU", "MB: running, starting"),
        *("its wall / ours", "its CPU / ours"),
        title=f"{what}, {cell['threads']} threads: {cell['gflop']:g} GFLOP; load {cell['load']:g}",
    )
    for name, figures in cell["sides"].items():
        by, share = cell["ratios"].get(name), figures["matmul_share"]
        table.add_row(
            name,
            *(_with_spread(figures[f"{kind}_ms"]) for kind in Turn._fields),
            f"{figures['images_per_s']:g}",
            f"{share['wall']:.0%}, {share['cpu']:.0%}",
            f"{figures['peak_mb']}, {figures['start_peak_mb']}",
            *((_with_spread(by[kind]) for kind in Turn._fields) if by else ()),
        )
    console.print(table)


def _with_spread(values: Mapping[str, float]) -> str:
    return f"{values['median']:g} ({values['min']:g} to {values['max']:g})"


def spread(values: Sequence[float]) -> dict[str, float]:
    """Returns median, least and greatest, to three digits."""
    return {
        "median": rounded(statistics.median(values)),
        "min": rounded(min(values)),
        "max": rounded(max(values)),
    }


def rounded(value: float) -> float:
    """Rounds to three digits."""
    return float(f"{value:.3g}")
