"""One run on several processes: joins them, and ends in an orderly way when one of them is lost.

JAX aborts a process whose peer is lost, in C++ and with a stack trace, and Python cannot prevent it (a
`missed_heartbeat_callback` in Python ends in `std::bad_cast`, jaxlib 0.10.2). So the process that was started is a
supervisor: it trains in a child, forwards signals and the child's stderr, and replaces the abort by one line and exit
code 1. What the child has told it before counts: JAX may abort a process that ends, since another one ended sooner.
"""

import contextlib
import importlib.util
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import TextIO, cast

from bitmoji_jax.console import SteadyStream
from bitmoji_jax.errors import InputError, RunError

HEARTBEAT_TIMEOUT = 40
"""Seconds without a sign of life after which a process counts as lost, and the others end."""

CONTINUE = "The same command on every host continues from the newest checkpoint"
"""What to do when a process was lost: the end of error messages."""

# First line of the C++ log of an abort: a lost process that the coordination service reports, or a fatal error.
_ABORT_LOG = re.compile(rb"F\d{4} |E\d{4} [\d:. ]+(coordination_service|preemption_sync)")


def check_process_flags(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Checks --coordinator, --num-processes and --process-id.

    Raises:
      InputError: only some of them were given, or a value is impossible.
    """
    given = (coordinator, num_processes, process_id)
    if all(value is None for value in given):
        return
    if coordinator is None or num_processes is None or process_id is None:
        raise InputError("give --coordinator HOST:PORT, --num-processes N and --process-id I together, or none of them")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"--coordinator {coordinator}: give HOST:PORT of process 0, such as node1:8476")
    if num_processes < 1:
        raise InputError(f"--num-processes {num_processes}: there must be at least 1")
    if not 0 <= process_id < num_processes:
        raise InputError(f"--process-id {process_id}: it must be from 0 to {num_processes - 1}")


def join(coordinator: str | None, num_processes: int | None, process_id: int | None, *, timeout: int) -> None:
    """Joins the other processes. To be called before anything uses a device.

    Without arguments JAX finds the job in the environment of Slurm, Open MPI, a TPU pod or an indexed Kubernetes Job.

    Args:
      coordinator: HOST:PORT of process 0.
      num_processes: number of processes.
      process_id: number of this process, from 0.
      timeout: seconds to wait for the others; JAX then aborts this process.

    Raises:
      InputError: the environment describes no job, or an impossible one.
      RunError: the job cannot be joined.
    """
    import jax

    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT,
        )
    except ValueError as error:
        raise InputError(f"--distributed found no job to join: {_job_hint()}") from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise RunError(f"cannot join the job ({reason}): is process 0's port in use, or its address wrong?") from error


def _job_hint() -> str:
    if "KUBERNETES_SERVICE_HOST" in os.environ and importlib.util.find_spec("kubernetes") is None:
        return "on Kubernetes JAX needs a package for it: pip install 'bitmoji-jax[kubernetes]'"
    return "give --coordinator HOST:PORT --num-processes N --process-id I"


class Child:
    """A process that trains, as its supervisor sees it."""

    def __init__(self, supervisor: socket.socket) -> None:
        """Tells `supervisor`, the other end of this socket, a line each time."""
        self._supervisor = supervisor
        self.ends_together = False
        """Whether the other processes end here too, so that this one can wait for them."""

    def joined(self) -> None:
        """Tells that the other processes have been joined."""
        self._supervisor.sendall(b"joined\n")

    def ends(self, code: int, line: str) -> None:
        """Tells the exit code and a line for stderr: what becomes of this process from now on changes neither."""
        self._supervisor.sendall(f"{code} {line}\n".encode(errors="backslashreplace"))


def supervise(train: Callable[[Child], int], *, timeout: int) -> int:
    """Calls `train` in a child process. To be called before JAX or anything else starts threads.

    Args:
      train: trains and returns an exit code; tells its argument that it has joined the other processes, and that and
        why it ends with another code than 0.
      timeout: seconds that `train` waits for the others, for the error message.

    Returns:
      The child's exit code, or 1 if it was aborted before it told one.
    """
    ours, theirs = socket.socketpair()
    read_end, write_end = os.pipe()
    process = os.fork()
    if process == 0:
        ours.close()
        os.close(read_end)
        # Python writes to stderr directly, C++ through the parent.
        sys.stderr = cast(TextIO, SteadyStream(os.fdopen(os.dup(2), "w", buffering=1)))
        os.dup2(write_end, 2)
        os.close(write_end)
        threading.Thread(target=_end_with_parent, args=(theirs,), daemon=True).start()
        child = Child(theirs)
        code = train(child)
        if code == 0:
            child.ends(0, "")
            return 0  # JAX waits for the other processes at the exit
        if child.ends_together:
            _wait_for_all()
        # Not sys.exit, which would wait minutes for processes that are gone.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    theirs.close()
    os.close(write_end)
    # Ctrl-C in a terminal reaches the child too; SIGTERM and SIGHUP may reach this process only.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: os.kill(process, number))
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, lambda number, _: os.kill(process, number))
    _forward_stderr(read_end)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    told = _told(ours)
    joined = told[:1] == ["joined"]
    if ends := told[joined:]:
        number, _, line = ends[0].partition(" ")
        if line:
            print(line, file=sys.stderr)
        return int(number)
    if code >= 0:
        return code
    print(f"error: {_reason(-code, joined=joined, timeout=timeout)}", file=sys.stderr)
    return 1


def _wait_for_all() -> None:
    """Waits until the other processes end too: when process 0, which serves them, has, JAX aborts those that have not.

    One that is lost meanwhile is waited for during `HEARTBEAT_TIMEOUT`.
    """
    import jax

    with contextlib.suppress(Exception, KeyboardInterrupt):  # of a lost process, or of one signal more
        jax.distributed.shutdown()


def _end_with_parent(connection: socket.socket) -> None:
    with contextlib.suppress(ConnectionError):
        connection.recv(1)  # the parent sends nothing: this returns when it has ended
    os._exit(1)


def _told(connection: socket.socket) -> list[str]:
    """The lines that a child that has ended told its supervisor."""
    with connection.makefile(encoding="utf-8") as lines, contextlib.suppress(ConnectionError):
        return lines.read().splitlines()
    return []


def _forward_stderr(read_end: int) -> None:
    aborting = False
    with open(read_end, "rb") as lines:
        for line in lines:
            aborting = aborting or _ABORT_LOG.match(line) is not None
            if not aborting:  # the stack trace follows
                sys.stderr.write(line.decode(errors="backslashreplace"))
                sys.stderr.flush()


def _reason(signal_number: int, *, joined: bool, timeout: int) -> str:
    if signal_number != signal.SIGABRT:
        return f"training was ended by {signal.Signals(signal_number).name}. {CONTINUE}"
    if joined:
        return f"another process of this run was lost. {CONTINUE}"
    return (
        f"the processes of this run did not all join within {timeout} s. Start all of them, with the same "
        "--coordinator and --num-processes; --join-timeout waits longer"
    )
