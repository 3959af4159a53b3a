"""Streams the lists of a JSON file item by item.

Neither the whole text nor the whole tree is in memory.

The standard library's C scanner decodes the items from a sliding window of the text. The package ``ijson`` is not used
because it refuses NaN, which COCO files sometimes contain, and because it is not faster: its C back end needs 0.71 s for
60,000 annotations (45 MB) where this module needs 0.60 s. A JSON of 720 MB is read with 70 MiB of memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TextIO

from segkit.data.formats.parsing.text import open_text
from segkit.utils.errors import SegkitError

CHUNK = 1 << 20  # characters read at a time
GROWTH = 8  # of the window of a value that it does not hold
_SPACE = re.compile(r"[ \t\n\r]*")
# The scanner reports a token that the window's end cuts off at most so far before that end. The longest tokens are
# "-Infinity" and "\uD83D\uDE00".
_LONGEST_TOKEN = 12


def stream_mapping(file: Path) -> Iterator[tuple[str, Iterator[Any] | None]]:
    """Yields the keys of a JSON mapping in the file's order, each with the items of its list.

    Args:
        file: UTF-8, with or without a byte order mark.

    Yields:
        A key and an iterator over its list; None in place of the iterator if the value is not a list. The rest of a list
        is skipped when the next key is requested.

    Raises:
        SegkitError: not JSON, not a mapping, or a key that occurs twice; the message names the position.
    """
    with _scanning(file) as scanner:
        yield from scanner.mapping()


def stream_list(file: Path, key: str, *, named: bool = False) -> Iterator[Any]:
    """Yields the items of a JSON list: the whole file, or the value of ``key`` in a mapping.

    The rest of a mapping after that list is not read.

    Args:
        file: UTF-8, with or without a byte order mark.
        key: of the list in a mapping.
        named: accept only a list with that key, not a file that is a list.

    Raises:
        SegkitError: not JSON; the message names the position.
        LookupError: there is no such list.
    """
    with _scanning(file) as scanner:
        first = scanner.peek()
        if first == "{":
            for name, items in scanner.mapping():
                if name == key and items is not None:
                    yield from items
                    return
        elif first != "[":
            scanner.value()
        elif not named:
            yield from scanner.items("the list")
            scanner.end()
            return
        raise LookupError(key)


@contextmanager
def _scanning(file: Path) -> Iterator[_Scanner]:
    """Opens a file for scanning; SegkitError if it cannot be read."""
    try:
        with open_text(file) as stream:
            yield _Scanner(stream, file)
    except OSError as error:
        raise SegkitError(f"{file}: cannot be read ({error})", value=str(file)) from error


class _Scanner:
    """Reads JSON values from a text of which only a window is in memory.

    Attributes:
        window: the part of the text in memory.
        position: of the next character, in the window.
        consumed: number of characters before the window.
        ended: whether the window reaches the end of the text.
        item: current key and item, for messages.
    """

    def __init__(self, stream: TextIO, file: Path) -> None:
        self.stream, self.file = stream, file
        self.window, self.position = "", 0
        self.consumed = 0
        self.ended = False
        self.item = ""
        self.decode = json.JSONDecoder().raw_decode

    def mapping(self) -> Iterator[tuple[str, Iterator[Any] | None]]:
        """The keys of the file's mapping, each with the items of its list (:func:`stream_mapping`)."""
        if self.peek() != "{":
            results = "; a list of results has no ground truth" if self.peek() == "[" else ""
            if not results:  # for text that is not JSON, this raises the error about that instead
                self.value()
            problem = (
                f"is not in the COCO format: it is no mapping of 'images', 'annotations' and 'categories'{results}"
            )
            raise SegkitError(f"{self.file}: {problem}", value=str(self.file))
        seen: set[str] = set()
        for key in self.keys():
            if key in seen:
                raise SegkitError(f"{self.file}: the key '{key}' occurs twice", value=str(self.file))
            seen.add(key)
            self.item = f" in '{key}'"
            if self.peek() != "[":
                yield key, None
                self.skip()
            else:
                items = self.items(key)
                yield key, items
                for _ in items:
                    pass
            self.item = ""
        self.end()

    def end(self) -> None:
        """Raises a SegkitError if more text follows."""
        if self.peek():
            self.fail("more text after the end")

    def keys(self) -> Iterator[str]:
        """The keys of the mapping at the position.

        The caller reads each value before it requests the next key.
        """
        self.take("{")
        if self.peek() == "}":
            self.take("}")
            return
        while True:
            if self.peek() != '"':
                self.fail("expected a key in double quotes")
            key = self.value()
            self.take(":")
            yield key
            if self.take(",}") == "}":
                return

    def items(self, name: str) -> Iterator[Any]:
        """The items of the list at the position."""
        self.take("[")
        if self.peek() == "]":
            self.take("]")
            return
        index = 0
        while True:
            self.item = f" in {name}[{index}]"
            yield self.value()
            if self.take(",]") == "]":
                return
            index += 1

    def skip(self) -> None:
        """Skips a value; a mapping, which may be large, value by value."""
        if self.peek() == "{":
            for _ in self.keys():
                self.value()
        else:
            self.value()

    def value(self) -> Any:
        """Decodes the value at the position."""
        self.peek()
        while True:
            try:
                value, end = self.decode(self.window, self.position)
            except json.JSONDecodeError as error:
                # Read more text only if the window's end cut the value off. Otherwise a broken file would be read to its
                # end into one window.
                cut = error.pos + _LONGEST_TOKEN > len(self.window) or error.msg.startswith("Unterminated string")
                if self.ended or not cut:
                    self.fail(error.msg, error.pos)
            except RecursionError:
                self.fail("nested too deeply")
            except ValueError as error:  # an integer of more digits than Python reads
                self.fail(str(error))
            else:
                # The window's end may cut a number off, as 1e+5 after 1; three more characters exclude that.
                if not isinstance(value, int | float) or end + 3 <= len(self.window) or self.ended:
                    self.position = end
                    return value
            self.grow()

    def peek(self) -> str:
        """The next character that is not a space, without consuming it.

        It is empty at the end of the file.
        """
        while True:
            self.position = _SPACE.match(self.window, self.position).end()  # type: ignore[union-attr]  # always matches
            if self.position < len(self.window):
                return self.window[self.position]
            if self.ended:
                return ""
            self.grow()

    def take(self, expected: str) -> str:
        """Consumes one of the expected characters; SegkitError for any other."""
        found = self.peek()
        if not found or found not in expected:
            self.fail(f"expected {' or '.join(repr(one) for one in expected)}")
        self.position += 1
        return found

    def grow(self) -> None:
        """Reads more text and discards the consumed text.

        The window of a long value grows by a factor: linear time in total, although each window is decoded again.
        """
        rest = self.window[self.position :]
        try:
            more = self.stream.read(max(CHUNK, (GROWTH - 1) * len(rest)))
        except (ValueError, OSError) as error:  # not UTF-8, or a failed disk
            self.fail(str(error))
        self.ended = not more
        self.consumed += self.position
        self.window, self.position = rest + more, 0

    def fail(self, reason: str, position: int | None = None) -> NoReturn:
        """Raises a SegkitError with the position in the file and the current item."""
        character = self.consumed + (self.position if position is None else position)
        where = f" at character {character}{self.item}"
        raise SegkitError(f"{self.file}: is not a JSON file ({reason}{where})", value=str(self.file))
