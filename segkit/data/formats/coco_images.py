"""Checking the lists of categories and images of a COCO JSON."""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from segkit.data.formats.json_values import mappings, not_whole, shown, whole
from segkit.utils.errors import SegkitError, did_you_mean
from segkit.utils.paths.missing_files import leads_out


class Category(NamedTuple):
    """An entry of the list of categories."""

    name: str
    id: int


def read_categories(file: Path, items: Iterable[Any]) -> list[Category]:
    """All categories in the file's order; names may repeat, ids do not.

    Raises:
        SegkitError: an id that is no whole number or repeats, a name that is no text or empty.
    """
    categories: list[Category] = []
    places: dict[int, int] = {}
    for number, category in enumerate(mappings(file, "categories", items)):
        where = f"{file}: categories[{number}]"
        name, category_id = category.get("name"), whole(category.get("id"))
        if not isinstance(name, str):
            problem = f"'name' is {shown(name)}; expected text" if "name" in category else "has no 'name'"
            raise SegkitError(f"{where}: {problem}; each category needs a 'name' and an 'id', a whole number")
        if not name.strip():
            raise SegkitError(f"{where}: 'name' is empty; expected the name of a class")
        if category_id is None:
            raise SegkitError(f"{where} ('{name}'): {not_whole(category, 'id')}")
        if category_id in places:
            first = places[category_id]
            raise SegkitError(
                f"{where} ('{name}') repeats the id {category_id} of categories[{first}] ('{categories[first].name}'); "
                "each category needs an id of its own"
            )
        places[category_id] = number
        categories.append(Category(name, category_id))
    return categories


def settle_names(file: Path, categories: list[Category], used: Sequence[int]) -> tuple[list[int], list[str]]:
    """The places of the categories that stay, each name once, and a sentence for each that does not.

    Where a name repeats, the category that has annotations stays (the last one where none has any): Roboflow's exports
    list their project beside the classes, which has often the same name. Where several have annotations, nobody but the
    user knows whether these are one class.

    Args:
        used: how many annotations each category has.
    Raises:
        SegkitError: several categories of one name have annotations, or names differ only in blanks or Unicode form.
    """
    by_name: dict[str, list[int]] = {}
    for place, category in enumerate(categories):
        by_name.setdefault(category.name, []).append(place)
    kept: list[int] = []
    notes: list[str] = []
    for name, places in by_name.items():
        with_annotations = [place for place in places if used[place]]
        if len(with_annotations) > 1:
            first, second = with_annotations[:2]
            raise SegkitError(
                f"{file}: categories[{first}] (id {categories[first].id}, {used[first]} annotations) and "
                f"categories[{second}] (id {categories[second].id}, {used[second]} annotations) have the same name "
                f"'{name}'; give them different names, or all these annotations one category_id"
            )
        stays = (with_annotations or places)[-1]
        kept.append(stays)
        for place in places:
            if place != stays:
                notes.append(
                    f"categories[{place}] (id {categories[place].id}) has the name '{name}' of categories[{stays}] (id "
                    f"{categories[stays].id}) and no annotations: it is left out"
                )
    _check_alike(file, [categories[place] for place in sorted(kept)])
    return sorted(kept), notes


def _check_alike(file: Path, categories: list[Category]) -> None:
    """SegkitError for two names that look the same: they differ only in blanks or in their Unicode form."""
    seen: dict[str, Category] = {}
    for category in categories:
        other = seen.setdefault(" ".join(unicodedata.normalize("NFC", category.name).split()), category)
        if other is not category:
            raise SegkitError(
                f"{file}: the categories {other.name!a} (id {other.id}) and {category.name!a} (id {category.id}) look the "
                "same: they differ only in blanks or in their Unicode form; give them one name and id, or different names"
            )


def names_alike(names: Iterable[str]) -> list[str]:
    """A sentence for each pair of names that differ only in upper and lower case, which may be one class or two."""
    seen: dict[str, str] = {}
    pairs = [(seen.setdefault(name.casefold(), name), name) for name in names]
    return [f"the classes '{a}' and '{b}' differ only in upper and lower case" for a, b in pairs if a != b]


def match_classes(
    file: Path, ids: dict[str, int], classes: list[str] | None, bare: Collection[str] = ()
) -> tuple[list[str], list[int], set[str]]:
    """Class names and ids, by ascending id or in the order of ``classes``.

    Args:
        ids: of the file's categories.
        bare: categories without any object; these need not be among ``classes``.
    Returns:
        names, ids, and the names that the file lacks; those get ids above the file's.
    """
    if classes is None:
        names = sorted(ids, key=lambda name: ids[name])
        return names, [ids[name] for name in names], set()
    unknown = [name for name in ids if name not in classes and name not in bare]
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


def _of_url(image: dict) -> str:
    """The end of a message about an image without a file name, where LVIS's ``coco_url`` has it."""
    url = image.get("coco_url")
    return f"; its 'coco_url' ends with '{'/'.join(url.split('/')[-2:])}'" if isinstance(url, str) else ""


class Images:
    """The image entries as columns: ``ids``, ``heights``, ``widths``, and ``names`` (UTF-8), which end at ``name_ends``."""

    def __init__(self, file: Path, items: Iterable[Any]) -> None:
        self.ids, self.heights, self.widths = array("q"), array("i"), array("i")
        self.names, self.name_ends = bytearray(), array("q")
        for number, image in enumerate(mappings(file, "images", items)):
            where = f"{file}: images[{number}]"
            name, image_id = image.get("file_name"), whole(image.get("id"))
            if not isinstance(name, str):
                problem = (
                    f"'file_name' is {shown(name)}; expected text" if "file_name" in image else "has no 'file_name'"
                )
                raise SegkitError(
                    f"{where}: {problem}; each image needs a 'file_name' and an 'id', a whole number{_of_url(image)}"
                )
            if image_id is None:
                raise SegkitError(f"{where} ('{name}'): {not_whole(image, 'id')}")
            height, width = (whole(image.get(key), 2**31) for key in ("height", "width"))
            if height is None or width is None or height <= 0 or width <= 0:
                key = "height" if height is None or height <= 0 else "width"
                found = f"'{key}' is {shown(image[key])}" if key in image else f"there is no '{key}'"
                raise SegkitError(
                    f"{where} ('{name}') needs 'height' and 'width', whole numbers from 1 to {2**31 - 1}; {found}"
                )
            if not name.strip():
                raise SegkitError(f"{where}: 'file_name' is empty; expected a path in the folder of images, as 'a.png'")
            if leads_out(name):
                last = name.replace("\\", "/").rpartition("/")[2]
                raise SegkitError(
                    f"{where}: the file name '{name}' leads out of the folder of images; expected a path in it, as "
                    f"'{last or 'a.png'}'"
                )
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
