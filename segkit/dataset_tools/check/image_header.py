"""What the header of an image file says about its samples, without reading them."""

from __future__ import annotations

import os
from typing import NamedTuple

from segkit.utils.images.pillow_decoder import orientation_of
from segkit.utils.images.stored_image import ORIENTATION_TAG
from segkit.utils.images.tiff import is_tiff

# Colour channels (alpha is not counted) and bits of Pillow's modes.
MODES = {
    "1": (1, 1),
    "L": (1, 8),
    "LA": (1, 8),
    "La": (1, 8),
    "P": (3, 8),
    "PA": (3, 8),
    "RGB": (3, 8),
    "RGBA": (3, 8),
    "RGBa": (3, 8),
    "RGBX": (3, 8),
    "YCbCr": (3, 8),
    "CMYK": (4, 8),
    "I;16": (1, 16),
    "I;16B": (1, 16),
    "I;16L": (1, 16),
    "I": (1, 32),
    "F": (1, 32),
}


class Header(NamedTuple):
    """Channels without alpha, bits of a sample, and EXIF orientation (1: none)."""

    channels: int
    bits: int
    orientation: int


def read_header(path: str | os.PathLike[str]) -> Header | None:
    """The header of an image file; None if Pillow and tifffile do not know the file.

    Whether the image can be read is for the reader to say, so nothing is raised here.
    """
    try:
        return _tiff_header(path) if is_tiff(path) else _pillow_header(path)
    except Exception:  # damaged files raise errors of many types
        return None


def _tiff_header(path: str | os.PathLike[str]) -> Header:
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        alpha = sum(extra in (1, 2) for extra in page.extrasamples)
        samples = int(page.samplesperpixel) - alpha
        if len(tiff.pages) > 1 and tiff.series:
            samples = max(samples, int(dict(tiff.series[0].sizes).get("channel", 1)))
        tag = page.tags.get(ORIENTATION_TAG)
        return Header(
            3 if page.photometric == 3 else samples, int(page.bitspersample), 1 if tag is None else int(tag.value)
        )


def _pillow_header(path: str | os.PathLike[str]) -> Header | None:
    from PIL import Image

    with Image.open(path) as image:
        if image.mode not in MODES:
            return None
        channels, bits = MODES[image.mode]
        if image.format == "PNG" and image.mode.startswith(("RGB", "L")):  # Pillow shows 16 bits as 8
            with open(path, "rb") as file:
                bits = file.read(25)[24]
        return Header(channels, bits, orientation_of(image))
