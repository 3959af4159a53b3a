"""``segkit doctor``: what segkit runs on and what is missing (:mod:`segkit.doctor`)."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

from segkit.cli.parser import Parser

EXAMPLES = """
segkit doctor
python -m segkit.doctor
"""


def make_parser(prog: str | None = None) -> Parser:
    """The parser of ``segkit doctor``, which has ``--help`` alone."""
    return Parser(
        "Print the versions, the processors and GPUs, and what is missing with the command that installs it. "
        "Exit status 0 if segkit can work here, 1 if not.",
        EXAMPLES,
        prog,
    )


def parse_arguments(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """The arguments; None: those of the process."""
    return make_parser(prog).parse(arguments)


def main(options: argparse.Namespace) -> int:
    """Prints the findings; returns the exit status, 1 if there is a problem."""
    status: int = importlib.import_module("segkit.doctor").main()  # by name: it is outside the layers
    return status
