"""Named arrays in one file, which processes share by mapping it into their memory.

The layout: a magic line; each array's bytes, aligned to 64; a JSON that names them; its length, the CRC-32 of all before,
the magic line again. Nothing in it is run when it is read, unlike in a pickle; and unlike a .npz it can be mapped.
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
_TAIL = struct.Struct("<QI")  # length of the JSON, CRC
_PIECE = 1 << 18  # bytes read at a time by the check: the file is not to be in memory as a whole


class ArrayWriter:
    """Writes such a file front to back; one array at a time may grow piece by piece.

    Args:
        stream: where it goes, at its start.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._crc = self._length = 0
        self._arrays: dict[str, dict[str, Any]] = {}
        self._write(MAGIC)

    def begin(self, name: str, dtype: str) -> Callable[[bytes], None]:
        """Start a one-dimensional array; the function given appends to it, until the next array."""
        self._write(bytes(-self._length % _ALIGNMENT))
        entry = self._arrays[name] = {"dtype": dtype, "start": self._length, "bytes": 0}

        def append(data: bytes) -> None:
            entry["bytes"] += len(data)
            self._write(data)

        return append

    def add(self, name: str, array: np.ndarray, dtype: str) -> None:
        """Write a whole one-dimensional array as ``dtype``."""
        assert array.ndim == 1, (name, array.shape)
        self.begin(name, dtype)(array.astype(dtype, copy=False).tobytes())

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Write the end, with facts that JSON can hold."""
        header = json.dumps({"arrays": self._arrays, "facts": facts}).encode()
        self._write(header)
        self._stream.write(_TAIL.pack(len(header), self._crc) + MAGIC)

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._crc = zlib.crc32(data, self._crc)
        self._length += len(data)


class ArrayFile:
    """The arrays of such a file, read-only.

    Opened from a path it is mapped: its pages are in memory once for all processes, however they were started, and the
    system may drop them. Held as bytes, it is shared by forked processes; spawned ones get a copy.

    Args:
        source: path of the file, or its content.
        dtypes: the arrays that are expected, with their types.
        known_crc: None: compute the CRC of the content and compare it with the file's own. Else only look whether the
            file says that it is this one: for a worker process, whose parent has read it all.

    Raises:
        SegkitError: another kind of file, cut short, or changed.

    Attributes:
        facts: what ``ArrayWriter.finish`` was given.
    """

    def __init__(self, source: Path | bytes, dtypes: Mapping[str, str], known_crc: int | None = None) -> None:
        self._source, self._dtypes = source, dict(dtypes)
        with open(source, "rb") if isinstance(source, Path) else io.BytesIO(source) as stream:
            try:
                self._places, self.facts, self._crc = _read_header(stream, self._dtypes)
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
        start, size = self._places[name]
        return self._buffer[start : start + size].view(self._dtypes[name])

    def __reduce__(self) -> tuple[type[ArrayFile], tuple[Any, ...]]:
        return ArrayFile, (self._source, self._dtypes, self._crc)


def _read_header(stream: BinaryIO, dtypes: Mapping[str, str]) -> tuple[dict[str, tuple[int, int]], dict[str, Any], int]:
    """Where each array starts and how many bytes it has, the facts, and the CRC that the file states."""
    if stream.read(len(MAGIC)) != MAGIC:
        raise ValueError("is no file of arrays")
    end = stream.seek(-_TAIL.size - len(MAGIC), io.SEEK_END)
    length, crc = _TAIL.unpack(stream.read(_TAIL.size))
    if stream.read() != MAGIC or length > end:
        raise ValueError("is cut short")
    stream.seek(end - length)
    header = json.loads(stream.read(length))
    places: dict[str, tuple[int, int]] = {}
    for name, entry in header["arrays"].items():
        start, size = int(entry["start"]), int(entry["bytes"])
        if entry["dtype"] != dtypes.get(name) or size % np.dtype(dtypes[name]).itemsize:
            raise ValueError(f"holds an unexpected array '{name}'")
        if start % _ALIGNMENT or not 0 <= start <= start + size <= end - length:
            raise ValueError(f"the place of the array '{name}' is wrong")
        places[name] = (start, size)
    if len(places) != len(dtypes) or not isinstance(header["facts"], dict):
        raise ValueError("lacks some of its arrays")
    return places, header["facts"], crc


def _crc_of(stream: BinaryIO) -> int:
    left = stream.seek(-_TAIL.size - len(MAGIC), io.SEEK_END)
    stream.seek(0)
    crc = 0
    while left > 0 and (piece := stream.read(min(_PIECE, left))):
        crc = zlib.crc32(piece, crc)
        left -= len(piece)
    return crc
