"""``segkit study``: many runs from one file, and the tables of their results."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence

from segkit.cli.parser import Parser
from segkit.utils.cli import RESUMABLE, typed_command

EXAMPLES = """
segkit study segkit://cells/study.yaml --dry-run
segkit study study.yaml
segkit study study.yaml --seeds 0 train.iterations=500 --output output/short
segkit study study.yaml --jobs 2
segkit study study.yaml --restart-changed
segkit study study.yaml --tables
"""


def make_parser(prog: str | None = None) -> Parser:
    """The parser of ``segkit study``; imports no torch, so that ``--help`` answers at once."""
    parser = Parser(
        "Train and evaluate the runs that a study file describes, over the GPUs or processors of this machine, Slurm or Ray, "
        "and write their tables. Started again, it continues with what is not finished.",
        EXAMPLES,
        prog,
    )
    add = parser.add_argument
    add("file", metavar="FILE", help="the study file")
    add("--dry-run", action="store_true", help="check all configurations and list the runs; start nothing")
    add(
        "--tables",
        action="store_true",
        help="write tables, plots and report of the runs that are finished; start nothing",
    )
    add("--output", metavar="DIR", help="folder of the study (default: the file's)")
    add("--seeds", metavar="S,S,...", help="seeds in place of the file's, as 0,1,2")
    add("--jobs", type=int, metavar="N", help="runs at a time on this machine (default: one for each GPU, else one)")
    add("--only", metavar="RUN,RUN,...", help="start these runs only; the tables have all that are finished")
    add("--restart-changed", action="store_true", help="start runs again whose configuration has changed")
    add("opts", nargs="*", metavar="KEY=VALUE", help="values of all configurations, as train.iterations=500")
    return parser


def parse_arguments(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """The arguments; None: those of the process."""
    parser = make_parser(prog)
    options = parser.parse(arguments)
    if "=" in options.file:
        parser.error(f"the study file comes first, then '{options.file}'")
    if options.dry_run and options.tables:
        parser.error("--dry-run and --tables cannot be combined")
    if options.jobs is not None and options.jobs < 1:
        parser.error(f"--jobs: expected at least 1, not {options.jobs}")
    words = options.seeds.split(",") if options.seeds is not None else None
    if words is not None and not all(word.strip().isascii() and word.strip().isdigit() for word in words):
        parser.error(f"--seeds: expected numbers of 0 or more, as 0,1,2, not '{options.seeds}'")
    options.seeds = None if words is None else tuple(int(word) for word in words)
    options.only = tuple(word.strip() for word in options.only.split(",")) if options.only else ()
    from segkit.cli.shipped import find_config  # imports iopath

    options.file = find_config(options.file)
    return options


def main(options: argparse.Namespace) -> int:
    """Runs the study, or lists it; returns the exit status.

    After a signal it prints how to continue.
    """
    import numpy  # noqa: F401 - before torch, which ignores a Ctrl-C while it imports NumPy itself

    from segkit.study.run import StudyOptions, list_runs, run_study, write_tables
    from segkit.utils.errors import RunInterrupted

    chosen = StudyOptions(
        overrides=tuple(options.opts),
        output=options.output,
        seeds=options.seeds,
        jobs=options.jobs,
        only=options.only,
        restart_changed=options.restart_changed,
    )
    if options.dry_run:
        print(list_runs(options.file, chosen))
        return 0
    if options.tables:
        write_tables(options.file, chosen)
        return 0
    try:
        failures = run_study(options.file, chosen)
    except RunInterrupted as interruption:
        command = shlex.join(word for word in typed_command() if word != "--restart-changed")
        print(
            f"interrupted by {interruption}; finished runs stay, the others go on from their checkpoints. To continue "
            f"(exit status {RESUMABLE}):\n  {command}",
            file=sys.stderr,
        )
        return RESUMABLE
    for name, reason in failures.items():
        print(f"failed: {name}: {reason}", file=sys.stderr)
    return 1 if failures else 0
