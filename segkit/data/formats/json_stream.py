"""A JSON file read piece by piece: never the whole text, nor the whole tree, is in memory.

The pieces are decoded by the standard library's C scanner over a sliding buffer. The package ``ijson`` does the same
from events; measured on COCO annotations it took twice as long, and it knows no NaN, which COCO files sometimes hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TextIO

from segkit.utils.errors import SegkitError

CHUNK = 1 << 20  # characters read at a time
_SPACE = re.compile(r"[ \t\n\r]*")
# A scanner that ran out of text stops at most this far from its end: "-Infinity" and "\uD83D\uDE00" are the longest.
_LONGEST_TOKEN = 12


def stream_mapping(file: Path) -> Iterator[tuple[str, Iterator[Any] | None]]:
    """The keys of a JSON mapping, each with the items of its list, in the file's order.

    Args:
        file: UTF-8, with or without a byte order mark.

    Yields:
        A key and an iterator over its list; None instead of an iterator where the value is no list (it is passed
        over). What is left of a list when the next key is asked for is passed over too.

    Raises:
        SegkitError: no JSON, no mapping, a key that occurs twice; the message names the place.
    """
    with _scanning(file) as scanner:
        yield from scanner.mapping()


def stream_list(file: Path, key: str, *, named: bool = False) -> Iterator[Any]:
    """The items of a JSON list: the whole file, or what the mapping that the file is has under ``key``. What follows that
    list in a mapping is not looked at.

    Args:
        named: only a list that has the key; a file that is a list has none.

    Raises:
        SegkitError: no JSON; the message names the place.
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
    try:
        with open(file, encoding="utf-8-sig") as stream:
            yield _Scanner(stream, file)
    except OSError as error:
        raise SegkitError(f"{file}: cannot be read ({error})", value=str(file)) from error


class _Scanner:
    """Position in a text of which a window is in memory."""

    def __init__(self, stream: TextIO, file: Path) -> None:
        self.stream, self.file = stream, file
        self.window, self.position = "", 0
        self.dropped = 0  # characters before the window
        self.ended = False
        self.place = ""  # for messages: the key, the item of its list
        self.decode = json.JSONDecoder().raw_decode

    def mapping(self) -> Iterator[tuple[str, Iterator[Any] | None]]:
        if self.peek() != "{":
            results = "; a list of results has no ground truth" if self.peek() == "[" else ""
            if not results:  # else a list, which need not be read to the end
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
            self.place = f" in '{key}'"
            if self.peek() != "[":
                yield key, None
                self.skip()
            else:
                items = self.items(key)
                yield key, items
                for _ in items:
                    pass
            self.place = ""
        self.end()

    def end(self) -> None:
        """Make sure that nothing follows."""
        if self.peek():
            self.fail("more text after the end")

    def keys(self) -> Iterator[str]:
        """The keys of the mapping that starts here; the caller reads each value before it asks for the next key."""
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
        """The items of the list that starts here."""
        self.take("[")
        if self.peek() == "]":
            self.take("]")
            return
        number = 0
        while True:
            self.place = f" in {name}[{number}]"
            yield self.value()
            if self.take(",]") == "]":
                return
            number += 1

    def skip(self) -> None:
        """Pass over a value; a mapping, which may be large, value by value."""
        if self.peek() == "{":
            for _ in self.keys():
                self.value()
        else:
            self.value()

    def value(self) -> Any:
        """Decode the value that starts here."""
        self.peek()
        while True:
            try:
                value, end = self.decode(self.window, self.position)
            except json.JSONDecodeError as error:
                # More text helps where the scanner came to the window's end, or looks for the end of a string. Elsewhere
                # it does not, and a broken file would be read to its end in one piece.
                cut = error.pos + _LONGEST_TOKEN > len(self.window) or error.msg.startswith("Unterminated string")
                if self.ended or not cut:
                    self.fail(error.msg, error.pos)
            except RecursionError:
                self.fail("nested too deeply")
            except ValueError as error:  # an integer of more digits than Python reads
                self.fail(str(error))
            else:
                # A number may go on, as 1 does in 1e+5; three characters further one that does not is at its end.
                if end + 3 <= len(self.window) or self.ended:
                    self.position = end
                    return value
            self.grow()

    def peek(self) -> str:
        """The next character that is no space, without passing it; nothing at the end of the file."""
        while True:
            self.position = _SPACE.match(self.window, self.position).end()  # type: ignore[union-attr]  # always matches
            if self.position < len(self.window):
                return self.window[self.position]
            if self.ended:
                return ""
            self.grow()

    def take(self, expected: str) -> str:
        """Pass one of the expected characters."""
        found = self.peek()
        if not found or found not in expected:
            self.fail(f"expected {' or '.join(repr(one) for one in expected)}")
        self.position += 1
        return found

    def grow(self) -> None:
        """Read on; what has been passed is dropped. A long value's window doubles: few attempts, linear time."""
        rest = self.window[self.position :]
        try:
            more = self.stream.read(max(CHUNK, len(rest)))
        except (ValueError, OSError) as error:  # no UTF-8, or a disk that fails
            self.fail(str(error))
        self.ended = not more
        self.dropped += self.position
        self.window, self.position = rest + more, 0

    def fail(self, reason: str, position: int | None = None) -> NoReturn:
        at = self.dropped + (self.position if position is None else position)
        where = f" at character {at}{self.place}"
        raise SegkitError(f"{self.file}: is not a JSON file ({reason}{where})", value=str(self.file))
