"""Griffe extension: writes the sections of the package's docstrings as griffe reads them.

The package writes ``Args:``, ``Returns:`` and ``Raises:`` one after the other, where griffe expects an empty line before
each; ``a, b: text`` for arguments of one meaning; and ``::`` before a block of code.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_HEADING = re.compile(r"(?<=\S)\n(?=(?:Args|Attributes|Returns|Yields|Raises):\n)")
_SEVERAL = re.compile(r"^    (\*{0,2}\w+(?:, \*{0,2}\w+)+)(:.*(?:\n     .*)*)$", flags=re.MULTILINE)
_SECTION = re.compile(r"^(?:Args|Attributes):\n(?:(?:    .*)?(?:\n|$))+", flags=re.MULTILINE)


def readable_by_griffe(docstring: str) -> str:
    """The docstring with an empty line before each section, one name an entry, and Markdown's colon before code."""
    text = _HEADING.sub("\n\n", docstring)
    text = _SECTION.sub(lambda section: _SEVERAL.sub(_one_by_one, section[0]), text)
    return re.sub(r"::$", ":", text, flags=re.MULTILINE)


def _one_by_one(entry: re.Match[str]) -> str:
    return "\n".join(f"    {name}{entry[2]}" for name in entry[1].split(", "))


class DocstringSections(griffe.Extension):
    """Changes the docstring of each object that griffe reads."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called once an object and its docstring exist."""
        if obj.docstring is not None:
            obj.docstring.value = readable_by_griffe(obj.docstring.value)
