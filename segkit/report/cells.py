"""Cells of tables, and texts for people."""

from __future__ import annotations

import math
from dataclasses import dataclass

from segkit.evaluation.intervals import Interval
from segkit.report.svg.elements import significant

ABSENT = "–"


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: what is read.
        value: by which the column is sorted; None: the text.
        number: whether it is aligned right.
        small: after the text, in small letters.
    """

    text: str
    value: float | None = None
    number: bool = False
    small: str = ""


def words(text: object) -> Cell:
    """A cell of text."""
    return Cell(str(text))


def head(text: str) -> Cell:
    """The head of a column of values."""
    return Cell(text, number=True)


def count(value: int) -> Cell:
    """A count, thousands separated."""
    return Cell(f"{value:,}", float(value), number=True)


def percent(value: float | None, interval: Interval | None = None) -> Cell:
    """A metric in 0..1, times 100 with one decimal, and its interval."""
    if value is None or not math.isfinite(value):
        return Cell(ABSENT, -1.0, number=True)
    return Cell(f"{100 * value:.1f}", value, number=True, small=bounds(interval))


def plain(value: float | None, digits: int = 3) -> Cell:
    """A value with ``digits`` significant digits."""
    if value is None or not math.isfinite(value):
        return Cell(ABSENT, -1.0, number=True)
    return Cell(significant(value, digits), value, number=True)


def bounds(interval: Interval | None) -> str:
    """The ends of an interval, times 100, as ``[41.2, 46.0]``; empty without one."""
    if interval is None or not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return ""
    return f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def duration(seconds: float) -> str:
    """A time for people: ``12 s``, ``4.5 min``, ``3 h 20 min``."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 90:
        return f"{seconds:.3g} s"
    if seconds < 5400:
        return f"{seconds / 60:.3g} min"
    return f"{int(seconds // 3600)} h {round(seconds % 3600 / 60)} min"
