# ruff: noqa: E501 - a case a line
from __future__ import annotations

import pytest

from segkit.config import Period


@pytest.mark.parametrize(
    ("given", "iterations", "plain"),
    [
        (500, 500, 500), ("500", 500, 500), ("500 iterations", 500, 500), ("1 iteration", 1, 1), (0, 0, 0), ("0 epochs", 0, "0 epochs"),
        ("1 epoch", 30, "1 epoch"), ("2 epochs", 60, "2 epochs"), ("2epoch", 60, "2 epochs"), ("0.5 epochs", 15, "0.5 epochs"),
        ("0.001 epochs", 1, "0.001 epochs"), (2.0, 2, 2), ("1_000", 1000, 1000),
    ],
)  # fmt: skip
def test_periods(given, iterations, plain):
    period = Period.from_plain(given)
    assert period.iterations(30) == iterations
    assert period.to_plain() == plain and Period.from_plain(plain) == period
    assert str(period) == str(plain)


@pytest.mark.parametrize(
    "given", [-1, "-1 epoch", "epoch", "1 week", "", None, True, [1], 0.5, float("inf"), float("nan")]
)
def test_what_is_no_period(given):
    with pytest.raises(ValueError, match=r"period|expected iterations"):
        Period.from_plain(given)
