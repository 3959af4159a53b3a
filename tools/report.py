#!/usr/bin/env python
"""``python -m segkit.tools.report`` as a script of a checkout."""

from segkit.tools.report import main, parse_arguments, run

__all__ = ["main", "parse_arguments", "run"]

if __name__ == "__main__":
    run()
