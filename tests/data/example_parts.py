"""What the small folders of every format share: their description, and names of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

H, W = 24, 32
SPLITS = {"train": 2, "val": 1}  # numbers of images


class Example(NamedTuple):
    """A layout: its format, the number of images by split (``all`` without splits), and what fills the folder."""

    format: str
    splits: dict[str, int]
    fill: Callable[[Path], None]


EXAMPLES: dict[str, Example] = {}


def example(title: str, format: str, splits: dict[str, int]):
    """Adds the decorated function, which fills a folder, to the examples."""

    def add(fill: Callable[[Path], None]):
        EXAMPLES[title] = Example(format, splits, fill)
        return fill

    return add


def names(count: int) -> list[str]:
    return [chr(97 + i) for i in range(count)]
