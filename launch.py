"""Trains an experiment: python launch.py --exp NAME [--workdir DIR] [--section.field VALUE ...]."""

import argparse
import dataclasses
import difflib
import importlib
import logging
import pkgutil
import sys
from typing import Annotated

import tyro

import experiments
from bitmoji_jax.config import ExperimentConfig
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
    """Join the other processes of the job: on every host, before anything else (Slurm, TPU pods and others are
    recognised)."""
    coordinator: str | None = None
    """With --distributed where nothing is recognised: HOST:PORT of process 0."""
    num_processes: int | None = None
    """With --coordinator: how many processes there are."""
    process_id: int | None = None
    """With --coordinator: which one this is, from 0."""


def main(argv: list[str]) -> int:
    """Runs the launcher; returns the exit code."""
    # Orbax logs a failed write many times over, with tracebacks; the error that ends the run says it once.
    for library in ("absl", "asyncio"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        arguments = parse(argv)
        if arguments.distributed:
            _join(arguments)
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


def _join(arguments: Arguments) -> None:
    import jax

    try:
        jax.distributed.initialize(arguments.coordinator, arguments.num_processes, arguments.process_id)
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"--distributed found no job to join ({error}); give --coordinator HOST:PORT --num-processes N "
            "--process-id I"
        ) from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
