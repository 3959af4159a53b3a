"""Writes the images of a data set: copies what other tools read, else PNG or TIFF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from segkit.data.writers.base import WritableImage
from segkit.utils.errors import SegkitError
from segkit.utils.images import write_image
from segkit.utils.paths.file_names import name_fold

IMAGE_FOLDERS = ("images", "labels", "JPEGImages")


class ImageNames:
    """Chooses the paths of written images, which differ without their suffixes too.

    YOLO, LabelMe and VOC find the annotation of an image by its name without suffix.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def stem(self, name: str, split: str, *, flat: bool = False) -> str:
        """A free path without suffix for an image, relative to the folder of its split.

        Folders called as the split or as folders of images are dropped: YOLO looks for labels by such names.

        Args:
            name: of the image, relative, with forward slashes.
            split: images of different splits may share a name, unless ``flat``.
            flat: whether all images lie in one folder; then the name has no folders and no spaces.
        """
        *folders, last = PurePosixPath(name).with_suffix("").parts
        stem = "/".join([folder for folder in folders if folder not in (split, *IMAGE_FOLDERS)] + [last])
        if flat:
            stem, split = "_".join(stem.replace("/", " ").split()), ""
        chosen, number = stem, 1
        while name_fold(f"{split}/{chosen}") in self._taken:
            number += 1
            chosen = f"{stem}-{number}"
        self._taken.add(name_fold(f"{split}/{chosen}"))
        return chosen


def write_image_file(image: WritableImage, stem: Path, suffixes: Sequence[str]) -> Path:
    """Copies an image's file, or writes its pixels; returns the path that was written.

    Args:
        image: to write.
        stem: the path without suffix.
        suffixes: of files that may be copied; empty: all.
    Raises:
        SegkitError: the file may not be copied, and there are no pixels of 8 bits and one or three channels.
    """
    if image.file is not None:
        suffix = image.file.suffix.lower()
        if not suffixes or suffix in suffixes:
            path = stem.with_name(stem.name + suffix)
            image.copy_to(path)
            return path
    if image.sample is None:
        raise SegkitError(
            f"{image.name}: the format holds images of {', '.join(suffixes)}; this one has to be read and written again"
        )
    path = stem.with_name(f"{stem.name}.png")
    pixels = image.sample.image.permute(1, 2, 0).cpu().numpy()
    if pixels.dtype != np.uint8 or pixels.shape[2] not in (1, 3):
        return _write_tiff(image, stem, pixels, suffixes)
    write_image(path, pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return path


def _write_tiff(image: WritableImage, stem: Path, pixels: np.ndarray, suffixes: Sequence[str]) -> Path:
    """Writes pixels of any type and number of channels as TIFF, if the format may hold it."""
    import tifffile

    if suffixes and ".tif" not in suffixes:
        raise SegkitError(
            f"{image.name}: has {pixels.shape[2]} channels of {pixels.dtype}; the format holds images of 8 bits and one or "
            "three channels"
        )
    path = stem.with_name(f"{stem.name}.tif")
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig", compression="zlib")
    return path
