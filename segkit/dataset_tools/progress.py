"""A line on the terminal that says how far a long command is."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
SECONDS = 0.2  # between two updates


def progress(items: Iterable[Item], total: int, title: str) -> Iterator[Item]:
    """Yields the items, and shows ``title: 120 of 463`` if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    started = last = time.monotonic()
    try:
        for done, item in enumerate(items):
            if (now := time.monotonic()) - last > SECONDS:
                last, left = now, (now - started) / max(done, 1) * (total - done)
                sys.stderr.write(f"\r\033[K{title}: {done:,} of {total:,}, {left:.0f} s left")
                sys.stderr.flush()
            yield item
    finally:
        sys.stderr.write("\r\033[K")
        sys.stderr.flush()
