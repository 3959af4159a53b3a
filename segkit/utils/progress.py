"""A line on the terminal that says how far a long command is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
SECONDS = 0.2  # between two updates


def progress(
    items: Iterable[Item], total: int, title: str, count: Callable[[Item], int] = lambda item: 1
) -> Iterator[Item]:
    """Yields the items, and shows ``title: 120 of 463`` if stderr is a terminal.

    Args:
        items: what is shown and yielded.
        total: the sum of the items' counts.
        title: what is done with them.
        count: for how many of ``total`` an item stands.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    started = last = time.monotonic()
    done = 0
    try:
        for item in items:
            if (now := time.monotonic()) - last > SECONDS:
                last, left = now, (now - started) / max(done, 1) * (total - done)
                sys.stderr.write(f"\r\033[K{title}: {done:,} of {total:,}, {left:.0f} s left")
                sys.stderr.flush()
            done += count(item)
            yield item
    finally:
        sys.stderr.write("\r\033[K")
        sys.stderr.flush()
