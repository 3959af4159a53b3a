"""Reads small annotation files: text and JSON, with bounds on their size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from segkit.data.formats.parsing.json_values import shown
from segkit.utils.errors import SegkitError

MAX_TEXT = 1 << 26  # bytes of a text file: a million polygons
MAX_JSON = 1 << 29  # bytes of a JSON file, which may hold the image


def read_text(path: Path, name: str, limit: int = MAX_TEXT) -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    Args:
        path: of the file.
        name: the file in messages.
        limit: most bytes that are read.
    Raises:
        SegkitError: the file cannot be read, is larger, or not UTF-8.
    """
    try:
        with open(path, "rb") as stream:
            content = stream.read(limit + 1)
    except OSError as error:
        raise SegkitError(f"{name}: cannot be read ({error.strerror or error})", value=str(path)) from error
    if len(content) > limit:
        raise SegkitError(f"{name}: is larger than {limit >> 20} MiB, too large for an annotation file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SegkitError(f"{name}:{line}: is not UTF-8 text ({error.reason}); save it with this encoding") from error


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
