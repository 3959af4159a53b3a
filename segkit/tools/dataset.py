"""``segkit dataset`` as ``python -m segkit.tools.dataset``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from segkit.cli.dataset import main as command
from segkit.utils.cli import run_cli

__all__ = ["main", "run"]


def main(words: Sequence[str]) -> object:
    """Runs the subcommand that the words name; returns its exit status, None for 0."""
    return command.main(command.parse_arguments(words, "dataset.py"))


def run() -> NoReturn:
    """Ends the process with the exit status."""
    run_cli(lambda: main(sys.argv[1:]))


if __name__ == "__main__":
    run()
