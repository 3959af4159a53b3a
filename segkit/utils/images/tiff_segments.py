"""The strips or tiles of a TIFF page, and those of a window as a page of their own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from segkit.utils.images.image_source import Window

if TYPE_CHECKING:
    from tifffile import TiffPage

UNCOMPRESSED = 1
YCBCR = 6


def segment_grid(page: Any) -> tuple[int, int, int, int]:
    """Rows and columns of strips or tiles, and the height and width of one."""
    if page.is_tiled:
        height, width = page.tilelength, page.tilewidth
    else:
        height, width = page.rowsperstrip or page.imagelength, page.imagewidth
    return math.ceil(page.imagelength / height), math.ceil(page.imagewidth / width), height, width


def read_segments(page: Any, check_only: bool = False) -> list[bytes]:
    """The compressed strips or tiles in the file's order.

    Raises a ValueError if some are missing or cut off.

    Args:
        page: a page, or a part of one.
        check_only: read none of them, return an empty list.
    """
    down, across, _, _ = segment_grid(page)
    expected = down * across * (page.samplesperpixel if page.planarconfig == 2 else 1)
    offsets, counts = page.dataoffsets[:expected], page.databytecounts[:expected]
    if min(len(offsets), len(counts)) < expected:
        raise ValueError(f"it holds {min(len(offsets), len(counts))} of {expected} strips or tiles")
    file = page.parent.filehandle
    if any(offset + count > file.size for offset, count in zip(offsets, counts, strict=True)):
        raise ValueError("the file is cut off")
    if check_only:
        return []
    segments = []
    for offset, count in zip(offsets, counts, strict=True):
        file.seek(offset)
        segments.append(file.read(count))
    return segments


def can_read_parts(page: TiffPage) -> bool:
    """Whether a window can be read without the other strips, tiles or rows of a page."""
    down, across, _, _ = segment_grid(page)
    return page.imagedepth == 1 and (down * across > 1 or _row_bytes(page) is not None)


def part_of(page: TiffPage, window: Window) -> PagePart:
    """The strips or tiles that a window touches.

    Args:
        page: one that :func:`can_read_parts` accepts.
        window: inside the page.
    """
    x0, y0, x1, y1 = window
    row_bytes = _row_bytes(page)
    if row_bytes is not None:
        inner = slice(0, y1 - y0), slice(x0, x1)
        return PagePart(page, (y0, y1), (0, page.imagewidth), [], inner, row_bytes)
    down, across, height, width = segment_grid(page)
    top, bottom = y0 // height, math.ceil(y1 / height)
    left, right = (x0 // width, math.ceil(x1 / width)) if page.is_tiled else (0, 1)
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    indices = [
        (plane * down + row) * across + column
        for plane in range(planes)
        for row in range(top, bottom)
        for column in range(left, right)
    ]
    rows = (top * height, min(bottom * height, page.imagelength))
    columns = (left * width, min(right * width, page.imagewidth))
    inner = slice(y0 - rows[0], y1 - rows[0]), slice(x0 - columns[0], x1 - columns[0])
    return PagePart(page, rows, columns, indices, inner)


class PagePart:
    """Some rows and columns of a page, with the attributes of a page of this size.

    Args:
        page: the whole page; attributes that are not defined here are its own.
        rows: first row, and the row after the last.
        columns: likewise.
        indices: of the page's strips or tiles, in the order of a page of this size.
        inner: rows and columns of the window in this part.
        row_bytes: length of a row, if the rows lie in the file uncompressed one after the other; then ``indices`` is empty.
    """

    def __init__(
        self,
        page: TiffPage,
        rows: tuple[int, int],
        columns: tuple[int, int],
        indices: list[int],
        inner: tuple[slice, slice],
        row_bytes: int = 0,
    ) -> None:
        self._page, self._rows, self._columns, self._row_bytes = page, rows, columns, row_bytes
        self._indices, self.inner = indices, inner
        self.imagelength, self.imagewidth = rows[1] - rows[0], columns[1] - columns[0]
        if row_bytes:
            self.dataoffsets: tuple[int, ...] = (page.dataoffsets[0] + rows[0] * row_bytes,)
            self.databytecounts: tuple[int, ...] = (self.imagelength * row_bytes,)
            self.rowsperstrip = self.imagelength
            return
        known = min(len(page.dataoffsets), len(page.databytecounts))
        if max(indices) >= known:
            raise ValueError(f"it holds {known} strips or tiles, fewer than its size needs")
        self.dataoffsets = tuple(page.dataoffsets[k] for k in indices)
        self.databytecounts = tuple(page.databytecounts[k] for k in indices)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._page, name)

    def asarray(self, squeeze: bool = False, maxworkers: int = 1) -> np.ndarray:
        """The samples of the window by tifffile, ``[planes, 1, rows, columns, samples]``."""
        assert not squeeze
        page, (rows, columns) = self._page, self.inner
        planes = page.samplesperpixel if page.planarconfig == 2 else 1
        height, width = rows.stop - rows.start, columns.stop - columns.start
        shape = (planes, 1, height, width, page.samplesperpixel // planes)
        assert page.dtype is not None
        if self._row_bytes:
            return np.frombuffer(self._read_rows(), page.dtype.newbyteorder(page.parent.byteorder)).reshape(shape)
        # Only the window is copied from each segment: memory that is not written costs no time.
        found = np.empty(shape, page.dtype)
        for index, data in zip(self._indices, read_segments(self), strict=True):
            try:
                segment, (plane, _, y, x, _), size = page.decode(
                    data or None, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader
                )
            except (ImportError, NotImplementedError):
                raise
            except Exception as error:  # the codecs raise errors of many types
                raise ValueError(f"{self._place_of(index)}: {error}") from error
            y, x = y - self._rows[0] - rows.start, x - self._columns[0] - columns.start  # in the window
            top, left = max(y, 0), max(x, 0)
            target = found[plane, 0, top : max(y + size[1], 0), left : max(x + size[2], 0)]
            down, across = target.shape[:2]
            target[...] = (
                page.nodata if segment is None else segment[0, top - y : top - y + down, left - x : left - x + across]
            )
        return found

    def _place_of(self, index: int) -> str:
        """A strip or tile of the page, for messages."""
        down, across, height, width = segment_grid(self._page)
        row, column = divmod(index % (down * across), across)
        what = f"the tile at x {column * width}," if self._page.is_tiled else "the strip at"
        return f"{what} y {row * height}"

    def _read_rows(self) -> bytes:
        """The bytes of the window's columns in each of its rows, which are uncompressed."""
        file, columns = self._page.parent.filehandle, self.inner[1]
        pixel = self._row_bytes // self._page.imagewidth
        length = (columns.stop - columns.start) * pixel
        start = self.dataoffsets[0] + columns.start * pixel
        if length == self._row_bytes:
            file.seek(start)
            return file.read(length * self.imagelength)
        rows = []
        for row in range(self.imagelength):
            file.seek(start + row * self._row_bytes)
            rows.append(file.read(length))
        return b"".join(rows)


def _row_bytes(page: TiffPage) -> int | None:
    """Bytes of a row if all rows lie uncompressed one after the other in the file; else None."""
    plain = int(page.compression) == UNCOMPRESSED and not page.is_tiled and page.predictor == 1 and page.fillorder == 1
    bits = page.bitspersample
    if not plain or page.dtype is None or not isinstance(bits, int) or bits not in (8, 16, 32, 64):
        return None
    if (page.planarconfig == 2 and page.samplesperpixel > 1) or int(page.photometric) == YCBCR:
        return None
    row = page.imagewidth * page.samplesperpixel * bits // 8
    offsets, counts, (down, _, height, _) = page.dataoffsets, page.databytecounts, segment_grid(page)
    if len(offsets) != down or len(counts) != down:
        return None
    at = offsets[0]
    for offset, count in zip(offsets[:-1], counts[:-1], strict=True):
        if offset != at or count != height * row:
            return None
        at += count
    return row if offsets[-1] == at and counts[-1] >= (page.imagelength - (down - 1) * height) * row else None
