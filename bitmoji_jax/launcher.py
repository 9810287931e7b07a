"""The command line of training: `bitmoji train`, and `launch.py` of a checkout."""

import argparse
import dataclasses
import difflib
import importlib
import pkgutil
from collections.abc import Sequence
from types import ModuleType
from typing import Annotated

import tyro

from bitmoji_jax.command import expand_home, run_command
from bitmoji_jax.config import REFINE_IMAGES, TEACH_IMAGES, ExperimentConfig
from bitmoji_jax.distributed import Child, check_process_flags, join, supervise
from bitmoji_jax.errors import InputError

_Text = Annotated[str | None, tyro.conf.arg(metavar="STR", help_behavior_hint="")]
_Number = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Train an experiment. A workdir that holds a run continues it.

    With --distributed the processes of a job train together, each started with the same command. Slurm, Open MPI, TPU
    pods and Kubernetes are recognised; other jobs need --coordinator, --num-processes and --process-id as well.
    """

    exp: str
    """Name of an experiment: demo, bitmoji, res5, cyclegan, ... (files in experiments/)."""
    config: Annotated[ExperimentConfig, tyro.conf.arg(name="")]
    workdir: Annotated[str | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    """Folder of the run; by default runs/EXP."""
    refine: bool = False
    """Add the stages refine and teach, for larger and cleaner avatars, where the experiment has none: 20,000 pairs
    each, or what the flags of their sections say."""
    init_from: Annotated[str | None, tyro.conf.arg(metavar="SOURCE", help_behavior_hint="")] = None
    """Start from the networks of a run's folder or a file of weights, or from `pretrained`, those of the package."""
    overwrite: bool = False
    """Remove the run in the workdir and start again."""
    profile: int = 0
    """Steps to record with the JAX profiler, into WORKDIR/profile."""
    devices: _Number = None
    """Devices of this machine to train on; all of them unless given."""
    distributed: bool = False
    """Train together with the other processes of a job."""
    coordinator: _Text = None
    """HOST:PORT of process 0, if the job is not recognised."""
    num_processes: _Number = None
    """Number of processes, with --coordinator."""
    process_id: _Number = None
    """Number of this process, from 0, with --coordinator."""
    join_timeout: int = 300
    """Seconds to wait for the other processes."""

    @property
    def process(self) -> tuple[str | None, int | None, int | None]:
        """What `check_process_flags` and `join` take."""
        return self.coordinator, self.num_processes, self.process_id


def main(argv: Sequence[str], experiments: ModuleType, *, prog: str) -> int:
    """Trains the experiment that a command line names.

    Args:
      argv: the words after the program's name.
      experiments: a package with a module for each experiment, whose `get_experiment` returns the configuration.
      prog: the program's name, for the help.

    Returns:
      The exit code. Bad usage raises SystemExit(2), --help SystemExit(0).
    """
    return run_command(lambda: _run(argv, experiments, prog))


def _run(argv: Sequence[str], experiments: ModuleType, prog: str) -> int:
    arguments = parse(expand_home(argv), experiments, prog=prog)
    _check_distributed(arguments)
    if not arguments.distributed:
        _train(arguments)
        return 0
    return supervise(
        lambda child: run_command(lambda: _train(arguments, child), child.ends),
        timeout=arguments.join_timeout,
    )


def _train(arguments: Arguments, child: Child | None = None) -> None:
    """Trains; as a `child` where other processes are joined."""
    if child is not None:
        join(*arguments.process, timeout=arguments.join_timeout)
        child.joined()
    # Imported after the processes have joined, because this uses devices.
    import bitmoji_jax
    from bitmoji_jax.training.train_loop import Interrupted

    try:
        bitmoji_jax.train(
            arguments.config,
            arguments.workdir or f"runs/{arguments.exp}",
            overwrite=arguments.overwrite,
            profile_steps=arguments.profile,
            devices=arguments.devices,
        )
    except Interrupted:
        if child is not None:
            child.ends_together = True  # all have agreed to stop after the same step
        raise


def parse(argv: Sequence[str], experiments: ModuleType, *, prog: str) -> Arguments:
    """Parses the command line; the experiment named by --exp gives the defaults of all configuration flags."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--exp")
    first.add_argument("--refine", action=argparse.BooleanOptionalAction)
    first.add_argument("--init-from", "--init_from")
    known = first.parse_known_args(argv)[0]
    name = known.exp
    if name is None:
        return tyro.cli(Arguments, args=argv, prog=prog)
    names = [module.name for module in pkgutil.iter_modules(experiments.__path__)]
    if name not in names:
        nearest = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else "."
        raise InputError(f"no experiment {name!r}{hint} There are: {', '.join(sorted(names))}")
    config = importlib.import_module(f"{experiments.__name__}.{name}").get_experiment()
    if known.refine:
        config = _with_later_stages(config)
    if known.init_from is not None:
        config = dataclasses.replace(config, train=dataclasses.replace(config.train, init_from=known.init_from))
    try:
        return tyro.cli(Arguments, args=argv, prog=prog, default=Arguments(exp=name, config=config))
    except ValueError as error:  # a value out of range, from ExperimentConfig
        raise InputError(str(error)) from error


def _with_later_stages(config: ExperimentConfig) -> ExperimentConfig:
    """Adds the stages refine and teach where the experiment has none."""
    refine = dataclasses.replace(config.refine, images=config.refine.images or REFINE_IMAGES)
    teach = dataclasses.replace(config.teach, images=config.teach.images or TEACH_IMAGES)
    return dataclasses.replace(config, refine=refine, teach=teach)


def _check_distributed(arguments: Arguments) -> None:
    if not arguments.distributed and arguments.process != (None, None, None):
        raise InputError("--coordinator, --num-processes and --process-id need --distributed")
    if arguments.distributed and arguments.devices is not None:
        raise InputError("--devices is for a run of one process: without --distributed")
    check_process_flags(*arguments.process)
    if arguments.join_timeout < 1:
        raise InputError(f"--join-timeout {arguments.join_timeout}: it must be at least 1 s")
