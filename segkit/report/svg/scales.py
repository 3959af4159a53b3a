"""From values to coordinates, and the values that an axis names."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scale:
    """A linear map from [low, high] to [start, end].

    Attributes:
        low, high: values, ``low < high``.
        start, end: coordinates of ``low`` and ``high``.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, values: np.ndarray | float) -> np.ndarray:
        """Coordinates of values: float64 of their shape; values beyond an end are moved to it."""
        share = (np.clip(np.asarray(values, np.float64), self.low, self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """About ``count`` round values."""
        return linear_ticks(self.low, self.high, count)

    @property
    def attribute(self) -> str:
        """The map as text, from which the page's script computes the same."""
        return f"{self.low:.9g} {self.high:.9g} {self.start:g} {self.end:g}"


def linear_scale(
    values: np.ndarray, start: float, end: float, low: float | None = None, high: float | None = None
) -> Scale:
    """A scale around all finite values, whose ends are round.

    Args:
        values: any shape; may be empty or NaN.
        start, end: coordinates.
        low, high: fixed ends.
    """
    finite = values[np.isfinite(values)]
    bottom = low if low is not None else float(finite.min()) if len(finite) else 0.0
    top = high if high is not None else float(finite.max()) if len(finite) else 1.0
    if not top > bottom:
        top = bottom + (abs(bottom) * 0.1 or 1.0)
    step = _step(top - bottom, 5)
    if low is None:
        bottom = math.floor(bottom / step + 1e-9) * step
    if high is None:
        top = math.ceil(top / step - 1e-9) * step
    return Scale(bottom, top, start, end)


def linear_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten in [low, high], about ``count``."""
    step = _step(high - low, count)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def tick_text(value: float) -> str:
    """A tick's value, short: ``0.25``, ``1500``, ``20k``, ``2e-05``."""
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:g}M"
    if size >= 1e4:
        return f"{value / 1e3:g}k"
    if 0 < size < 1e-3:
        return f"{value:.0e}".replace("e-0", "e-")
    return f"{value:g}"


def _step(length: float, count: int) -> float:
    """The round step that divides ``length`` into about ``count``."""
    raw = max(length, 1e-300) / count
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
