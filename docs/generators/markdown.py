"""Markdown from plain values and docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`~?([^`]*)`")
_SECTIONS = ("Args:", "Attributes:", "Raises:", "Returns:", "Yields:")


def code(text: str) -> str:
    """Inline code that may stand in a table."""
    return f"`{text}`".replace("|", "\\|") if text else ""


def cell(text: str) -> str:
    """Text that may stand in a table: one line, no bar, ``{...}`` as code."""
    return braces_as_code(" ".join(text.split())).replace("|", "\\|")


def braces_as_code(text: str) -> str:
    """``{name: X, ...}`` as code where it is none yet: Markdown would take it for attributes of the cell."""
    result, inside, depth = "", False, 0
    for letter in text:
        if letter == "`" and not depth:
            inside = not inside
        if letter == "{" and not inside:
            depth += 1
            result += "`" if depth == 1 else ""
        result += letter if letter != "`" or not depth else ""
        if letter == "}" and not inside and depth:
            depth -= 1
            result += "" if depth else "`"
    return result


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells are taken as they are."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def plain_roles(text: str) -> str:
    """Sphinx's roles and double backticks of a docstring as Markdown's code."""
    return _ROLE.sub(r"`\1`", text).replace("``", "`")


def description(obj: Any) -> str:
    """The docstring up to its first section (``Args:`` and so on), as Markdown."""
    lines: list[str] = []
    for line in (inspect.getdoc(obj) or "").splitlines() if getattr(obj, "__doc__", None) else ():
        if line.strip() in _SECTIONS:
            break
        lines.append(line)
    text = re.sub(r"::\s*\n\n((?:    .*\n?|\n)+)", r":\n\n\1", "\n".join(lines).strip() + "\n")
    return plain_roles(text).strip()


def arguments(obj: Any) -> dict[str, str]:
    """The entries of a docstring's ``Args:`` section: ``{name: text}``."""
    found: dict[str, str] = {}
    inside, name = False, ""
    for line in (inspect.getdoc(obj) or "").splitlines() if getattr(obj, "__doc__", None) else ():
        if line.strip() in _SECTIONS:
            inside = line.strip() == "Args:"
        elif inside and (entry := re.match(r"    ([\w, *]+?): (.*)", line)):
            for name in entry[1].replace("*", "").split(", "):
                found[name] = entry[2]
        elif inside and line.startswith("     ") and name:
            found[name] += " " + line.strip()
        elif inside and line.strip() and not line.startswith(" "):
            inside = False
    return {key: plain_roles(text) for key, text in found.items()}
