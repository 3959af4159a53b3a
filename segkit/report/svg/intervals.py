"""Values with their intervals, one a row, on one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from segkit.report.svg.elements import element, figure, ink, shortened, text
from segkit.report.svg.scales import linear_scale, tick_text

WIDTH = 380.0
LEFT, RIGHT, ROW = 108.0, 14.0, 24.0


@dataclass(frozen=True)
class IntervalRow:
    """A value and the ends of its interval; NaN where there is nothing to measure."""

    name: str
    value: float
    low: float
    high: float
    color: int = 0
    css: str = ""


def interval_chart(title: str, rows: Sequence[IntervalRow], *, zero: bool = False, factor: float = 100) -> Markup:
    """Draws each value as a dot on the line of its interval.

    Args:
        title: caption.
        rows: one a line.
        zero: whether a line marks 0, as for differences.
        factor: of the values in labels; 100 for shares.
    """
    ends = factor * np.array([[row.low, row.value, row.high] for row in rows], np.float64).reshape(-1)
    if zero:
        ends = np.append(ends, 0.0)
    bottom = 6 + ROW * len(rows)
    x = linear_scale(ends, LEFT, WIDTH - RIGHT)
    children, listed = [], []
    for value in x.ticks(5):
        at = float(x(value))
        css = "axis" if zero and value == 0 else "grid"
        children.append(element("line", x1=at, x2=at, y1=4, y2=bottom, class_=css))
        children.append(text(at, bottom + 14, tick_text(value), class_="tick", text_anchor="middle"))
    for i, row in enumerate(rows):
        middle = 6 + ROW * (i + 0.5)
        words = f"{row.name}: {factor * row.value:.1f} [{factor * row.low:.1f}, {factor * row.high:.1f}]"
        parts = [element("title", words)]
        parts.append(text(LEFT - 10, middle + 4, shortened(row.name, LEFT - 10), class_="label", text_anchor="end"))
        if np.isfinite([row.low, row.value, row.high]).all():
            low, value, high = x(factor * np.array([row.low, row.value, row.high])).tolist()
            parts.append(element("line", x1=low, x2=high, y1=middle, y2=middle, class_="whisker"))
            parts.append(element("circle", cx=value, cy=middle, r=4.5))
        else:
            parts.append(text(LEFT + 4, middle + 4, "nothing to measure", class_="value"))
        children.append(element("g", *parts, class_=f"interval {ink(row.color)} {row.css}".strip()))
        listed.append(words)
    words = f"Values with bootstrap intervals. {'; '.join(listed)}"
    return figure(title, words, (WIDTH, bottom + 20), children, class_="intervals")
