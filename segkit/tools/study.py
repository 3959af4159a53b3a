"""``segkit study`` as ``python -m segkit.tools.study``."""

from __future__ import annotations

from typing import NoReturn

from segkit.cli.study import main, parse_arguments
from segkit.utils.cli import run_cli

__all__ = ["main", "parse_arguments", "run"]


def run() -> NoReturn:
    """Ends the process with the exit status."""
    run_cli(lambda: main(parse_arguments()))


if __name__ == "__main__":
    run()
