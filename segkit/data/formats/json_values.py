"""What a value of a COCO JSON has to be."""

from __future__ import annotations

import math
import re
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


def whole(value: Any, limit: int = 2**63) -> int | None:
    """An integer below the limit, also where it is written as 3.0; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if is_int(value) and abs(value) < limit else None


def are_numbers(values: list) -> bool:
    """Whether all are finite numbers, as a double holds them (JSON knows larger ones, and ``true`` is none)."""
    try:
        return {*map(type, values)} <= {int, float} and all(map(math.isfinite, values))
    except OverflowError:
        return False


def shown(value: Any) -> str:
    """A JSON value for a message: text in quotes and called text, the rest as it is; at most 60 characters.

    >>> shown("12"), shown(None), shown([1, 2])
    ("the text '12'", 'null', '[1, 2]')
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value) if isinstance(value, str) else str(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return f"the text {text}" if isinstance(value, str) else text


def not_whole(item: dict, key: str) -> str:
    """What is wrong with a value that has to be a whole number: the end of an error message."""
    if key not in item:
        return f"has no '{key}', a whole number"
    value = item[key]
    how = "expected a whole number"
    if isinstance(value, str) and re.fullmatch(r"\s*-?\d+\s*", value):
        how += ", without quotes"
    elif isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0:
        how += " of at most 63 bits"
    return f"'{key}' is {shown(value)}; {how}"


def other_task(annotation: dict) -> str:
    """The end of a message about an annotation that is none of an object; empty for others."""
    for key, kind in (("segments_info", "panoptic segmentation"), ("caption", "captions")):
        if key in annotation:
            return f"; with '{key}' this is a file of {kind}: expected one of objects, as instances_train2017.json"
    return ""
