"""Horizontal bars, one a row or one a row and series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from segkit.report.svg.elements import CHARACTER, element, figure, ink, shortened, text

WIDTH = 380.0
SHORTEST, LONGEST, RIGHT = 64.0, 176.0, 84.0  # space for names of rows, and for texts of bars
ROW, BAR, GAP = 13.0, 11.0, 9.0


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        value: its length; None: nothing was measured.
        text: at its end.
        color: index of the page's colours.
        css: more classes, as ``r0``.
        low, high: ends of an interval; None: without.
    """

    value: float | None
    text: str
    color: int = 0
    css: str = ""
    low: float | None = None
    high: float | None = None


def bar_chart(
    title: str,
    rows: Sequence[tuple[str, Sequence[Bar]]],
    *,
    highest: float | None = None,
    description: str = "",
    empty: str = "nothing to show",
) -> Markup:
    """Draws rows of bars under each other.

    Args:
        title: caption.
        rows: name of each row and its bars, one a series; a row's bars are adjacent.
        highest: value of the full length; None: the largest.
        description: for screen readers, before the values.
        empty: what is said without rows.
    """
    if not rows:
        nothing = [text(WIDTH / 2, 24, empty, class_="none", text_anchor="middle")]
        return figure(title, empty, (WIDTH, 40.0), nothing, class_="bars")
    ends = [end for _, bars in rows for bar in bars for end in (bar.value, bar.high) if end is not None]
    full = highest if highest is not None else max([0.0, *ends])
    left = min(max(SHORTEST, 10 + CHARACTER * max(len(name) for name, _ in rows)), LONGEST)
    unit = (WIDTH - left - RIGHT) / (full or 1.0)
    children, y, listed = [], 4.0, []
    for name, bars in rows:
        middle = y + ROW * len(bars) / 2 + 2.5
        label = text(left - 8, middle, shortened(name, left - 8), class_="label", text_anchor="end")
        parts = [element("title", f"{name}: {', '.join(bar.text for bar in bars)}"), label]
        for bar in bars:
            parts.append(_bar(bar, left, y, unit))
            y += ROW
        y += GAP
        children.append(element("g", *parts))
        listed.append(f"{name}: {', '.join(bar.text for bar in bars)}")
    children.append(element("line", x1=left, x2=left, y1=0, y2=y - GAP + 4, class_="axis"))
    words = f"{description or 'Bar chart.'} {'; '.join(listed[:30])}"
    return figure(title, words, (WIDTH, y - GAP + 6), children, class_="bars")


def _bar(bar: Bar, left: float, y: float, unit: float) -> Markup:
    css = f"bar {ink(bar.color)} {bar.css}".strip()
    if bar.value is None:
        return element("g", text(left + 6, y + 9, bar.text, class_="value"), class_=css)
    length = max(0.0, bar.value) * unit
    parts = [element("rect", x=left, y=y, width=max(length, 0.8), height=BAR, rx=2)]
    end = left + length
    if bar.low is not None and bar.high is not None:
        low, high, middle = left + max(0.0, bar.low) * unit, left + max(0.0, bar.high) * unit, y + BAR / 2
        parts.append(element("line", x1=low, x2=high, y1=middle, y2=middle, class_="whisker"))
        end = max(end, high)
    parts.append(text(end + 6, y + 9, bar.text, class_="value"))
    return element("g", *parts, class_=css)
