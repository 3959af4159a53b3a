"""Checks of single JSON values, and how messages show them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeGuard

from segkit.utils.errors import SegkitError


def mappings(file: Path, key: str, items: Iterable[Any]) -> Iterator[dict]:
    """Yields the items of a list; SegkitError for an item that is not a mapping."""
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise SegkitError(f"{file}: {key}[{index}] is {str(item)[:60]}; expected a mapping")
        yield item


def is_int(value: Any) -> TypeGuard[int]:
    """Whether a value is an integer of at most 64 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def as_integer(value: Any, limit: int = 2**63) -> int | None:
    """The value as an integer, if it is one (3.0 too) whose magnitude is below the limit.

    Returns None otherwise.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if is_int(value) and abs(value) < limit else None


def all_finite(values: list) -> bool:
    """Whether all values are numbers (not ``true``) that are finite as a double.

    JSON can hold larger ones.
    """
    try:
        return {*map(type, values)} <= {int, float} and all(map(math.isfinite, values))
    except OverflowError:
        return False


def shown(value: Any) -> str:
    """A JSON value as it is shown in a message, at most 60 characters of it.

    Text is marked as text.

    >>> shown("12"), shown(None), shown([1, 2])
    ("the text '12'", 'null', '[1, 2]')
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value) if isinstance(value, str) else str(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return f"the text {text}" if isinstance(value, str) else text


def not_integer_message(item: dict, key: str) -> str:
    """Why the value of a key is not a whole number; the end of a message."""
    if key not in item:
        return f"has no '{key}', a whole number"
    value = item[key]
    expected = "expected a whole number"
    if isinstance(value, str) and re.fullmatch(r"\s*-?\d+\s*", value):
        expected += ", without quotes"
    elif isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0:
        expected += " of at most 63 bits"
    return f"'{key}' is {shown(value)}; {expected}"
