#!/usr/bin/env python
"""``python -m segkit.tools.benchmark`` as a script of a checkout."""

from segkit.tools.benchmark import main, parse_arguments, run

__all__ = ["main", "parse_arguments", "run"]

if __name__ == "__main__":
    run()
