#!/usr/bin/env python
"""``python -m segkit.tools.describe_config`` as a script of a checkout."""

from segkit.tools.describe_config import main, parse_arguments, run

__all__ = ["main", "parse_arguments", "run"]

if __name__ == "__main__":
    run()
