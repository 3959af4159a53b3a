"""TIFF files: an image of one or several planes, and what its channels mean.

tifffile parses the tags.
"""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from segkit.utils.errors import SegkitError
from segkit.utils.images.calibration import PixelSize, tiff_pixel_size
from segkit.utils.images.image_source import ImageSource, Window
from segkit.utils.images.planes import ONE_PLANE, Planes, color_of, pages_as_z, project, select
from segkit.utils.images.stored_image import ORIENTATION_TAG, Extra, StoredImage
from segkit.utils.images.tiff_pages import find_planes
from segkit.utils.images.tiff_samples import FAX, SAMPLE_CODECS, read_window
from segkit.utils.images.tiff_segments import UNCOMPRESSED, can_read_parts, segment_grid

if TYPE_CHECKING:
    from tifffile import TiffPage

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # little and big endian; BigTIFF
COLORS = {0: "white_is_zero", 1: "grey", 2: "rgb", 3: "palette", 5: "cmyk", 6: "rgb"}  # by PhotometricInterpretation
CHANNELS = {"white_is_zero": 1, "grey": 1, "palette": 1, "cmyk": 4}  # all others: 3
EXTRAS: dict[int, Extra] = {1: "premultiplied", 2: "alpha"}  # by ExtraSamples; all others: unknown
CACHED_ROWS = 128  # lower strips and tiles are cached several at once
MAX_CHANNELS = 1024  # more are a damaged file
XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=\"|>)([1-8])")


