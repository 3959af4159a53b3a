#!/usr/bin/env python
"""``python -m segkit.tools.study`` as a script of a checkout."""

from segkit.tools.study import main, parse_arguments, run

__all__ = ["main", "parse_arguments", "run"]

if __name__ == "__main__":
    run()
