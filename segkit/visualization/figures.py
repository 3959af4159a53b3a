"""Writes figures of matplotlib to files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure completely or not at all; the suffix selects the format.

    An SVG file has its text as text and is the same whenever it is written.
    """
    from matplotlib import rc_context

    path.parent.mkdir(parents=True, exist_ok=True)
    # Without atomic_write's fsync: the figure can be drawn again.
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    svg = path.suffix.lower() == ".svg"
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": path.name}):
        figure.savefig(temporary, metadata={"Date": None} if svg else None)
    os.replace(temporary, path)
