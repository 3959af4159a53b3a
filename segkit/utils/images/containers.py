"""Microscopy and slides, through optional packages: ND2, CZI, Zarr, OME-Zarr, SVS.

The suffix chooses the format. Each package is imported when the first such file is opened.
"""

from __future__ import annotations

import os
from pathlib import Path

from segkit.utils.images.czi_image import CziSource
from segkit.utils.images.image_source import ImageSource
from segkit.utils.images.nd2_image import Nd2Source
from segkit.utils.images.planes import Planes, check_single_plane
from segkit.utils.images.slide_image import SlideSource
from segkit.utils.images.suffixes import FOLDER_SUFFIX, SLIDE_SUFFIXES
from segkit.utils.images.zarr_image import ZarrSource


def open_container(path: str | os.PathLike[str], planes: Planes) -> ImageSource | None:
    """Opens a file of one of these formats; None if its suffix is that of another one.

    Raises:
        SegkitError: the package that reads it is missing; the file has several planes, none selected.
    """
    suffix = Path(path).suffix.lower()
    if suffix in SLIDE_SUFFIXES:
        check_single_plane(planes, str(path))
        return SlideSource(path)
    if suffix == ".nd2":
        return Nd2Source(path, planes)
    if suffix == ".czi":
        return CziSource(path, planes)
    return ZarrSource(path, planes) if suffix == FOLDER_SUFFIX else None
