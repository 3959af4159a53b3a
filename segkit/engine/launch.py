"""Starts the processes of a run from one command, by torch's own launcher (torchrun)."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Sequence

from segkit.engine.resume_command import COMMAND_VARIABLE
from segkit.utils.cli import RESUMABLE, typed_command
from segkit.utils.errors import SegkitError

DEFAULT_PORT = 29500


def launch(
    command: Sequence[str],
    *,
    num_gpus: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    master_address: str | None = None,
) -> int:
    """Runs a Python program in ``num_gpus`` processes on this machine and waits for them.

    It does what ``torchrun`` does. If one process fails, the others get SIGTERM, and SIGKILL half a minute later. SIGTERM
    and SIGINT are passed on to all.

    Args:
        command: a script, or ``-m`` and a module, and its arguments.
        num_gpus: number of processes on each machine.
        num_machines: number of machines; each calls this function, with the same ``master_address``.
        machine_rank: number of this machine, from 0.
        master_address: ``HOST`` or ``HOST:PORT`` of machine 0, if there are several machines.
    Returns:
        The exit status: that of the first process that failed, 0 if none failed, 75 after a signal.
    Raises:
        SegkitError: the arguments contradict each other.
    """
    arguments = torchrun_arguments(num_gpus, num_machines, machine_rank, master_address)
    from torch.distributed.elastic.multiprocessing.api import SignalException  # slow to import
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    os.environ[COMMAND_VARIABLE] = shlex.join(typed_command())
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // num_gpus)))
    try:
        run(parse_args([*arguments, *command]))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            ended = f"was ended by {signal.Signals(-failure.exitcode).name}"
        else:
            ended = f"ended with status {failure.exitcode}; its error is printed above"
        print(f"process {rank} of {num_gpus * num_machines} was the first to end: it {ended}", file=sys.stderr)
        return failure.exitcode if failure.exitcode > 0 else 1
    except SignalException as interruption:
        print(f"interrupted by {interruption.sigval.name}; --resume goes on (exit status {RESUMABLE})", file=sys.stderr)
        return RESUMABLE
    finally:
        del os.environ[COMMAND_VARIABLE]
    return 0


def torchrun_arguments(
    num_gpus: int, num_machines: int = 1, machine_rank: int = 0, master_address: str | None = None
) -> list[str]:
    """Returns :func:`launch`'s arguments as ``torchrun`` takes them, before the script.

    Raises SegkitError as :func:`launch` does.
    """
    for name, number in (("--num-gpus", num_gpus), ("--num-machines", num_machines)):
        if number < 1:
            raise SegkitError(f"{name}: expected 1 or more, got {number}", key=name, value=number)
    if not 0 <= machine_rank < num_machines:
        raise SegkitError(
            f"--machine-rank: expected 0 to {num_machines - 1} with --num-machines {num_machines}, got {machine_rank}",
            key="--machine-rank",
            value=machine_rank,
        )
    if (num_machines > 1) != (master_address is not None):
        raise SegkitError(
            "--master-address (HOST:PORT of machine 0): expected with several machines (--num-machines), and only then",
            key="--master-address",
            value=master_address,
        )
    arguments = ["--nproc-per-node", str(num_gpus), "--max-restarts", "0"]
    if master_address is None:
        return [*arguments, "--standalone"]
    host, _, port = master_address.partition(":")
    if not host or not (port or str(DEFAULT_PORT)).isdigit():
        raise SegkitError(
            f"--master-address: expected HOST or HOST:PORT, got '{master_address}'", key="--master-address"
        )
    machines = ["--nnodes", str(num_machines), "--node-rank", str(machine_rank)]
    return [*arguments, *machines, "--master-addr", host, "--master-port", port or str(DEFAULT_PORT)]
