"""Opens and reads text files, with bounds on what they expand to."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import TextIO

from segkit.utils.errors import SegkitError

MAX_TEXT = 1 << 26  # bytes of a text file: a million polygons
MAX_UNPACKED = 512 << 20  # bytes that a packed file may hold


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


def open_text(file: Path) -> TextIO:
    """Opens a UTF-8 text, with or without a byte order mark; unpacks a ``.gz`` file.

    Reading raises OSError for a damaged archive, and for one of more than 512 MB.
    """
    if file.suffix.lower() != ".gz":
        return open(file, encoding="utf-8-sig")
    return io.TextIOWrapper(io.BufferedReader(_Unpacked(file), 1 << 16), encoding="utf-8-sig")


class _Unpacked(io.RawIOBase):
    """The bytes of a gzip file, counted.

    Args:
        file: its path.
    """

    def __init__(self, file: Path) -> None:
        self._stream = gzip.GzipFile(file)
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]  # the buffer protocol has no type before 3.12
        try:
            data = self._stream.read(len(buffer))
        except (EOFError, zlib.error) as error:
            raise OSError(f"damaged gzip file: {error}") from error
        self._size += len(data)
        if self._size > MAX_UNPACKED:
            raise OSError(f"unpacks to more than {MAX_UNPACKED >> 20} MB")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()
