"""Which names are those of image files, and which folders are images."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER_SUFFIX = ".zarr"  # a folder that is one image
SLIDE_SUFFIXES = (".svs", ".ndpi", ".mrxs")
CONTAINER_SUFFIXES = (".nd2", ".czi", FOLDER_SUFFIX, *SLIDE_SUFFIXES)
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", *CONTAINER_SUFFIXES)


def is_image_name(name: str | os.PathLike[str]) -> bool:
    """Whether a file name has the suffix of an image format."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def is_image_folder(path: Path) -> bool:
    """Whether a folder is one image, of the Zarr format."""
    return path.suffix.lower() == FOLDER_SUFFIX and path.is_dir()
