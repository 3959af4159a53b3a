"""Files of label maps as ImageJ stores them: of one image, and stacks of a time series."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segkit.utils.errors import SegkitError
from segkit.utils.images import PixelSize

STRIP_BYTES = 1 << 18  # of the samples in a strip
COMPRESSION = 1  # of zlib; higher levels take several times as long for a few percent
CLASSIC_BYTES = 1 << 32  # of the samples; larger maps are BigTIFF


def strip_rows(width: int, dtype: np.dtype) -> int:
    """The number of rows in a strip of a label map."""
    return max(1, STRIP_BYTES // max(1, width * dtype.itemsize))


def write_imagej(
    path: Path,
    strips: Iterator[bytes],
    shape: tuple[int, ...],
    dtype: np.dtype,
    *,
    highest: int,
    pixel_size: PixelSize | None,
) -> None:
    """Writes compressed strips as a TIFF of ImageJ.

    Args:
        path: of the file.
        strips: of one image after the other, each of :func:`strip_rows` rows.
        shape: (H, W), or (T, H, W) of a time series.
        dtype: of the samples, uint16 or uint32.
        highest: value, for the brightness with which ImageJ shows the file.
        pixel_size: None: unknown.
    """
    import tifffile

    count = shape[0] if len(shape) == 3 else 1
    lines = ["ImageJ=1.54f", f"images={count}"]
    lines += [f"frames={count}", "hyperstack=true", "mode=grayscale"] if count > 1 else []
    options: dict[str, Any] = {}
    if pixel_size is not None:
        lines.append("unit=micron")
        options = {"resolution": (1 / pixel_size.width, 1 / pixel_size.height), "resolutionunit": "NONE"}
    lines += ["min=0.0", f"max={float(max(highest, 1))}"]
    tifffile.imwrite(
        path,
        strips,
        shape=shape,
        dtype=dtype,
        bigtiff=np.prod(shape, dtype=np.int64) * dtype.itemsize >= CLASSIC_BYTES,
        photometric="minisblack",
        compression="zlib",
        rowsperstrip=strip_rows(shape[-1], dtype),
        description="\n".join(lines) + "\n",
        metadata=None,
        software="segkit",
        **options,
    )


@dataclass
class FrameMaps:
    """The label maps of the frames of a time series.

    Attributes:
        name: of the series, for messages.
        pixel_size: None: unknown.
        files: of each frame, by its position in the series.
        highest: id.
    """

    name: str
    pixel_size: PixelSize | None
    files: dict[int, Path] = field(default_factory=dict)
    highest: int = 0

    def add(self, frame: int, file: Path, highest: int) -> None:
        """Adds the file of a frame, with its highest id."""
        self.files[frame] = file
        self.highest = max(self.highest, highest)

    def write(self, path: Path) -> None:
        """Writes the frames as one file; a frame without a map is empty.

        Frames of one type are copied without decompressing them; otherwise all become uint32.

        Raises:
            SegkitError: the frames are of several sizes.
        """
        kinds = {_size_and_type(file) for file in self.files.values()}
        sizes, types = {size for size, _ in kinds}, {dtype for _, dtype in kinds}
        if len(sizes) > 1:
            raise SegkitError(f"the frames of {self.name} have {len(sizes)} sizes, so they are not one stack")
        (size,) = sizes
        dtype = types.pop() if len(types) == 1 else np.dtype(np.uint32)
        count = max(self.files) + 1
        strips = (strip for k in range(count) for strip in _strips(self.files.get(k), size, dtype))
        write_imagej(path, strips, (count, *size), dtype, highest=self.highest, pixel_size=self.pixel_size)


def _size_and_type(file: Path) -> tuple[tuple[int, int], np.dtype]:
    import tifffile

    with tifffile.TiffFile(file) as opened:
        page = opened.pages.first
        return (page.imagelength, page.imagewidth), np.dtype(page.dtype)


def _strips(file: Path | None, size: tuple[int, int], dtype: np.dtype) -> Iterator[bytes]:
    """The compressed strips of a frame; of None, those of an empty one."""
    import tifffile

    height, width = size
    rows = strip_rows(width, dtype)
    if file is None:
        for first in range(0, height, rows):
            yield zlib.compress(bytes(min(rows, height - first) * width * dtype.itemsize), COMPRESSION)
        return
    with tifffile.TiffFile(file) as opened:
        page = opened.pages.first
        if page.dtype == dtype:
            for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
                opened.filehandle.seek(offset)
                yield opened.filehandle.read(length)
            return
        pixels = page.asarray().astype(dtype)
    for first in range(0, height, rows):
        yield zlib.compress(pixels[first : first + rows].tobytes(), COMPRESSION)
