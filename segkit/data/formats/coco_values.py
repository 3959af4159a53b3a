"""What a value of a COCO JSON has to be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeGuard

from segkit.utils.errors import SegkitError


def mappings(file: Path, key: str, items: Iterable[Any]) -> Iterator[dict]:
    """The items of a list, each of which has to be a mapping."""
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            raise SegkitError(f"{file}: {key}[{number}] is {str(item)[:60]}; expected a mapping")
        yield item


def is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def whole(value: Any, limit: int) -> int | None:
    """An integer below the limit, also where it is written as 3.0."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if is_int(value) and abs(value) < limit else None


def are_numbers(values: list) -> bool:
    """Whether all are finite numbers, as a double holds them (JSON knows larger ones, and ``true`` is none)."""
    try:
        return {*map(type, values)} <= {int, float} and all(map(math.isfinite, values))
    except OverflowError:
        return False
