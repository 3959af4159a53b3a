"""Decoded tiles of a large image, in a file of the image cache that worker processes share.

A window touches tiles of more pixels than it has itself (2.25 times as many for 512 x 512 in tiles of 256 x 256), and most
of its time is their decompression. From this file a window costs a copy.

The file is sparse: a header, the CRC-32 of each tile (0: not stored yet), a slot for each tile. It is mapped into memory for
reading. It is written by ``write``, which fails on a full disk; a write into a mapping would end the process.
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from segkit.utils.images.image_cache import HEADER, TEMPORARY, TILES, ImageCache
from segkit.utils.images.image_source import ImageSource, Window
from segkit.utils.images.stored_image import StoredImage

PAGE = 4096  # bytes; the first slot starts at a multiple
CRC = np.dtype(np.uint32)


class TileCache:
    """The decoded tiles of one image; whichever process decodes a tile first stores it.

    Args:
        cache: its folder holds the file, its budget counts the tiles.
        source: the image, which has a ``tile``.
        path: of the image file.
        reading: which plane ``source`` is, as text.
    """

    def __init__(self, cache: ImageCache, source: ImageSource, path: str | os.PathLike[str], reading: str) -> None:
        assert source.tile is not None
        self.cache, self._size, self._tile = cache, source.size, source.tile
        self._corner = source.read((0, 0, 1, 1))  # with the colours, type and channels of every window
        self._down, self._across = (-(-side // tile) for side, tile in zip(self._size, self._tile, strict=True))
        pixels, count = self._corner.pixels, self._down * self._across
        self._slot = math.prod((*self._tile, *pixels.shape[2:])) * pixels.itemsize  # bytes
        self._start = -(-(HEADER + CRC.itemsize * count) // PAGE) * PAGE
        self._checked = bytearray(count)  # tiles whose CRC this process has compared
        self._entry = cache.entry(path, f"tiles of {reading}", TILES)
        self._mapped: np.ndarray | None = None
        facts = {"size": self._size, "tile": self._tile, "channels": pixels.shape[2:], "dtype": pixels.dtype.str}
        try:
            self._open(json.dumps(facts).encode().ljust(HEADER), self._start + count * self._slot)
        except OSError as error:
            cache.stop_filling(error)

    def read(self, source: ImageSource, window: Window) -> StoredImage:
        """What ``source.read(window)`` returns.

        Args:
            source: the image, which may have been opened again.
            window: in the coordinates of the stored samples.
        """
        if self._mapped is None:
            return source.read(window)
        x0, y0, x1, y1 = window
        like = self._corner.pixels
        found = np.empty((y1 - y0, x1 - x0, *like.shape[2:]), like.dtype)
        for index, (left, top, right, bottom) in self._touching(window):
            pixels = self._load(index, (bottom - top, right - left))
            if pixels is None:
                pixels = source.read((left, top, right, bottom)).pixels
                self._store(index, pixels)
            rows, columns = slice(max(y0, top), min(y1, bottom)), slice(max(x0, left), min(x1, right))
            part = pixels[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
            found[rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0] = part
        return replace(self._corner, pixels=found)

    def _touching(self, window: Window) -> Iterator[tuple[int, Window]]:
        """Index and box of each tile that a window touches; tiles end at the image's border."""
        (height, width), (x0, y0, x1, y1) = self._tile, window
        for row in range(y0 // height, -(-y1 // height)):
            for column in range(x0 // width, -(-x1 // width)):
                right, bottom = min((column + 1) * width, self._size[1]), min((row + 1) * height, self._size[0])
                yield row * self._across + column, (column * width, row * height, right, bottom)

    def _open(self, head: bytes, size: int) -> None:
        """Maps the file, which is created if there is none, or if it is damaged."""
        entry = self._entry
        if entry is None:
            return
        for _ in range(2):
            if not entry.exists():
                if not self.cache.reserve(self._start):
                    return
                _create(entry, head, size)
            with open(entry, "rb") as file:
                if file.read(HEADER) == head and os.fstat(file.fileno()).st_size == size:
                    self._mapped = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
                    break
            entry.unlink()
        with contextlib.suppress(OSError):  # another user's file
            os.utime(entry)  # the time of last use

    def _load(self, index: int, size: tuple[int, int]) -> np.ndarray | None:
        """A tile of ``size`` (h, w) in the file, not copied; None if it is not stored, or damaged."""
        crc = self._crc(index)
        if self._mapped is None or not crc:
            return None
        like = self._corner.pixels
        shape = (*size, *like.shape[2:])
        at = self._start + index * self._slot
        data = self._mapped[at : at + math.prod(shape) * like.itemsize]
        if not self._checked[index]:
            if _crc_of(data) != crc:
                return None
            self._checked[index] = 1
        return data.view(like.dtype).reshape(shape)

    def _store(self, index: int, pixels: np.ndarray) -> None:
        """Writes a tile, and then its CRC, if there is room."""
        if self._mapped is None or self._entry is None:
            return
        data = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
        try:
            if not self._crc(index) and not self.cache.reserve(self._slot):
                return
            with open(self._entry, "r+b") as file:
                file.seek(self._start + index * self._slot)
                file.write(data.data)
                file.flush()
                file.seek(HEADER + index * CRC.itemsize)
                file.write(np.array(_crc_of(data), CRC).tobytes())
        except FileNotFoundError:  # a later run has deleted it
            self._entry = None
        except OSError as error:
            self.cache.stop_filling(error)

    def _crc(self, index: int) -> int:
        """The stored CRC of a tile; 0 if it is not in the file."""
        at = HEADER + index * CRC.itemsize
        return 0 if self._mapped is None else int(self._mapped[at : at + CRC.itemsize].view(CRC)[0])


def _crc_of(data: np.ndarray) -> int:
    return zlib.crc32(data.data) or 1  # 0 means that there is no tile


def _create(entry: Path, head: bytes, size: int) -> None:
    """Creates a sparse file that begins with ``head``, unless another process has done so."""
    temporary = entry.with_name(f"{entry.name}.{os.getpid()}{TEMPORARY}")
    try:
        with open(temporary, "wb") as file:
            file.write(head)
            file.truncate(size)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, entry)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
