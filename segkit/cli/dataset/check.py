"""``segkit dataset check``: not built yet."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from segkit.cli.dataset.arguments import add_source
from segkit.cli.parser import Parser


def make_parser(prog: str | None = None) -> Parser:
    """The parser of ``segkit dataset check``."""
    parser = Parser("To be written.", "segkit dataset check my_data", prog)
    add_source(parser)
    return parser


def parse_arguments(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """The arguments; None: those of the process."""
    return make_parser(prog).parse(arguments)


def main(options: argparse.Namespace) -> None:
    """Runs the command."""