def is_tiff(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins with the magic number of TIFF or BigTIFF."""
    with open(path, "rb") as file:
        return file.read(4) in MAGIC


def read_tiff(file: str | os.PathLike[str] | BinaryIO, name: str) -> StoredImage:
    """Reads the image of a TIFF file that holds one.

    Pages marked as a thumbnail or a mask (NewSubfileType) are ignored.

    Args:
        file: path, or an open file.
        name: the file, for messages.
    Raises:
        SegkitError: several images; a sample type or a compression that cannot be read.
        Exception: the file is damaged.
    """
    source = TiffSource(file, name)
    try:
        return source.read(None)
    finally:
        source.close()


class TiffSource(ImageSource):
    """An image of a TIFF file: one of its planes, or a projection, with all channels.

    Args:
        file: path, or an open file, which stays open.
        name: the file, for messages.
        planes: the plane of a file with several.
    Raises:
        SegkitError: several images, none selected; more than ``MAX_CHANNELS`` channels.
        Exception: the file is damaged.
    """

    def __init__(self, file: str | os.PathLike[str] | BinaryIO, name: str, planes: Planes = ONE_PLANE) -> None:
        import tifffile

        logging.getLogger("tifffile").addHandler(_QUIET)  # tifffile's log lines about damage repeat the error
        path = os.fspath(file) if isinstance(file, (str, os.PathLike)) else file
        self._name = name
        self._file = tifffile.TiffFile(path, _multifile=False)  # OME files may name others, which could lie anywhere
        try:
            self._open(planes)
        except BaseException:
            self._file.close()
            raise

    def _open(self, planes: Planes) -> None:
        name, self._scene = self._name, planes.scene or 0
        stack = find_planes(self._file, name, planes)
        axes, channels = pages_as_z(stack.axes, planes), stack.axes.get("C", 1)
        chosen = select(planes, axes, name, count=stack.count, what="pages", channels=stack.channel_names)
        self._pages = [[stack.page(chosen.position(axes, z, channel)) for channel in range(channels)] for z in chosen.z]
        self._projection, self._names = chosen.projection, stack.channel_names
        page = self._first = self._pages[0][0]
        self._orientation = _orientation(page)
        if page.imagewidth == 0 or page.imagelength == 0:
            raise ValueError(f"its size is {page.imagewidth} x {page.imagelength}")
        if page.samplesperpixel * channels > MAX_CHANNELS:
            raise SegkitError(
                f"{name}: has {page.samplesperpixel * channels} channels, at most {MAX_CHANNELS} are read"
            )
        kinds = {
            (other.imagelength, other.imagewidth, other.samplesperpixel, str(other.bitspersample), str(other.dtype))
            for row in self._pages
            for other in row
        }
        if len(kinds) > 1:
            raise SegkitError(f"{name}: its planes have different sizes or sample types; save them as one stack")
        self.windowed = all(can_read_parts(other) for row in self._pages for other in row)
        if self.windowed and int(page.compression) != UNCOMPRESSED:
            _, _, height, width = segment_grid(page)
            self.tile = max(1, CACHED_ROWS // height) * height, width

    @property
    def size(self) -> tuple[int, int]:
        return self._first.imagelength, self._first.imagewidth

    @property
    def orientation(self) -> int:
        return self._orientation

    @property
    def pixel_size(self) -> PixelSize | None:
        return tiff_pixel_size(self._file, self._first, self._scene)

    def read(self, window: Window | None) -> StoredImage:
        self.check_limit(window, self._name)
        page = self._first
        planes = [
            np.concatenate([read_window(one, self._name, window) for one in row], axis=2)
            if len(row) > 1
            else read_window(row[0], self._name, window)
            for row in self._pages
        ]
        pixels = project(planes, self._projection)
        channels = pixels.shape[2]
        color, extra = _channel_meaning(page)
        if len(self._pages[0]) > 1:
            color, extra = color_of(channels), ()
        palette = _palette(page) if color == "palette" else None
        names = self._names if len(self._names) == channels else ()
        pixels = pixels[:, :, 0] if channels == 1 else pixels
        return StoredImage(pixels, color, int(page.bitspersample), palette, extra, self.orientation, names)

    def close(self) -> None:
        self._file.close()


def _channel_meaning(page: TiffPage) -> tuple[str, tuple[Extra, ...]]:
    """The colour space, and the meaning of each channel after the colour channels."""
    samples, codec = page.samplesperpixel, int(page.compression)
    photometric = page.tags.valueof(262)
    if photometric is None:  # the same guess as libtiff's
        photometric = 2 if samples >= 3 else 0 if codec in FAX else 1
    color = COLORS.get(int(photometric), getattr(page.photometric, "name", f"PhotometricInterpretation {photometric}"))
    if int(photometric) == 6 and samples == 1:
        color = "grey"
    if color == "cmyk" and int(page.tags.valueof(332, 1)) != 1:  # InkSet
        color = "inks other than CMYK"
    if photometric == 2 and samples < 3 and codec in SAMPLE_CODECS:
        color = "grey"
    marks = page.tags.valueof(338, ())  # ExtraSamples
    marks = tuple(marks) if isinstance(marks, (tuple, list, np.ndarray)) else (marks,)
    opaque = sum(int(mark) in EXTRAS for mark in marks)
    if color == "grey" and samples - opaque == 3:  # three channels without a colour space
        color = "rgb"
    extra = samples - CHANNELS.get(color, 3)
    if extra < 0 and color in COLORS.values():
        color, extra = f"{color} with {samples} channels", 0
    marks = marks[-extra:] if extra else ()
    return color, tuple(EXTRAS.get(int(mark), "unknown") for mark in (*marks, *[0] * (extra - len(marks))))


def _palette(page: TiffPage) -> np.ndarray:
    """The colour map as uint8 ``[N, 3]``.

    It holds 16-bit colours, but some writers store 8-bit colours in it.
    """
    color_map = page.tags.valueof(320)
    if color_map is None:
        raise ValueError("its palette is missing")
    colors = np.asarray(color_map, np.uint16).reshape(3, -1).T
    return (colors >> 8 if colors.max(initial=0) > 255 else colors).astype(np.uint8)


def _orientation(page: TiffPage) -> int:
    """The orientation tag, else the one in the XMP data, as in Pillow; 1 if there is neither."""
    value = page.tags.valueof(ORIENTATION_TAG)
    if value is None:
        xmp = page.tags.valueof(700)
        found = XMP_ORIENTATION.search(xmp) if isinstance(xmp, bytes) else None
        return int(found[1]) if found else 1
    return int(value) if isinstance(value, int) else 1


_QUIET = logging.NullHandler()
