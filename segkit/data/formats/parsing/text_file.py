"""Opens text files, packed by gzip or not, with a bound on what a packed one expands to."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import TextIO

MAX_UNPACKED = 512 << 20  # bytes


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
