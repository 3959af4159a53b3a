"""Named one-dimensional arrays in one file, which processes share by memory-mapping it.

The file holds, in this order: a magic line; the bytes of each array, aligned to 64; a JSON header with their names,
types and positions; the header's length, the CRC-32 of everything before, and the magic line again. Unlike a pickle, the
file runs no code when it is read. Unlike a .npz, it can be memory-mapped and its arrays can be written in pieces.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from segkit.utils.errors import SegkitError

MAGIC = b"segkit arrays 1\n"
_ALIGNMENT = 64
_TAIL = struct.Struct("<QI")  # length of the JSON header, CRC
_CRC_CHUNK = 1 << 18  # bytes read at a time by the check, which must not hold the whole file in memory


class ArrayWriter:
    """Writes an array file from front to back; an array may be written in pieces.

    Args:
        stream: a writable stream, at its start.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._crc = self._length = 0
        self._arrays: dict[str, dict[str, Any]] = {}
        self._write(MAGIC)

    def begin(self, name: str, dtype: str) -> Callable[[bytes], None]:
        """Starts an array; the returned function appends bytes, until the next array is started."""
        self._write(bytes(-self._length % _ALIGNMENT))
        entry = self._arrays[name] = {"dtype": dtype, "start": self._length, "bytes": 0}

        def append(data: bytes) -> None:
            entry["bytes"] += len(data)
            self._write(data)

        return append

    def add(self, name: str, array: np.ndarray, dtype: str) -> None:
        """Writes a complete one-dimensional array as ``dtype``."""
        assert array.ndim == 1, (name, array.shape)
        self.begin(name, dtype)(array.astype(dtype, copy=False).tobytes())

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Writes the header, with facts that JSON can hold, and the end of the file."""
        header = json.dumps({"arrays": self._arrays, "facts": facts}).encode()
        self._write(header)
        self._stream.write(_TAIL.pack(len(header), self._crc) + MAGIC)

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._crc = zlib.crc32(data, self._crc)
        self._length += len(data)


class ArrayFile:
    """The arrays of an array file, read-only, by name: ``file["boxes"]``.

    A path is memory-mapped: all processes, forked or spawned, share its pages, and the system may drop them. Bytes are
    shared by forked processes; spawned ones get a copy.

    Args:
        source: path of the file, or its content.
        dtypes: type of each expected array, by name.
        known_crc: None: read the file, and compare its CRC with the stored one. Otherwise only compare the stored CRC
            with this one: for worker processes, whose parent has checked the content.

    Raises:
        SegkitError: another kind of file, cut short, or changed.

    Attributes:
        facts: the argument of ``ArrayWriter.finish``.
    """

    def __init__(self, source: Path | bytes, dtypes: Mapping[str, str], known_crc: int | None = None) -> None:
        self._source, self._dtypes = source, dict(dtypes)
        with open(source, "rb") if isinstance(source, Path) else io.BytesIO(source) as stream:
            try:
                self._spans, self.facts, self._crc = _read_header(stream, self._dtypes)
                if known_crc not in (None, self._crc) or (known_crc is None and self._crc != _crc_of(stream)):
                    raise ValueError("its content was changed")
            except (ValueError, TypeError, KeyError, AttributeError, struct.error) as error:
                raise SegkitError(f"{stream.name if isinstance(source, Path) else 'arrays'}: {error}") from error
        self._buffer = (
            np.memmap(source, np.uint8, "r").view(np.ndarray)
            if isinstance(source, Path)
            else np.frombuffer(source, np.uint8)
        )

    def __getitem__(self, name: str) -> np.ndarray:
        start, size = self._spans[name]
        return self._buffer[start : start + size].view(self._dtypes[name])

    def __reduce__(self) -> tuple[type[ArrayFile], tuple[Any, ...]]:
        return ArrayFile, (self._source, self._dtypes, self._crc)


def _read_header(stream: BinaryIO, dtypes: Mapping[str, str]) -> tuple[dict[str, tuple[int, int]], dict[str, Any], int]:
    """Start and number of bytes of each array, the facts, and the stored CRC.

    Raises a ValueError if the header is wrong.
    """
    if stream.read(len(MAGIC)) != MAGIC:
        raise ValueError("is not an array file")
    end = stream.seek(-_TAIL.size - len(MAGIC), io.SEEK_END)
    length, crc = _TAIL.unpack(stream.read(_TAIL.size))
    if stream.read() != MAGIC or length > end:
        raise ValueError("is cut short")
    stream.seek(end - length)
    header = json.loads(stream.read(length))
    spans: dict[str, tuple[int, int]] = {}
    for name, entry in header["arrays"].items():
        start, size = int(entry["start"]), int(entry["bytes"])
        if entry["dtype"] != dtypes.get(name) or size % np.dtype(dtypes[name]).itemsize:
            raise ValueError(f"holds an unexpected array '{name}'")
        if start % _ALIGNMENT or not 0 <= start <= start + size <= end - length:
            raise ValueError(f"the position of the array '{name}' is wrong")
        spans[name] = (start, size)
    if len(spans) != len(dtypes) or not isinstance(header["facts"], dict):
        raise ValueError("lacks some of its arrays")
    return spans, header["facts"], crc


def _crc_of(stream: BinaryIO) -> int:
    """CRC-32 of the file up to the stored CRC."""
    remaining = stream.seek(-_TAIL.size - len(MAGIC), io.SEEK_END)
    stream.seek(0)
    crc = 0
    while remaining > 0 and (chunk := stream.read(min(_CRC_CHUNK, remaining))):
        crc = zlib.crc32(chunk, crc)
        remaining -= len(chunk)
    return crc
