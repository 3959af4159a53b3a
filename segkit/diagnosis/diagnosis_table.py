"""A diagnosis as text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from segkit.diagnosis.findings import Diagnosis, Finding, Slice

WIDTH = 110
TIDE_TITLE = "TIDE's kinds of errors (cost in AP at IoU 0.5)"
CELLS_TITLE = "What to change (cost in AP)"


def diagnosis_table(diagnosis: Diagnosis) -> str:
    """Returns the diagnosis as plain text: what costs most, what to change, and metrics of parts of the data."""
    parts = [f"AP {diagnosis.ap:.3f}"]
    parts += _section(CELLS_TITLE, (line for one in diagnosis.cells for line in _finding(one)))
    parts += _section(TIDE_TITLE, (line for one in diagnosis.tide for line in _finding(one)))
    parts += _section("Parts of the data", _slices(diagnosis.slices))
    return "\n".join(parts) + "\n"


def _section(title: str, lines: Iterable[str]) -> list[str]:
    rows = list(lines)
    return ["", title, "-" * len(title), *rows] if rows else []


def _finding(one: Finding) -> list[str]:
    lines = [f"{one.lost_ap:6.3f} {one.share:5.0%} {one.count:7,}  {one.kind}: {one.title}"]
    for text in (one.evidence, one.advice):
        lines += textwrap.wrap(text, WIDTH, initial_indent=" " * 22, subsequent_indent=" " * 22)
    # Not wrapped: each is one argument of the command line.
    return lines + [" " * 22 + quoted(override) for override in one.overrides]


def quoted(override: str) -> str:
    """The override as a word of a shell."""
    return override if not set(override) - _PLAIN else "'" + override.replace("'", "'\\''") + "'"


_PLAIN = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.=-/:,")


def _slices(slices: Sequence[Slice]) -> list[str]:
    if not slices:
        return []
    metrics = list(dict.fromkeys(name for one in slices for name in one.metrics))
    rows = [["", "images", "objects", *metrics]]
    for one in slices:
        values = [one.metrics.get(name) for name in metrics]
        rows.append(
            [
                f"{one.group}: {one.name}",
                f"{one.images:,}",
                f"{one.objects:,}",
                *("-" if value is None else f"{value:.3f}" for value in values),
            ]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
