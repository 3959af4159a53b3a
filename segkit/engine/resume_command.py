"""The command that resumes an interrupted run: the one that was typed, with ``--resume``."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence

from segkit.utils.cli import typed_command

COMMAND_VARIABLE = "SEGKIT_COMMAND"  # set by launch() for its processes: the command that was typed to start them all
_STARTING_FLAGS = {"--weights": 1, "--restart": 0}  # flags that start a new run, with their number of values


def resume_command(environment: Mapping[str, str] = os.environ) -> str:
    """Returns the shell command that resumes the run of this process.

    A second line follows if several machines run it.

    Args:
        environment: ``launch`` and torchrun leave there how they started this process.
    """
    note = ""
    if COMMAND_VARIABLE in environment:
        words = shlex.split(environment[COMMAND_VARIABLE])
        if int(environment.get("GROUP_WORLD_SIZE", "1")) > 1:
            note = "\n  (on each machine, with its own --machine-rank)"
    elif "TORCHELASTIC_RUN_ID" in environment:
        words = [*_torchrun(environment), *(word for i, word in enumerate(sys.orig_argv[1:]) if (i, word) != (0, "-u"))]
        if "--node-rank" in words:
            note = "\n  (on each machine, with its own --node-rank)"
    else:
        words = typed_command()
        if (processes := environment.get("WORLD_SIZE", "1")) != "1":
            note = f"\n  (in {processes} processes, by the launcher that started them)"
    return shlex.join(_with_resume(words)) + note


def program_words() -> list[str]:
    """Returns the words by which Python runs this program: its file, or ``-m`` and its module."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    # A debugger, profiler or test runner is a module too; it has put the program's own file into argv.
    if spec is None or spec.origin is None or os.path.realpath(spec.origin) != os.path.realpath(sys.argv[0]):
        return [sys.argv[0]]
    return ["-m", spec.name.removesuffix(".__main__")]


def _torchrun(environment: Mapping[str, str]) -> list[str]:
    """Returns torchrun with those of its arguments that its processes can see."""
    processes = ["--nproc-per-node", environment["LOCAL_WORLD_SIZE"]]
    if environment.get("GROUP_WORLD_SIZE", "1") == "1":
        return ["torchrun", "--standalone", *processes]
    machines = ["--nnodes", environment["GROUP_WORLD_SIZE"], "--node-rank", environment["GROUP_RANK"]]
    address = ["--master-addr", environment["MASTER_ADDR"], "--master-port", environment["MASTER_PORT"]]
    return ["torchrun", *machines, *processes, *address]


def _with_resume(words: Sequence[str]) -> list[str]:
    """Returns the words with ``--resume``, without flags that start a new run and their values."""
    kept: list[str] = []
    values = 0  # of the last starting flag, which are still to be skipped
    for word in words:
        name, separator, _ = word.partition("=")
        # argparse takes abbreviations
        starting = [count for flag, count in _STARTING_FLAGS.items() if len(name) > 2 and flag.startswith(name)]
        if values:
            values -= 1
        elif starting:
            values = 0 if separator else starting[0]
        else:
            kept.append(word)
    return kept if "--resume" in kept else [*kept, "--resume"]
