"""What to type to go on with a run that has ended before its time."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence

# What starts a run, and so does not go with --resume, and whether a value follows it.
_STARTING = (("--weights", True), ("--restart", False))


def resume_command(
    program: str | Sequence[str],
    arguments: Sequence[str],
    *,
    several: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> str:
    """The command, for a shell, that goes on with the run which this process trains, started as this one was.

    Args:
        program: the tool's file, or what :func:`program_words` says.
        arguments: the tool's, as they were given.
        several: whether they start several processes by themselves (``--num-gpus``).
        environment: in which torchrun leaves what it was started with.
    Returns:
        one line; where it is to be typed on several machines, a second one says so.
    """
    starter, note = [_python()], ""
    if several:
        if int(environment.get("GROUP_WORLD_SIZE", "1")) > 1:
            note = "\n  (on each machine, with its own --machine-rank)"
    elif "TORCHELASTIC_RUN_ID" in environment:
        starter = _torchrun(environment)
        if "--node-rank" in starter:
            note = "\n  (on each machine, with its own --node-rank)"
    elif (processes := environment.get("WORLD_SIZE", "1")) != "1":
        note = f"\n  (in {processes} processes, by the launcher that started them)"
    words = [program] if isinstance(program, str) else program
    return shlex.join([*starter, *words, *_going_on(arguments)]) + note


def program_words() -> list[str]:
    """What Python and torchrun are given to run this program: its file, or ``-m`` and its module."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    # A debugger, profiler or test runner is a module too, which has put the program's own file into argv.
    if spec is None or spec.origin is None or os.path.realpath(spec.origin) != os.path.realpath(sys.argv[0]):
        return [sys.argv[0]]
    return ["-m", spec.name.removesuffix(".__main__")]


def _python() -> str:
    """As it was typed; a launcher's children were started with the whole path."""
    return sys.orig_argv[0] if sys.orig_argv else sys.executable


def _torchrun(environment: Mapping[str, str]) -> list[str]:
    """torchrun with what its child sees of its arguments."""
    number = ["--nproc-per-node", environment["LOCAL_WORLD_SIZE"]]
    if environment.get("GROUP_WORLD_SIZE", "1") == "1":
        return ["torchrun", "--standalone", *number]
    machines = ["--nnodes", environment["GROUP_WORLD_SIZE"], "--node-rank", environment["GROUP_RANK"]]
    address = ["--master-addr", environment["MASTER_ADDR"], "--master-port", environment["MASTER_PORT"]]
    return ["torchrun", *machines, *number, *address]


def _going_on(arguments: Sequence[str]) -> list[str]:
    """The arguments with ``--resume``, without what starts a run; argparse takes abbreviations, too."""
    kept: list[str] = []
    skip = False
    for argument in arguments:
        name = argument.split("=")[0]
        starting = [value for flag, value in _STARTING if len(name) > 2 and flag.startswith(name)]
        if not skip and not starting:
            kept.append(argument)
        skip = not skip and starting == [True] and "=" not in argument
    return kept if "--resume" in kept else [*kept, "--resume"]
