"""Reads XML without document types and entities, element by element, with the line of each.

The standard library's expat parses. ``defusedxml`` refuses the same declarations, but its elements have no lines, and it
holds the whole file in memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

from segkit.utils.errors import SegkitError

CHUNK = 1 << 20  # bytes that are parsed at a time
MAX_DEPTH = 32
MAX_ITEM = 1 << 26  # characters and attributes of one child of the root
MAX_FILE = 1 << 24  # bytes of a file that is read as a whole


@dataclass
class Element:
    """An element of an XML file.

    Attributes:
        tag: its name.
        attributes: by name.
        line: where it begins, from 1.
        text: its characters, without spaces at the ends and without those of its children.
        children: in the file's order.
    """

    tag: str
    attributes: dict[str, str]
    line: int
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def find(self, tag: str) -> Element | None:
        """The first child of a name; None if there is none."""
        return next((child for child in self.children if child.tag == tag), None)

    def find_text(self, *path: str) -> str | None:
        """The text of the element below this one that a path of names leads to.

        Returns None if there is no such element or it has no text.
        """
        element: Element | None = self
        for tag in path:
            element = element.find(tag) if element is not None else None
        return element.text or None if element is not None else None

    def all(self, tag: str) -> list[Element]:
        """The children of a name."""
        return [child for child in self.children if child.tag == tag]


class _Builder:
    """Builds elements from expat's events; the finished children of the root are in ``ready``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.root: Element | None = None
        self.ready: list[Element] = []
        self._open: list[Element] = []
        self._texts: list[list[str]] = []
        self._size = 0
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.EntityDeclHandler = self._refuse

    def _refuse(self, *declaration: Any) -> None:
        raise self._error("declares a document type or entities, which annotation files do not need")

    def _error(self, problem: str) -> SegkitError:
        return SegkitError(f"{self.name}:{self.parser.CurrentLineNumber}: {problem}")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise self._error(f"elements are nested more than {MAX_DEPTH} deep")
        element = Element(tag, attributes, self.parser.CurrentLineNumber)
        if self._open:
            if len(self._open) > 1:
                self._open[-1].children.append(element)
        else:
            self.root = element
        self._count(100 + sum(map(len, attributes.values())))
        self._open.append(element)
        self._texts.append([])

    def _characters(self, text: str) -> None:
        self._count(len(text))
        self._texts[-1].append(text)

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > MAX_ITEM:
            raise self._error(f"one element is larger than {MAX_ITEM >> 20} MiB")

    def _end(self, tag: str) -> None:
        element = self._open.pop()
        element.text = "".join(self._texts.pop()).strip()
        if len(self._open) == 1:
            self.ready.append(element)
            self._size = 0


def stream_xml(path: str | os.PathLike[str], root: str, name: str | None = None) -> Iterator[Element]:
    """Yields the children of the root one by one; only one is in memory.

    Args:
        path: of the file.
        root: the name that the root must have.
        name: the file in messages; by default its path.
    Raises:
        SegkitError: not XML, another root, a document type, entities, elements that are too deep or too large.
    """
    name = name or str(path)
    builder = _Builder(name)
    try:
        with open(path, "rb") as stream:
            while True:
                chunk = stream.read(CHUNK)
                builder.parser.Parse(chunk, not chunk)
                if builder.root is not None and builder.root.tag != root:
                    raise SegkitError(f"{name}: the XML's root is <{builder.root.tag}>; expected <{root}>")
                yield from builder.ready
                builder.ready.clear()
                if not chunk:
                    return
    except OSError as error:
        raise SegkitError(f"{name}: cannot be read ({error.strerror or error})") from error
    except expat.ExpatError as error:
        raise SegkitError(f"{name}:{error.lineno}: not XML: {expat.ErrorString(error.code)}") from error
    except (LookupError, UnicodeError, ValueError) as error:  # an encoding that is unknown, or has several bytes
        if isinstance(error, SegkitError):
            raise
        raise SegkitError(f"{name}: not XML: {' '.join(str(error).split())}") from error


def read_xml(path: str | os.PathLike[str], root: str, name: str | None = None) -> Element:
    """The root of a small XML file, with all its children.

    Args:
        path: of the file.
        root: the name that the root must have.
        name: the file in messages; by default its path.
    Raises:
        SegkitError: as :func:`stream_xml`, or the file is larger than 16 MiB.
    """
    try:
        size = Path(path).stat().st_size
    except OSError as error:
        raise SegkitError(f"{name or path}: cannot be read ({error.strerror or error})") from error
    if size > MAX_FILE:
        raise SegkitError(f"{name or path}: is larger than {MAX_FILE >> 20} MiB, too large for one image")
    return Element(root, {}, 1, children=list(stream_xml(path, root, name)))


def root_tag(path: str | os.PathLike[str]) -> str | None:
    """The name of the root of an XML file, from its first 4 KiB; None if that is not XML."""
    builder = _Builder(str(path))
    try:
        with open(path, "rb") as stream:
            builder.parser.Parse(stream.read(4096), False)
    except (OSError, expat.ExpatError, LookupError, ValueError):  # SegkitError is a ValueError
        pass
    return builder.root.tag if builder.root is not None else None
