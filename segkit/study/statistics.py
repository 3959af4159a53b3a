"""Intervals over seeds: of a mean, and of paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from segkit.evaluation.intervals import Interval

LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """How much a variant is above the baseline.

    Attributes:
        value: mean over the pairs.
        low, high: ends of the interval; None if one pair has none.
        pairs: how many.
        unit: what the pairs are: ``seeds``, or ``images`` of one seed.
    """

    value: float
    low: float | None
    high: float | None
    pairs: int
    unit: str = "seeds"

    @property
    def shown(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def mean(values: Sequence[float]) -> float:
    """The mean, summed without loss of digits, so that the order of the values does not matter."""
    return math.fsum(values) / len(values)


def t_interval(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Returns the mean and its confidence interval by Student's t.

    None for fewer than two values.

    ``mean +- t * s / sqrt(n)``, with the sample's standard deviation ``s`` and the quantile ``t`` of n - 1 degrees of freedom
    (Student 1908). It assumes that the values are independent and about normally distributed: seeds of one training, not
    images of one evaluation.
    """
    n = len(values)
    if n < 2:
        return None
    centre = mean(values)
    deviation = math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (n - 1))
    half = t_quantile(n - 1, level) * deviation / math.sqrt(n)
    return Interval(centre, centre - half, centre + half, level)


def t_quantile(freedom: int, level: float = LEVEL) -> float:
    """Returns the t with P(|T| < t) = level, for a whole number of degrees of freedom.

    By bisection of the finite series of Abramowitz and Stegun (1964), 26.7.3 and 26.7.4.
    """
    low, high = 0.0, 1.0
    while _within(high, freedom) < level:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if _within(middle, freedom) < level else (low, middle)
    return high


def _within(t: float, freedom: int) -> float:
    """P(|T| < t)."""
    angle = math.atan2(t, math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    if freedom % 2:
        total, term = 0.0, cosine
        for k in range(1, freedom - 1, 2):
            total += term
            term *= cosine * cosine * (k + 1) / (k + 2)
        return 2 / math.pi * (angle + sine * total)
    total, term = 0.0, 1.0
    for k in range(1, freedom, 2):
        total += term
        term *= cosine * cosine * k / (k + 1)
    return sine * total


def paired_difference(
    values: Mapping[int, float], baseline: Mapping[int, float], level: float = LEVEL
) -> Difference | None:
    """Returns the mean difference over the seeds that both have, with its t interval.

    None without such seeds.

    Args:
        values, baseline: metric by seed.
    """
    seeds = sorted(values.keys() & baseline.keys())
    if not seeds:
        return None
    differences = [values[seed] - baseline[seed] for seed in seeds]
    found = t_interval(differences, level)
    if found is None:
        return Difference(differences[0], None, None, 1)
    return Difference(found.value, found.low, found.high, len(seeds))
