"""Reads the descriptions of arguments from Google style docstrings.

griffe and docstring_parser read more styles; a reader of the one style that segkit writes needs no dependency.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

ENTRY = re.compile(r"(\*{0,2}\w+(?:, *\*{0,2}\w+)*)(?: \([^)]*\))?: *(.*)")


def first_line(component: Any) -> str:
    """Returns the first line of an object's docstring; empty if it has none."""
    doc = inspect.getdoc(component) if component.__doc__ else None
    return plain_text(doc.splitlines()[0]) if doc else ""


def plain_text(text: str) -> str:
    """Replaces roles and double backticks by single ones: ``:class:`~a.Box``` by ```Box```."""
    return re.sub(r"(?::\w+:)?`+(?:~[\w.]*\.)?([^`]*)`+", r"`\1`", text)


def argument_texts(component: Any) -> dict[str, str]:
    """Returns the descriptions under ``Args:``, by argument.

    An entry ``low, high: ...`` describes both. For a class, its docstring overrules that of its ``__init__``.
    """
    texts: dict[str, str] = {}
    for source in (getattr(component, "__init__", None) if inspect.isclass(component) else None, component):
        if source is not None and source.__doc__:
            texts |= _entries(inspect.getdoc(source) or "")
    return texts


def _entries(doc: str) -> dict[str, str]:
    lines = iter(doc.splitlines())
    if not any(line.rstrip() == "Args:" for line in lines):  # leaves the lines after it
        return {}
    found: dict[str, list[str]] = {}
    names: list[str] = []
    indent = 0
    for line in lines:
        depth = len(line) - len(line.lstrip())
        if line.strip() and not depth:
            break  # the next section
        indent = indent or depth
        entry = ENTRY.fullmatch(line.strip()) if depth == indent else None
        if entry is not None:
            names = [name.strip(" *") for name in entry[1].split(",")]
            found.update({name: [entry[2]] for name in names})
        elif names and line.strip():
            for name in names:
                found[name].append(line.strip())
    return {name: plain_text(" ".join(filter(None, text))) for name, text in found.items()}
