"""Trains an experiment: python launch.py --exp NAME [--workdir DIR] [--section.field VALUE ...]."""

import argparse
import dataclasses
import difflib
import importlib
import logging
import pkgutil
import sys
from collections.abc import Callable
from typing import Annotated

import tyro

import experiments
from bitmoji_jax.config import ExperimentConfig
from bitmoji_jax.distributed import check_place, join, supervised
from bitmoji_jax.errors import InputError, RunError


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Train one of the experiments; a workdir that holds a run continues it."""

    exp: str
    """Name of a file in experiments/: demo, res5, cyclegan, ..."""
    config: Annotated[ExperimentConfig, tyro.conf.arg(name="")]
    workdir: str | None = None
    """The run's folder; runs/EXP unless given."""
    overwrite: bool = False
    """Remove the run in the workdir and start again."""
    profile: int = 0
    """Steps to record with the JAX profiler, into WORKDIR/profile."""
    distributed: bool = False
    """Train together with the other processes of the job, each started with the same command (Slurm, Open MPI, TPU
    pods and Kubernetes are recognised)."""
    coordinator: str | None = None
    """With --distributed where nothing is recognised: HOST:PORT of process 0."""
    num_processes: int | None = None
    """With --coordinator: how many processes there are."""
    process_id: int | None = None
    """With --coordinator: which one this is, from 0."""
    join_timeout: int = 300
    """With --distributed: seconds to wait for the other processes."""


def main(argv: list[str]) -> int:
    """Runs the launcher; returns the exit code."""
    # Orbax logs a failed write many times over, with tracebacks; the error that ends the run says it once.
    for library in ("absl", "asyncio"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        arguments = parse(argv)
        _check_distributed(arguments)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if arguments.distributed:
        return supervised(lambda joined: _train(arguments, joined), timeout=arguments.join_timeout)
    return _train(arguments)


def _train(arguments: Arguments, joined: Callable[[], None] | None = None) -> int:
    """Trains, and returns the exit code; `joined` is called when all processes of a distributed run are there."""
    try:
        if joined is not None:
            place = (arguments.coordinator, arguments.num_processes, arguments.process_id)
            join(*place, timeout=arguments.join_timeout)
            joined()
        # Imported after the processes have joined: this touches devices.
        import bitmoji_jax

        bitmoji_jax.train(
            arguments.config,
            arguments.workdir or f"runs/{arguments.exp}",
            overwrite=arguments.overwrite,
            profile_steps=arguments.profile,
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        print(f"interrupted: {interrupt}" if str(interrupt) else "interrupted", file=sys.stderr)
        return 130
    return 0


def parse(argv: list[str]) -> Arguments:
    """Command line -> arguments; the experiment named by --exp gives the defaults of all configuration flags."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--exp")
    name = first.parse_known_args(argv)[0].exp
    if name is None:
        return tyro.cli(Arguments, args=argv, prog="launch.py")
    names = [module.name for module in pkgutil.iter_modules(experiments.__path__)]
    if name not in names:
        nearest = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else "."
        raise InputError(f"no experiment {name!r}{hint} There are: {', '.join(sorted(names))}")
    config = importlib.import_module(f"experiments.{name}").get_experiment()
    try:
        return tyro.cli(Arguments, args=argv, prog="launch.py", default=Arguments(exp=name, config=config))
    except ValueError as error:  # a value out of range, from ExperimentConfig
        raise InputError(str(error)) from error


def _check_distributed(arguments: Arguments) -> None:
    place = (arguments.coordinator, arguments.num_processes, arguments.process_id)
    if not arguments.distributed and any(value is not None for value in place):
        raise InputError("--coordinator, --num-processes and --process-id need --distributed")
    check_place(*place)
    if arguments.join_timeout < 1:
        raise InputError(f"--join-timeout {arguments.join_timeout}: it must be at least 1 s")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
