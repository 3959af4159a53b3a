"""Arguments that the subcommands of ``segkit dataset`` share."""

from __future__ import annotations

import argparse


def add_source(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that name a data set."""
    parser.add_argument("data", metavar="DATA", help="folder or file of a data set, of any format")
    parser.add_argument("--format", metavar="F", help="format of the data (default: recognised by content)")
