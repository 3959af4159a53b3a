"""Intervals over seeds, against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from segkit.study.statistics import paired_difference, t_interval, t_quantile


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 10, 29, 100])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_the_quantile_is_scipys(freedom, level):
    assert t_quantile(freedom, level) == pytest.approx(stats.t.ppf((1 + level) / 2, freedom), rel=1e-9)


def test_the_interval_is_scipys():
    values = [0.31, 0.35, 0.32, 0.40]
    found = t_interval(values)
    expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(values), *expected))
    assert t_interval([0.3]) is None


def test_differences_are_paired_by_seed():
    found = paired_difference({0: 0.5, 1: 0.7, 3: 0.1}, {1: 0.5, 0: 0.4, 2: 0.9})
    low, high = stats.t.interval(0.95, 1, loc=0.15, scale=stats.sem([0.1, 0.2]))
    assert (found.value, found.low, found.high, found.pairs) == pytest.approx((0.15, low, high, 2))
    assert not found.shown
    assert paired_difference({0: 1.0}, {1: 1.0}) is None
    assert paired_difference({0: 0.75}, {0: 0.5}).value == 0.25
    # Paired, a shift that all seeds share is shown however much the seeds differ.
    assert paired_difference({0: 0.2, 1: 0.9, 2: 0.5}, {0: 0.1, 1: 0.801, 2: 0.399}).shown
