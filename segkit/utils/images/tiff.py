"""TIFF files: which page is the image, and what its samples mean. tifffile reads the tags."""

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
from segkit.utils.images.tiff_samples import FAX, PICTURE_CODECS, read_numbers

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # little and big endian; BigTIFF
REDUCED, MASK = 1, 4  # bits of NewSubfileType
COLORS = {0: "white_is_zero", 1: "grey", 2: "rgb", 3: "palette", 5: "cmyk", 6: "rgb"}  # of PhotometricInterpretation
CHANNELS = {"white_is_zero": 1, "grey": 1, "palette": 1, "cmyk": 4}  # all others: 3
EXTRAS: dict[int, Extra] = {1: "premultiplied", 2: "alpha"}
MOST_CHANNELS = 16
XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=\"|>)([1-8])")


def is_tiff(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as a TIFF does."""
    with open(path, "rb") as file:
        return file.read(4) in MAGIC


def read_tiff(file: str | os.PathLike[str] | BinaryIO, name: str) -> StoredImage:
    """The one image of a TIFF file, given as a path or open; ``name`` is for messages.

    Pages marked as a reduced version or as a mask (NewSubfileType) are not counted.

    Raises:
        SegkitError: several images; a type of samples or a compression that cannot be read.
        Exception: the file is damaged.
    """
    with _main_page(file, name) as page:
        pixels = read_numbers(page, name)
        color, extra = _meaning(page)
        palette = _palette(page) if color == "palette" else None
        pixels = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
        return StoredImage(pixels, color, int(page.bitspersample), palette, extra, _orientation(page))


def tiff_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width of the image, upright; reads no pixels. Raises as :func:`read_tiff`."""
    with _main_page(path, str(path)) as page:
        return upright_size(page.imagelength, page.imagewidth, _orientation(page))


@contextmanager
def _main_page(file: str | os.PathLike[str] | BinaryIO, name: str) -> Iterator[TiffPage]:
    import tifffile

    logging.getLogger("tifffile").addHandler(_QUIET)  # what it says of damaged files, the error says
    with tifffile.TiffFile(os.fspath(file) if isinstance(file, (str, os.PathLike)) else file) as opened:
        page = _find_page(opened, name)
        check_pixels(name, page.imagewidth * page.imagelength)
        if page.imagewidth == 0 or page.imagelength == 0:
            raise ValueError(f"its size is {page.imagewidth} x {page.imagelength}")
        if page.samplesperpixel > MOST_CHANNELS:
            raise SegkitError(f"{name}: has {page.samplesperpixel} channels; expected one grey or colour image")
        yield page


def _find_page(file: TiffFile, name: str) -> TiffPage:
    kinds: dict[int, int] = {}  # NewSubfileType by the directory's offset: damaged files go round in circles
    for page in file.pages:
        if page.offset in kinds:
            break
        kinds[page.offset] = getattr(page, "subfiletype", 0)
    whole = [k for k, kind in enumerate(kinds.values()) if not kind & (REDUCED | MASK)] or list(range(len(kinds)))
    if not whole:
        raise ValueError("it has no page")
    main = file.pages[whole[0]].aspage()
    count = len(whole) if len(whole) > 1 else _slices(main)
    if count > 1:
        raise SegkitError(f"{name}: holds {count} pages; expected one image")
    if main.subfiletype & REDUCED and 330 in main.tags:
        raise SegkitError(f"{name}: its page is a thumbnail, the image is in a sub-directory; save it as a plain TIFF")
    return main


def _slices(page: TiffPage) -> int:
    """Images behind the one directory of a file: stacks of ImageJ, tifffile and MetaMorph, and volumes."""
    if page.imagedepth > 1:
        return int(page.imagedepth)
    planes = page.tags.get(33629)  # UIC2tag: a value for each plane
    if planes is not None and planes.count > 1:
        return int(planes.count)
    if int(page.compression) != 1 or page.is_tiled or not page.dataoffsets or not isinstance(page.bitspersample, int):
        return 1
    row = math.ceil(page.imagewidth * page.samplesperpixel * page.bitspersample / 8)
    size = row * page.imagelength
    start = page.dataoffsets[0]
    end = page.offset if page.offset > start else page.parent.filehandle.size
    there = (end - start) // size if size else 0
    stored = page.databytecounts[0] // size if size and len(page.databytecounts) == 1 else 0
    # A description may outlive its stack, where a slice was saved on its own: the next slice has to be there too.
    return max(_described(page) if there > 1 else 1, stored)


def _described(page: TiffPage) -> int:
    """The number of images that a description of ImageJ or tifffile names."""
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


def _meaning(page: TiffPage) -> tuple[str, tuple[Extra, ...]]:
    """The colour space, and the meaning of the channels after the colour channels."""
    samples, codec = page.samplesperpixel, int(page.compression)
    photometric = page.tags.valueof(262)
    if photometric is None:  # as libtiff guesses
        photometric = 2 if samples >= 3 else 0 if codec in FAX else 1
    color = COLORS.get(int(photometric), getattr(page.photometric, "name", f"PhotometricInterpretation {photometric}"))
    if int(photometric) == 6 and samples == 1:
        color = "grey"
    if color == "cmyk" and int(page.tags.valueof(332, 1)) != 1:  # InkSet
        color = "inks other than CMYK"
    if photometric == 2 and samples < 3 and codec in PICTURE_CODECS:
        color = "grey"
    marks = page.tags.valueof(338, ())
    marks = tuple(marks) if isinstance(marks, (tuple, list, np.ndarray)) else (marks,)
    opaque = sum(int(mark) in EXTRAS for mark in marks)
    if color == "grey" and samples - opaque == 3:  # three channels without a colour space
        color = "rgb"
    number = samples - CHANNELS.get(color, 3)
    if number < 0 and color in COLORS.values():
        color, number = f"{color} with {samples} channels", 0
    marks = marks[-number:] if number else ()
    return color, tuple(EXTRAS.get(int(mark), "unknown") for mark in (*marks, *[0] * (number - len(marks))))


def _palette(page: TiffPage) -> np.ndarray:
    """The colour map as uint8 ``[N, 3]``; some writers store 8-bit numbers in its 16 bits."""
    values = page.tags.valueof(320)
    if values is None:
        raise ValueError("its palette is missing")
    colors = np.asarray(values, np.uint16).reshape(3, -1).T
    return (colors >> 8 if colors.max(initial=0) > 255 else colors).astype(np.uint8)


def _orientation(page: TiffPage) -> int:
    """The orientation tag, or the one in the XMP data, as Pillow reads it."""
    value = page.tags.valueof(ORIENTATION_TAG)
    if value is None:
        xmp = page.tags.valueof(700)
        found = XMP_ORIENTATION.search(xmp) if isinstance(xmp, bytes) else None
        return int(found[1]) if found else 1
    return int(value) if isinstance(value, int) else 1


_QUIET = logging.NullHandler()
