"""A metric and its bootstrap interval."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A metric of the whole data, and its percentile bootstrap interval.

    Attributes:
        value: of the whole data.
        low: lower end.
        high: upper end.
        level: the share of resamples between the ends.
    """

    value: float
    low: float
    high: float
    level: float = 0.95
