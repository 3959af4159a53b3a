"""Checks the arguments that all RoI heads share."""

from __future__ import annotations

from collections.abc import Mapping

from segkit.utils.errors import SegkitError


def check_options(*, shares: Mapping[str, float], counts: Mapping[str, int]) -> None:
    """Raises a SegkitError that names the first share outside 0..1 or the first count below 1."""
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise SegkitError(f"{name} must lie between 0 and 1, not {value}")
    for name, count in counts.items():
        if count < 1:
            raise SegkitError(f"{name} must be at least 1, not {count}")
