"""A matrix of counts as coloured cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from segkit.report.svg.elements import CHARACTER, element, figure, shortened, text

MOST = 30  # rows and columns
LEFT = 96.0
LEVEL, TURNED = 44.0, 92.0  # space for the names of columns
SMALLEST_WITH_TEXT = 22.0  # side of a cell


def heat_map(
    title: str,
    counts: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    row_label: str,
    column_label: str,
) -> Markup:
    """Draws counts, each coloured by its share of its row.

    Args:
        title: caption.
        counts: int [R, C].
        rows, columns: their names.
        row_label, column_label: what the rows and columns are.
    """
    r, c = counts.shape
    side = min(64.0, max(12.0, 284.0 / max(c, 1)))
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    level = side >= 48 and all(len(name) * CHARACTER <= side for name in columns)
    top = LEVEL if level else TURNED
    children = [
        text(LEFT - 8, top - 10, row_label, class_="label", text_anchor="end"),
        text(LEFT, 14, column_label, class_="label"),
    ]
    for j, name in enumerate(columns):
        x, y = LEFT + (j + 0.5) * side, top - 8
        if level:
            children.append(text(x, y, name, class_="tick", text_anchor="middle"))
        else:
            turned = f"rotate(-45 {x:.1f} {y:.1f})"
            children.append(text(x, y, shortened(name, 76), class_="tick", transform=turned))
    for i, name in enumerate(rows):
        y = top + i * side
        children.append(text(LEFT - 8, y + side / 2 + 4, shortened(name, LEFT - 8), class_="tick", text_anchor="end"))
        for j, other in enumerate(columns):
            children.append(
                _cell(LEFT + j * side, y, side, int(counts[i, j]), float(shares[i, j]), name, other, i == j)
            )
    size = (max(LEFT + c * side + 8, 300.0), top + r * side + 6)
    right = [f"{name}: {int(counts[i, i])} of {int(totals[i, 0])}" for i, name in enumerate(rows) if i < c]
    words = f"Heat map; rows are {row_label}, columns {column_label}. On the diagonal: {'; '.join(right[:30])}."
    return figure(title, words, size, children, class_="heat")


def _cell(x: float, y: float, side: float, count: int, share: float, row: str, column: str, same: bool) -> Markup:
    """One cell: its ink is as strong as its share."""
    percent = round(100 * share)
    parts = [
        element("title", f"{row} as {column}: {count:,} ({percent} % of the row)"),
        element(
            "rect",
            x=x + 0.75,
            y=y + 0.75,
            width=side - 1.5,
            height=side - 1.5,
            rx=3,
            style=f"--share:{percent}%",
        ),
    ]
    if side >= SMALLEST_WITH_TEXT and count:
        shown = (
            f"{count:,}" if len(f"{count:,}") * 6.4 <= side else f"{count / 1000:.0f}k" if count > 999 else str(count)
        )
        parts.append(text(x + side / 2, y + side / 2 + 4, shown, text_anchor="middle"))
    css = f"cell{' same' if same else ''}{' strong' if share > 0.5 else ''}{' zero' if not count else ''}"
    return element("g", *parts, class_=css)
