"""The lines of ``metrics.json`` as series."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

MOST_POINTS = 240  # of a series on the page


class MetricsLines:
    """The values of a training over its iterations.

    Args:
        lines: of ``metrics.json``. A resumed run has written some iterations twice: later lines replace earlier ones.
    """

    def __init__(self, lines: Sequence[Mapping[str, Any]]) -> None:
        kept: list[Mapping[str, Any]] = []
        for line in lines:
            if not isinstance(line, Mapping) or not isinstance(line.get("iteration"), int):
                continue
            while kept and kept[-1]["iteration"] > line["iteration"]:
                kept.pop()
            kept.append(line)
        self.lines = kept

    def __len__(self) -> int:
        return len(self.lines)

    @cached_property
    def keys(self) -> list[str]:
        """All keys, in the order in which they first occur."""
        return list(dict.fromkeys(key for line in self.lines for key in line))

    @property
    def last_iteration(self) -> int:
        """The last iteration; 0 without lines."""
        return self.lines[-1]["iteration"] if self.lines else 0

    def last(self, key: str) -> float | None:
        """The last value of a key; None without one."""
        return next((_value(line[key]) for line in reversed(self.lines) if key in line), None)

    def series(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Iterations int64 [N] and values float64 [N] of a key; NaN for what is no number."""
        found = [(line["iteration"], _value(line[key])) for line in self.lines if key in line]
        return (
            np.array([iteration for iteration, _ in found], np.int64),
            np.array([math.nan if value is None else value for _, value in found], np.float64),
        )


def thinned(x: np.ndarray, y: np.ndarray, most: int = MOST_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Fewer points of a series, which keep its extremes.

    The series is cut into equal parts, of each of which the lowest and the highest point and the ends of the whole series
    stay (as in M4, Jugel et al. 2014, without the parts' ends).

    Args:
        x, y: [N], x ascending.
        most: largest number of points.
    Returns:
        x and y [M] with M at most ``most``.
    """
    if len(x) <= most:
        return x, y
    kept = {0, len(x) - 1}
    edges = np.linspace(0, len(x), max((most - 2) // 2, 1) + 1).astype(int)
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        values = y[low:high]
        if np.isfinite(values).any():
            kept |= {low + int(np.nanargmin(values)), low + int(np.nanargmax(values))}
    chosen = np.array(sorted(kept))
    return x[chosen], y[chosen]


def _value(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
