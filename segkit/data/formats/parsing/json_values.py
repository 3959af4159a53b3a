"""Reads small JSON files, checks single values, and shows them in messages."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeGuard

from segkit.data.formats.parsing.text import read_text
from segkit.utils.errors import SegkitError

MAX_JSON = 1 << 29  # bytes of a JSON file, which may hold the image


def read_json(path: Path, name: str) -> Any:
    """The content of a JSON file.

    Args:
        path: of the file, in UTF-8.
        name: the file in messages.
    Raises:
        SegkitError: the file cannot be read, is not JSON, or too deep.
    """
    text = read_text(path, name, MAX_JSON)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise SegkitError(f"{name}: lists or mappings are nested too deep") from error
    except json.JSONDecodeError as error:
        raise SegkitError(f"{name}:{error.lineno}: not JSON: {error.msg} (column {error.colno})") from error
    except ValueError as error:  # an integer of thousands of digits
        raise SegkitError(f"{name}: not JSON: {error}") from error


def read_json_mapping(path: Path, name: str) -> dict[str, Any]:
    """The mapping of a JSON file; see :func:`read_json`.

    Raises:
        SegkitError: as there, or the file holds no mapping.
    """
    content = read_json(path, name)
    if not isinstance(content, dict):
        raise SegkitError(f"{name}: holds {shown(content)}; expected a mapping")
    return content


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
    if type(value) is int and -limit < value < limit:  # usual, and faster than what follows
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if is_int(value) and abs(value) < limit else None


def all_finite(values: list) -> bool:
    """Whether all values are numbers (not ``true``) that are finite as a double.

    JSON can hold larger ones.
    """
    try:
        # Their norm is finite if all of them are and it does not overflow; it is computed faster than they are looked at.
        return {*map(type, values)} <= {int, float} and (
            math.isfinite(math.hypot(*values)) or all(map(math.isfinite, values))
        )
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


def not_text_message(item: dict, key: str) -> str:
    """Why the value of a key is not text; the end of a message."""
    return f"'{key}' is {shown(item[key])}; expected text" if key in item else f"has no '{key}'"


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
