"""TIFF files: which page is the image, and what its channels mean. tifffile parses the tags."""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from segkit.utils.errors import SegkitError
from segkit.utils.images.stored_image import ORIENTATION_TAG, Extra, StoredImage, check_pixels, upright_size
from segkit.utils.images.tiff_samples import FAX, SAMPLE_CODECS, read_samples

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # little and big endian; BigTIFF
REDUCED, MASK = 1, 4  # bits of NewSubfileType
COLORS = {0: "white_is_zero", 1: "grey", 2: "rgb", 3: "palette", 5: "cmyk", 6: "rgb"}  # by PhotometricInterpretation
CHANNELS = {"white_is_zero": 1, "grey": 1, "palette": 1, "cmyk": 4}  # all others: 3
EXTRAS: dict[int, Extra] = {1: "premultiplied", 2: "alpha"}  # by ExtraSamples; all others: unknown
MAX_CHANNELS = 16
XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=\"|>)([1-8])")


def is_tiff(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins with the magic number of TIFF or BigTIFF."""
    with open(path, "rb") as file:
        return file.read(4) in MAGIC


def read_tiff(file: str | os.PathLike[str] | BinaryIO, name: str) -> StoredImage:
    """Reads the image of a TIFF file.

    Pages marked as a thumbnail or a mask (NewSubfileType) are ignored.

    Args:
        file: path, or an open file.
        name: the file, for messages.
    Raises:
        SegkitError: several images; a sample type or a compression that cannot be read.
        Exception: the file is damaged.
    """
    with _main_page(file, name) as page:
        pixels = read_samples(page, name)
        color, extra = _channel_meaning(page)
        palette = _palette(page) if color == "palette" else None
        pixels = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
        return StoredImage(pixels, color, int(page.bitspersample), palette, extra, _orientation(page))


def tiff_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width of a TIFF's image, upright; reads no pixels. Raises as :func:`read_tiff`."""
    with _main_page(path, str(path)) as page:
        return upright_size(page.imagelength, page.imagewidth, _orientation(page))


@contextmanager
def _main_page(file: str | os.PathLike[str] | BinaryIO, name: str) -> Iterator[TiffPage]:
    """Opens a TIFF file and yields the page of its image, with size and channels checked."""
    import tifffile

    logging.getLogger("tifffile").addHandler(_QUIET)  # tifffile's log lines about damage repeat the error
    with tifffile.TiffFile(os.fspath(file) if isinstance(file, (str, os.PathLike)) else file) as opened:
        page = _find_page(opened, name)
        check_pixels(name, page.imagewidth * page.imagelength)
        if page.imagewidth == 0 or page.imagelength == 0:
            raise ValueError(f"its size is {page.imagewidth} x {page.imagelength}")
        if page.samplesperpixel > MAX_CHANNELS:
            raise SegkitError(f"{name}: has {page.samplesperpixel} channels; expected one grey or colour image")
        yield page


def _find_page(file: TiffFile, name: str) -> TiffPage:
    """The only page that is neither a thumbnail nor a mask.

    Raises a SegkitError if there are several images.
    """
    subfile_types: dict[int, int] = {}  # by the directory's offset: in damaged files the directories form a circle
    for page in file.pages:
        if page.offset in subfile_types:
            break
        subfile_types[page.offset] = getattr(page, "subfiletype", 0)
    images = [k for k, kind in enumerate(subfile_types.values()) if not kind & (REDUCED | MASK)]
    images = images or list(range(len(subfile_types)))
    if not images:
        raise ValueError("it has no page")
    main = file.pages[images[0]].aspage()
    count = len(images) if len(images) > 1 else _count_slices(main)
    if count > 1:
        raise SegkitError(f"{name}: holds {count} pages; expected one image")
    if main.subfiletype & REDUCED and 330 in main.tags:
        raise SegkitError(f"{name}: its page is a thumbnail, the image is in a sub-directory; save it as a plain TIFF")
    return main


def _count_slices(page: TiffPage) -> int:
    """Number of images in one directory: volumes, stacks of ImageJ, tifffile and MetaMorph."""
    if page.imagedepth > 1:
        return int(page.imagedepth)
    planes = page.tags.get(33629)  # UIC2tag: one entry a plane
    if planes is not None and planes.count > 1:
        return int(planes.count)
    if int(page.compression) != 1 or page.is_tiled or not page.dataoffsets or not isinstance(page.bitspersample, int):
        return 1
    row = math.ceil(page.imagewidth * page.samplesperpixel * page.bitspersample / 8)
    size = row * page.imagelength
    start = page.dataoffsets[0]
    end = page.offset if page.offset > start else page.parent.filehandle.size
    fitting = (end - start) // size if size else 0
    stored = page.databytecounts[0] // size if size and len(page.databytecounts) == 1 else 0
    # A slice that was saved on its own keeps the description of its stack: believe it only if a second slice fits.
    return max(_described_slices(page) if fitting > 1 else 1, stored)


def _described_slices(page: TiffPage) -> int:
    """The number of images that the ImageDescription of ImageJ or tifffile states.

    1 if it states none.
    """
    text = page.description
    if text.startswith("ImageJ=") and (images := re.search(r"^images=(\d+)", text, re.MULTILINE)):
        return int(images[1])
    if text.startswith("{"):  # tifffile's keys have no order
        try:
            shape = json.loads(text)["shape"]
            return int(math.prod(shape)) // math.prod(page.shape)
        except (ValueError, KeyError, TypeError):
            return 1
    return 1


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
