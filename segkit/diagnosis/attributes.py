"""Attributes of images by which metrics are divided: folders, and tables of the user's own."""

from __future__ import annotations

import csv
import os
from pathlib import Path, PurePosixPath

from segkit.data.formats.base import Dataset
from segkit.data.formats.image_names import file_names, image_names
from segkit.utils.errors import SegkitError, did_you_mean
from segkit.utils.paths import local_path

FOLDER = "folder"
MOST_FOLDERS = 0.5  # with more folders than this share of the images, each image has a folder of its own


def image_attributes(dataset: Dataset, table: str | os.PathLike[str] | None = None) -> dict[int, dict[str, str]]:
    """Returns the attributes of each image, by image id.

    ``folder`` is the folder of the image's file below the folder that all share. It is absent if all images are in one
    folder, or most in a folder of their own.

    Args:
        dataset: the images.
        table: a CSV file with a header. Its first column has the images' names, as paths, file names or names without
            extension; each further column is an attribute.
    Raises:
        SegkitError: the table cannot be read, has no attribute, an unknown or an ambiguous image, or an image twice.
    """
    attributes: dict[int, dict[str, str]] = {image_id: {} for image_id in dataset.image_ids}
    folders = [str(PurePosixPath(name).parent) for name in file_names(dataset)] if dataset.image_files() else []
    if 1 < len(set(folders)) <= max(2, MOST_FOLDERS * len(folders)):
        for image_id, folder in zip(dataset.image_ids, folders, strict=True):
            attributes[image_id][FOLDER] = folder
    if table is not None:
        for image_id, values in _read(
            local_path(os.fspath(table), "table of attributes", kind="file"), dataset
        ).items():
            attributes[image_id] |= values
    return attributes


def _read(path: Path, dataset: Dataset) -> dict[int, dict[str, str]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.reader(stream) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SegkitError(f"{path}: not a CSV file in UTF-8 ({error})", value=str(path)) from error
    names = [cell.strip() for cell in rows[0][1:]] if rows else []
    if not names or not all(names) or len(set(names)) < len(names):
        raise SegkitError(
            f"{path}: expected a first line with the images' column and a different name for each attribute, as "
            "image,stain,site",
            value=str(path),
        )
    ids = _ids_of_names(dataset)
    found: dict[int, dict[str, str]] = {}
    for number, row in enumerate(rows[1:], start=2):
        name = row[0].strip().replace("\\", "/")
        known = ids.get(name, set())
        if len(known) != 1:
            problem = "is the name of several images" if known else f"is no image of the data{did_you_mean(name, ids)}"
            raise SegkitError(f"{path}, row {number}: {name!r} {problem}", value=name)
        if len(row) != len(names) + 1:
            raise SegkitError(f"{path}, row {number}: {len(row)} cells, the header has {len(names) + 1}", value=name)
        [image_id] = known
        if image_id in found:
            raise SegkitError(f"{path}, row {number}: {name!r} is in the table twice", value=name)
        found[image_id] = {key: cell.strip() for key, cell in zip(names, row[1:], strict=True)}
    return found


def _ids_of_names(dataset: Dataset) -> dict[str, set[int]]:
    """The ids of the images that each name may mean: path, file name, or either without extension."""
    ids: dict[str, set[int]] = {}
    for image_id, name in zip(dataset.image_ids, image_names(dataset), strict=True):
        path = PurePosixPath(name)
        for one in {name, path.name, path.stem, str(path.with_suffix("")), str(image_id)}:
            ids.setdefault(one, set()).add(image_id)
    return ids
