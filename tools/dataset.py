#!/usr/bin/env python
"""``python -m segkit.tools.dataset`` as a script of a checkout."""

from segkit.tools.dataset import main, run

__all__ = ["main", "run"]

if __name__ == "__main__":
    run()
