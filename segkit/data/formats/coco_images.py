"""Checking the lists of categories and images of a COCO JSON."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from segkit.data.formats.coco_values import is_int, mappings
from segkit.utils.errors import SegkitError, did_you_mean


def read_categories(file: Path, items: Iterable[Any]) -> dict[str, int]:
    """Id of each category name, in the file's order."""
    ids: dict[str, int] = {}
    for number, category in enumerate(mappings(file, "categories", items)):
        name, category_id = category.get("name"), category.get("id")
        if not isinstance(name, str) or not is_int(category_id):
            text = str(category)[:100]
            raise SegkitError(f"{file}: categories[{number}] needs an integer 'id' and a 'name'; it is {text}")
        if name in ids or category_id in ids.values():
            raise SegkitError(f"{file}: categories[{number}] repeats the name '{name}' or the id {category_id}")
        ids[name] = category_id
    return ids


def match_classes(file: Path, ids: dict[str, int], classes: list[str] | None) -> tuple[list[str], list[int], set[str]]:
    """Class names and ids, by ascending id or in the order of ``classes``.

    Returns:
        names, ids, and the names that the file lacks; those get ids above the file's.
    """
    if classes is None:
        names = sorted(ids, key=lambda name: ids[name])
        return names, [ids[name] for name in names], set()
    unknown = [name for name in ids if name not in classes]
    if unknown:
        raise SegkitError(
            f"{file}: the category '{unknown[0]}' is not among the classes{did_you_mean(unknown[0], classes)}",
            key="classes",
            value=classes,
            choices=classes,
        )
    lacking = [name for name in classes if name not in ids]
    above = max(ids.values(), default=0) + 1
    ids = ids | {name: above + i for i, name in enumerate(lacking)}
    return list(classes), [ids[name] for name in classes], set(lacking)


class Images:
    """The image entries as columns: ``ids``, ``heights``, ``widths``, and ``names`` (UTF-8), which end at ``name_ends``."""

    def __init__(self, file: Path, items: Iterable[Any]) -> None:
        self.ids, self.heights, self.widths = array("q"), array("i"), array("i")
        self.names, self.name_ends = bytearray(), array("q")
        for number, image in enumerate(mappings(file, "images", items)):
            where = f"{file}: images[{number}]"
            name, image_id = image.get("file_name"), image.get("id")
            if not isinstance(name, str) or not is_int(image_id):
                raise SegkitError(f"{where} needs an integer 'id' and a 'file_name'; it is {str(image)[:100]}")
            height, width = image.get("height"), image.get("width")
            if not (is_int(height) and is_int(width) and 0 < height < 2**31 and 0 < width < 2**31):
                raise SegkitError(f"{where} ('{name}') needs 'height' and 'width', whole numbers above 0")
            if os.path.isabs(name) or ".." in Path(name.replace("\\", "/")).parts:
                raise SegkitError(f"{where}: the file name '{name}' leads out of the folder of images")
            self.ids.append(image_id)
            self.heights.append(height)
            self.widths.append(width)
            self.names += name.encode("utf-8", "surrogatepass")
            self.name_ends.append(len(self.names))
        ids = np.asarray(self.ids)
        order = np.argsort(ids, kind="stable")
        again = order[1:][ids[order[1:]] == ids[order[:-1]]]
        if len(again):
            raise SegkitError(f"{file}: images[{again.min()}]: the id {ids[again.min()]} occurs twice")
