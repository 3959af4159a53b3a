"""Names of a data set's images, by which lists of images refer to them."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from segkit.data.formats.base import Dataset


def image_names(dataset: Dataset) -> list[str]:
    """The path of each image below the folder that all share, with forward slashes.

    Images that are not files, and those of which several are in one file, are named by their ids, as ``image_12``.
    """
    names = file_names(dataset)
    counts = Counter(names)
    ids = dataset.image_ids
    return [name if counts[name] == 1 else f"image_{image_id}" for name, image_id in zip(names, ids, strict=True)]


def file_names(dataset: Dataset) -> list[str]:
    """As :func:`image_names`, but images of one file, as tiles, have its name."""
    files = dataset.image_files()
    if not files:
        return [f"image_{image_id}" for image_id in dataset.image_ids]
    top = os.path.commonpath([os.path.dirname(file) for file in files])
    return [Path(os.path.relpath(file, top)).as_posix() for file in files]
