"""Reads the size of a pixel from an image file."""

from __future__ import annotations

import os

from segkit.utils.images.calibration import PixelSize
from segkit.utils.images.image_file import ImageFile
from segkit.utils.images.planes import ONE_PLANE, Planes

__all__ = ["PixelSize", "read_pixel_size"]


def read_pixel_size(path: str | os.PathLike[str], planes: Planes = ONE_PLANE) -> PixelSize | None:
    """The size of a pixel of the upright image; None if the file does not say it.

    It comes from the metadata of OME-TIFF, ImageJ, MetaMorph, LSM, OME-Zarr, ND2, CZI and slides. The resolution of any
    other file, its dots an inch, counts from 1,000 on: lower ones, such as 72 and 300, are those of a print or a screen.

    Args:
        path: of the file; a folder for Zarr.
        planes: which image of a file with several.
    Raises:
        SegkitError: the file cannot be opened as an image.
    """
    return ImageFile(path, planes).pixel_size
